"""Delivers many in one process: several at once, each as `Deliverer` does it, all under one lease.

A task of Airflow's costs a process. One that sends fifty leads costs no more than one that sends one, and each of the
fifty still has its own attempts, limits, circuit and outcome. It takes from its lane what is due, no more than it has
idle threads for, until nothing is or its time is over: others go on then. What may pass soon is due again soon, and
taken again; no process waits for time to pass.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Condition

from leadcast.core.bounded import begun
from leadcast.core.errors import AttemptFailed, NotBegun, StoreError

BEGINS_FOR_S = 60.0
"""For so long a process begins what it finds: others wait for its slot."""
_SOUND_FOR_S = 50.0
"""And for so long what no process has died with. Else that would never have its turn in a busy lane."""
_LAST_WORDS_S = 5.0
_LOOKS_EVERY_S = 0.5
"""How soon one that found nothing looks again, while others of its process are at work; and how soon a thread that
waits sees that the process is to end. A signal's handler can wake nobody."""


@dataclass(frozen=True, order=True)
class Part:
    """One delivery of a chunk."""

    delivery_id: str
    batch_id: str


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Where a process takes more from.

    take: so many at most of what is due, and that no process has died with.
    take_doubtful: one at most of what one has died with.
    take_overdue: the same of what has been due for long.
    drop: lets others have what could not be begun.
    """

    take: Callable[[int], Sequence[Part]]
    take_doubtful: Callable[[], Sequence[Part]]
    take_overdue: Callable[[], Sequence[Part]] = tuple
    drop: Callable[[Part], object] = lambda part: None


@dataclass(frozen=True)
class ChunkEnd:
    """How deliveries stand when their process is through with them.

    arrived: how many are delivered, or cancelled: there is nothing left to do.
    failed: those that have ended without.
    waits: those that a later run carries on.
    comes_back: those that are to be tried again, and in how many seconds.
    not_begun: those that nobody has looked at: the time was over, or the process is to end.
    away: those that nobody could look at, since the store was away.
    broken: what else was raised, each with the delivery.
    """

    arrived: int = 0
    failed: Sequence[AttemptFailed] = ()
    waits: Sequence[AttemptFailed] = ()
    comes_back: Sequence[tuple[float, AttemptFailed]] = ()
    not_begun: int = 0
    away: Sequence[NotBegun] = ()
    broken: Sequence[tuple[Part, Exception]] = ()


class Chunk:
    """The deliveries that one process sends.

    Args:
        own: those that it was made for, in the order in which they are begun.
        deliver: makes one attempt of one, as `Deliverer.deliver` does.
        at_once: how many threads do so.
        lane: where it takes more from; None: nowhere. Those with which a process has died come last, or one of them
            first if it has been due for long, and each alone: one that kills its process takes no other with it.
        clock: in seconds.
    """

    def __init__(
        self,
        own: Sequence[Part],
        deliver: Callable[[Part], object],
        *,
        at_once: int,
        lane: Lane | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deliver, self._clock, self._threads, self._lane = deliver, clock, at_once, lane
        self._own = list(own)
        self._to_do = deque((part, False) for part in own)
        self._outcomes: dict[Part, tuple[float, Exception | None]] = {}
        self._at_work = self._idle = 0
        self._is_alone = self._is_looking = self._is_empty = self._is_full = False
        self._cannot_take: Exception | None = None
        self._is_first_look = True
        self._changed = Condition()
        self._stops = False
        now = self._looks_again_at = clock()
        self._takes_until, self._ends_at = now + _SOUND_FOR_S, now + BEGINS_FOR_S

    def stop(self) -> None:
        """Begins nothing more. Locks nothing, so that the handler of a signal may call it."""
        self._stops = True

    @property
    def time_is_over(self) -> bool:
        """Whether it has ended before it has seen that its lane is empty."""
        return self._lane is not None and not (self._stops or self._is_empty or self._cannot_take)

    def run(self) -> None:
        """Sends what it has, and what it finds, for as long as it may.

        Raises:
            BaseException: what has broken off a delivery that was sent in this thread; or what taking has, that is no
                trouble with the store.
        """
        if len(self._own) == 1 and (part := self._next()) is not None:
            self._send(part)  # in this thread, where Airflow's signals arrive
        with self._changed:
            self._idle = self._threads
            if not self._to_do and self._may_look():
                self._look()
            self._idle = 0
        if self._to_do:
            self._send_in_threads()
        if self._cannot_take is not None and not self._own and not isinstance(self._cannot_take, StoreError):
            raise self._cannot_take

    def _send_in_threads(self) -> None:
        helpers: list[Future[None]] = []
        wanted = self._threads if self._lane is not None else min(self._threads, len(self._to_do))
        try:
            while len(helpers) < wanted:
                helpers.append(begun(self._send_all, name=f"leadcast-deliver-{len(helpers)}"))
        except RuntimeError:  # the machine has no more threads: those that there are, or this one, do it all
            if not helpers:
                self._send_all()
        try:
            wait(helpers)
        except BaseException:  # Airflow's time-out, say: what a thread has sent, it may still write
            self.stop()
            wait(helpers, timeout=_LAST_WORDS_S)
            raise
        for helper in helpers:
            helper.result()

    def _send_all(self) -> None:
        while (part := self._next()) is not None:
            self._send(part)

    def _send(self, part: Part) -> None:
        outcome: Exception | None = None
        try:
            self._deliver(part)
        except Exception as error:
            outcome = error
            if isinstance(error, NotBegun) and self._lane is not None:
                self._lane.drop(part)
        finally:  # whatever ends this thread, the others do not wait for it
            with self._changed:
                self._at_work, self._is_alone = self._at_work - 1, False
                self._outcomes[part] = self._clock(), outcome
                self._changed.notify_all()

    def _next(self) -> Part | None:
        """The part whose turn it is. None: there is nothing more to begin here."""
        with self._changed:
            self._idle += 1
            try:
                while not self._stops and self._clock() < self._ends_at:
                    if self._to_do and self._may_begin(*self._to_do[0]):
                        return self._begun(*self._to_do.popleft())
                    if not self._to_do and self._may_look():
                        self._look()
                        continue
                    if not self._to_do and (self._lane is None or self._is_through):
                        break
                    self._changed.wait(_LOOKS_EVERY_S)
            finally:
                self._idle -= 1
        return None

    def _may_begin(self, part: Part, is_doubtful: bool) -> bool:
        return not self._is_alone and not (is_doubtful and self._at_work)

    def _begun(self, part: Part, is_doubtful: bool) -> Part:
        self._at_work += 1
        self._is_alone = is_doubtful
        return part

    def _may_look(self) -> bool:
        # beside one that is sent alone nothing is taken: it would die with it
        is_free = self._lane is not None and not (self._is_looking or self._is_alone or self._is_through)
        return is_free and not self._stops and self._looks_again_at <= self._clock() < self._ends_at

    @property
    def _is_through(self) -> bool:
        """Whether its lane gives nothing more."""
        return self._is_empty or self._is_full or self._cannot_take is not None

    def _look(self) -> None:
        """Takes more, as much as there are threads for it. The lock is let go meanwhile."""
        lane, idle, were_at_work = self._lane, self._idle, self._at_work
        is_in_time = self._clock() < self._takes_until
        found: list[tuple[Part, bool]] = []
        problem: Exception | None = None
        self._is_looking = True
        self._changed.release()
        try:
            if lane is not None and self._is_first_look:
                # at each process's beginning: where there is always something else, it would never have its turn
                found = [(part, True) for part in lane.take_overdue()]
            if lane is not None and not found and is_in_time:
                found = [(part, False) for part in lane.take(idle)]
            if lane is not None and not found and not were_at_work:
                found = [(part, True) for part in lane.take_doubtful()]
        except Exception as error:
            problem = error
        finally:
            self._changed.acquire()
            self._is_looking = self._is_first_look = False
            self._cannot_take = problem
            self._to_do.extend(found)
            if not found and not were_at_work:
                self._is_empty, self._is_full = is_in_time, not is_in_time
            if not found:
                self._looks_again_at = self._clock() + _LOOKS_EVERY_S
            self._changed.notify_all()

    def end(self) -> ChunkEnd:
        """How it stands with what it was made for; where that is nothing, with all that it has taken."""
        now = self._clock()
        parts = self._own or list(self._outcomes)
        outcomes = {part: self._outcomes[part] for part in parts if part in self._outcomes}
        failures = [(at, error) for at, error in outcomes.values() if isinstance(error, AttemptFailed)]
        away = [error for _, error in outcomes.values() if isinstance(error, NotBegun)]
        if isinstance(self._cannot_take, StoreError) and not self._own:
            away.append(NotBegun(str(self._cannot_take), is_away=self._cannot_take.is_away))
        return ChunkEnd(
            arrived=sum(error is None for _, error in outcomes.values()),
            failed=tuple(error for _, error in failures if error.retry_in_s is None and not error.waits),
            waits=tuple(error for _, error in failures if error.waits),
            comes_back=tuple(
                (max(error.retry_in_s - (now - at), 0.0), error)
                for at, error in failures
                if error.retry_in_s is not None and not error.waits
            ),
            not_begun=len(parts) - len(outcomes),
            away=tuple(away),
            broken=tuple((part, error) for part, error in self.broken if part in outcomes),
        )

    @property
    def taken(self) -> int:
        """How many it has sent beside those that it was made for."""
        return len(self._outcomes.keys() - set(self._own))

    @property
    def broken(self) -> list[tuple[Part, Exception]]:
        """What has raised what nobody expects, of all that it has sent."""
        return [
            (part, error)
            for part, (_, error) in self._outcomes.items()
            if error is not None and not isinstance(error, (AttemptFailed, NotBegun))
        ]
