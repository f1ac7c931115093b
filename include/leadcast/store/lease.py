"""Who has begun a delivery holds it by a lease, which ends by itself: whatever has become of the process or of its
machine, another may go on once it is over, and not before.

Two clocks watch a lease. Others go by the store's alone, which is one for all. The process itself goes by its own,
counted from before it asked, and calls nobody in the last third: so it stops before another can begin. No lock outlives
its transaction, so nothing depends on a session of the database.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from threading import Event, Thread

import structlog
from sqlalchemy import ColumnElement, Connection, case, delete, extract, func, insert, null, select, update

from leadcast.core.errors import LEASE_OVER, StoreError, TransientError
from leadcast.core.model import WAITING, AttemptOutcome, DeliveryState
from leadcast.store.database import Store
from leadcast.store.schema import attempts, deliveries, workers

log = structlog.get_logger("leadcast.lease")

_OLDER_VERSION_S = 600.0
"""For so long an attempt of a version without leases is left alone. It held a lock, which nobody asks for any more."""
_KEPT_S = 3600.0
"""How long the row of a worker stays that has died. Without it, too, all that it has begun is free."""


def since_boot() -> float:
    """Seconds by a clock that nobody can set and that goes on while the machine sleeps, as far as there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def held_s() -> ColumnElement[float]:
    """Of a row of `deliveries`: for how many seconds nobody else may begin it. Null or less than 0: anybody may."""
    its_worker = select(workers.c.lease_until).where(workers.c.id == deliveries.c.worker_id).scalar_subquery()
    its_attempt = (
        select(func.max(attempts.c.started_at))
        .where(attempts.c.delivery_id == deliveries.c.id, attempts.c.outcome == AttemptOutcome.RUNNING)
        .scalar_subquery()
    )
    until = case(
        (deliveries.c.worker_id.is_(None), its_attempt + timedelta(seconds=_OLDER_VERSION_S)), else_=its_worker
    )
    left = extract("epoch", until - func.clock_timestamp())
    return case((deliveries.c.state == DeliveryState.SENDING, left), else_=null())


def is_held() -> ColumnElement[bool]:
    """Of a row of `deliveries`: whether a process that may live is sending it."""
    return func.coalesce(held_s() > 0, False)


def taken_s() -> ColumnElement[float]:
    """Of a row of `deliveries` that is not being sent: for how many seconds it is left to who has taken it. Null or
    less than 0: nobody has."""
    its_worker = select(workers.c.lease_until).where(workers.c.id == deliveries.c.worker_id).scalar_subquery()
    return case((deliveries.c.state.in_(WAITING), extract("epoch", its_worker - func.clock_timestamp())), else_=null())


def end_if_over(connection: Connection, worker_id: int | None) -> bool:
    """Ends the lease of a worker, if it is over, so that no sign of life that is under way revives it. False: it is not
    over after all, or just being renewed. None, or one that is not there: of a worker that has let go.

    Waits for nobody: who renews may be frozen in the middle of it.
    """
    if worker_id is None:
        return True
    this_one = workers.c.id == worker_id
    over = select(workers.c.id).where(this_one, workers.c.lease_until <= func.clock_timestamp())
    ended = delete(workers).where(workers.c.id.in_(over.with_for_update(skip_locked=True)))
    if connection.execute(ended).rowcount:
        return True
    return connection.execute(select(workers.c.id).where(this_one)).scalar() is None


def forget_old(connection: Connection) -> None:
    """Drops the rows of workers that have died long ago."""
    long_ago = func.clock_timestamp() - timedelta(seconds=_KEPT_S)
    connection.execute(delete(workers).where(workers.c.lease_until < long_ago))


class Lease:
    """The lease of a worker, on all that it has begun: one attempt, or while `of_process` lasts, as many as there are.

    Args:
        name: who works here (host and process), for people.
        lease_s: how long it lasts from each sign of life.
        clock: tells seconds, and is never set.
    """

    def __init__(self, store: Store, *, name: str, lease_s: float, clock: Callable[[], float] = since_boot) -> None:
        self.name, self.lease_s, self.clock = name, lease_s, clock
        self._store = store
        self._id: int | None = None
        self._until = -math.inf
        self.is_of_process = False
        """Whether it holds all that the process begins, and not one attempt."""
        self._stops = False

    @contextmanager
    def of_process(self) -> Iterator[None]:
        """Holds all that this process begins while this lasts. Whatever breaks it off, what is on its way then is held
        until the lease is over by itself.

        Raises:
            StoreError: the store could not be used.
        """
        with self._store.begin() as connection:
            self.take(connection)
        self.is_of_process = True
        with self._renewed():
            yield
        with suppress(StoreError), self._store.begin() as connection:
            self._delete(connection)

    def take(self, connection: Connection) -> int:
        """Begins it, in the transaction that begins what it is for. Returns the worker's id.

        Raises:
            StoreError: it is the process's, and over: another may be at work on what it has begun.
        """
        if self.is_of_process:
            return self._own_id(connection)
        asked_at = self.clock()
        new = insert(workers).values(name=self.name, lease_until=self._from_now()).returning(workers.c.id)
        self._id = int(connection.execute(new).scalar_one())
        self._until = asked_at + self.lease_s
        return self._id

    def renew(self) -> None:
        """Gives a sign of life. One that comes too late changes nothing: another may be at work by now.

        Raises:
            StoreError: the store could not be used.
        """
        asked_at = self.clock()
        mine = workers.c.id == self._id, workers.c.lease_until > func.clock_timestamp()
        with self._store.begin() as connection:
            is_ours = connection.execute(update(workers).where(*mine).values(lease_until=self._from_now())).rowcount > 0
        self._until = asked_at + self.lease_s if is_ours else -math.inf

    def end(self, connection: Connection) -> None:
        """Ends it, in the transaction that writes what has come of the one thing that was begun. If it is being renewed
        just now, it ends by itself: nothing waits for that, and what has ended is free. The process's goes on."""
        if not self.is_of_process:
            self._delete(connection)

    def stop(self) -> None:
        """Nothing more goes out under it: the process is to end. Locks nothing: the handler of a signal may call it."""
        self._stops = True

    def _own_id(self, connection: Connection) -> int:
        # its row is not locked: threads would begin one after the other. Whoever ends it later ends what is begun here
        mine = workers.c.id == self._id, workers.c.lease_until > func.clock_timestamp()
        if connection.execute(select(workers.c.id).where(*mine)).scalar() is None or self._id is None:
            raise StoreError(
                "The store had no sign of life of this process for too long: it begins nothing more.", is_away=True
            )
        return self._id

    @property
    def worker_id(self) -> int | None:
        """The worker that it is of, if it holds all that the process begins."""
        return self._id if self.is_of_process else None

    def _delete(self, connection: Connection) -> None:
        if self.is_of_process:  # what was taken and not begun is anybody's
            is_waiting = deliveries.c.state.in_(WAITING)
            taken = select(deliveries.c.id).where(deliveries.c.worker_id == self._id, is_waiting)
            in_order = taken.order_by(deliveries.c.id).with_for_update()
            connection.execute(update(deliveries).where(deliveries.c.id.in_(in_order)).values(worker_id=None))
        its_row = select(workers.c.id).where(workers.c.id == self._id).with_for_update(skip_locked=True)
        connection.execute(delete(workers).where(workers.c.id.in_(its_row)))

    def check(self) -> None:
        """To be called right before a call goes out.

        Raises:
            TransientError: it must not: by the time it arrives, another may have begun; or the process is to end.
        """
        if self._stops:
            raise TransientError("Its process was told to end before it was sent.", code=LEASE_OVER, counts=False)
        if self._until - self.clock() < self.lease_s / 3:
            words = "Held up, or without its store, for so long that another may be sending it. It sent nothing more."
            raise TransientError(words, code=LEASE_OVER, counts=False)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While this lasts, signs of life are given, as far as the store takes them."""
        if self.is_of_process:
            yield
            return
        with self._renewed():
            yield

    @contextmanager
    def _renewed(self) -> Iterator[None]:
        is_over = Event()
        try:
            Thread(target=self._keep, args=(is_over,), daemon=True, name="leadcast-lease").start()
        except RuntimeError as error:  # the machine has no thread left: what fits into one lease is sent all the same
            log.warning("lease not renewed", error=str(error))
        try:
            yield
        finally:
            is_over.set()  # nobody waits for the thread: it may be waiting for the store

    def _keep(self, is_over: Event) -> None:
        while not is_over.wait(self.lease_s / 6):
            try:
                self.renew()
            except StoreError as error:
                log.warning("lease not renewed", error=str(error))

    def _from_now(self) -> ColumnElement[datetime]:
        return func.clock_timestamp() + timedelta(seconds=self.lease_s)
