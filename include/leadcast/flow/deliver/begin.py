"""What is written before a call goes out: the delivery is taken up, put off, or begun.

Each is one transaction, for one delivery or for all that a process takes up or begins at that moment. Between two a
person may cancel it, and another process may come for it: so each looks anew how it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.errors import GIVEN_UP, AttemptFailed, Postponed, StoreError, TransientError
from leadcast.core.group_commit import GroupCommit
from leadcast.core.model import DeliveryState, ManualAction
from leadcast.core.verdict import Verdict
from leadcast.flow.deliver.admit import Admission, Early, Route
from leadcast.flow.deliver.attempt import Attempt, log_of
from leadcast.integrations.base import Integration
from leadcast.store.accounts import circuits
from leadcast.store.batches import lanes, ledger, lost_answers, opening
from leadcast.store.batches.ledger import HeldByAnother
from leadcast.store.database import bound_waits
from leadcast.store.lease import Lease
from leadcast.store.persistent import persistent

log = structlog.get_logger("leadcast.deliver")

WAITS_TOGETHER_S = 0.5
"""How long a transaction for several waits for what others hold. Then each waits for himself."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a run wants sent, as `Deliverer.deliver` is asked for it."""

    delivery_id: str
    integration: Integration[Any, Any]
    run_id: str
    last_in_run: bool
    action: ManualAction | None


Taken = Attempt | AttemptFailed | HeldByAnother | None
Begun = ledger.Begun | AttemptFailed | HeldByAnother | StoreError | None


class Beginning:
    """Writes what comes before the calls of one process: what several threads are about to begin, in one transaction.

    Args:
        admission: where attempts are admitted.
        lease: under which this process sends.
        gathers_s: how long one thread waits for others before he writes; 0: there are no others.
    """

    def __init__(self, admission: Admission, *, lease: Lease, gathers_s: float) -> None:
        self.store, self.settings, self.clock = admission.store, admission.settings, admission.clock
        self.lease = lease
        self._taking_up: GroupCommit[Wanted, Attempt | None] = GroupCommit(
            partial(self._take_up, waits_s=WAITS_TOGETHER_S), lambda one: self._take_up([one])[0], gathers_s=gathers_s
        )
        self._beginning: GroupCommit[tuple[Attempt, Route | None], ledger.Begun | None] = GroupCommit(
            partial(self._begin, waits_s=WAITS_TOGETHER_S), lambda one: self._begin([one])[0], gathers_s=gathers_s
        )

    def take_up(self, wanted: Wanted) -> Attempt | None:
        """The attempt to be made, which no other process makes meanwhile; None: it is delivered or cancelled.

        Raises:
            AttemptFailed: the delivery has ended, or waits, and no person has asked.
            HeldByAnother: another attempt is on its way, or another process about to make it.
            StoreError: there is no such delivery, or the store could not be used.
        """
        return self._taking_up.ask(wanted)

    def begin(self, attempt: Attempt, route: Route | None) -> ledger.Begun | None:
        """Writes the attempt down; from here on its outcome must be written, too. None: the delivery has ended.

        Args:
            route: where it goes; None: that could not be found, and it is to fail.

        Raises:
            HeldByAnother: another attempt has begun meanwhile.
            StoreError: the store could not be used; nothing has gone out, and nothing will.
        """
        return self._beginning.ask((attempt, route))

    def _take_up(self, all_wanted: Sequence[Wanted], *, waits_s: float | None = None) -> list[Taken]:
        with self.store.begin() as connection:
            if waits_s is not None:
                bound_waits(connection, waits_s)
            now, ids = self.clock(), [wanted.delivery_id for wanted in all_wanted]
            worker_id = self.lease.worker_id
            found = ledger.due_all(connection, ids, now=now, worker_id=worker_id)
            taken = [self._taken(wanted, found[wanted.delivery_id], now) for wanted in all_wanted]
            to_take = [one.due.delivery_id for one in taken if isinstance(one, Attempt) and not one.due.is_taken]
            if worker_id is not None and to_take:
                lanes.take_these(connection, to_take, worker_id=self.lease.take(connection))
        return taken

    def _taken(self, wanted: Wanted, due: ledger.Due | HeldByAnother | None, now: datetime) -> Taken:
        if due is None:
            log.info("nothing to deliver", delivery_id=wanted.delivery_id)
        if due is None or isinstance(due, HeldByAnother):
            return due
        # a clear counts once: Airflow's own retries of the cleared task name it again
        action = wanted.action
        is_spent = action is not None and bool(action.which) and action.which == due.last_clear
        attempt = Attempt(
            due=due,
            integration=wanted.integration,
            run_id=wanted.run_id,
            last_in_run=wanted.last_in_run,
            action=None if is_spent else action,
            started_at=now,
        )
        ended = None if attempt.action else _decided(attempt, keeps_pause=self.lease.is_of_process)
        return ended or attempt

    def put_off(self, attempt: Attempt, early: Early, decided: Verdict) -> AttemptFailed | None:
        """Lets it wait. Returns what its run is told; None: it has ended meanwhile.

        Raises:
            HeldByAnother: another attempt has begun meanwhile.
            StoreError: the store could not be used; nothing was written.
        """
        account_id, wait_s = early.route.ref.id, decided.wait_s or 0.0
        now = self.clock()
        gives_up_in_s = attempt.gives_up_in_s(self.settings, now)
        if gives_up_in_s is not None:
            wait_s = min(wait_s, gives_up_in_s)
        with self.store.begin() as connection:
            locked = opening.lock_of(connection, delivery_ids=[attempt.due.delivery_id])
            # it may have closed since we asked, and all that waited for it be due
            if early.error.code == WAITS_FOR_CIRCUIT and not circuits.holds(connection, account_id):
                wait_s = 0.0
            is_open = ledger.postpone(
                connection,
                attempt.due,
                account=account_id,
                error=early.error,
                waits_for=decided.waits_for,
                until=now + timedelta(seconds=wait_s),
                decided=attempt.due.state is DeliveryState.UNKNOWN and attempt.integration.needs_decision,
                now=now,
                action=attempt.action,
                worker_id=self.lease.worker_id,
            )
            if is_open:
                opening.open_all(connection, locked.values(), run_id=attempt.run_id)
        if not is_open:
            log_of(attempt).info("nothing to deliver")
            return None
        return AttemptFailed(early.error, retry_in_s=wait_s, waits=bool(decided.waits_for))

    def _begin(self, admitted: Sequence[tuple[Attempt, Route | None]], *, waits_s: float | None = None) -> list[Begun]:
        begun: dict[str, Begun] = {}
        try:
            with self.store.begin() as connection:
                if waits_s is not None:
                    bound_waits(connection, waits_s)
                begun = self._written(connection, admitted)
        except StoreError as error:
            # all was written but the commit's answer, and nothing has gone out: left so, it would be in doubt
            if not begun:
                raise
            lost = [one for one in begun.values() if isinstance(one, ledger.Begun) and not self.is_written(one)]
            begun |= {one.delivery_id: error for one in lost}
        return [begun[attempt.due.delivery_id] for attempt, _ in admitted]

    def _written(self, connection: Connection, admitted: Sequence[tuple[Attempt, Route | None]]) -> dict[str, Begun]:
        locked = opening.lock_of(connection, delivery_ids=[one.due.delivery_id for one, _ in admitted])
        to_begin = [
            ledger.ToBegin(
                delivery_id=attempt.due.delivery_id,
                seen=attempt.due,
                account=route.ref.id if route else None,
                action=attempt.action,
            )
            for attempt, route in admitted
        ]
        found = ledger.begin_all(connection, to_begin, lease=self.lease, now=self.clock())
        begun: dict[str, Begun] = {}
        opened: dict[str, list[opening.Locked]] = {}
        gone_on_with: dict[str, list[str]] = {}
        for (attempt, _), one in zip(admitted, found, strict=True):
            begun[attempt.due.delivery_id] = one
            if one is None:  # a person may have cancelled it; its batch stays as it was
                log_of(attempt).info("nothing to deliver")
            elif isinstance(one, ledger.Begun):
                opened.setdefault(attempt.run_id, []).append(locked[one.batch_id])
                if one.attempt > 1:
                    gone_on_with.setdefault(attempt.run_id, []).append(one.batch_id)
        for run_id, its in opened.items():
            opening.open_all(connection, its, run_id=run_id)
        for run_id, batch_ids in gone_on_with.items():
            opening.hand_over(connection, batch_ids=batch_ids, run_id=run_id)
        return begun

    @persistent
    def is_written(self, begun: ledger.Begun) -> bool:
        """Whether the attempt is in the ledger, where the answer to the commit was lost; insists on the store."""
        with self.store.begin() as connection:
            return lost_answers.is_written(connection, begun)


def _decided(attempt: Attempt, *, keeps_pause: bool) -> AttemptFailed | None:
    """What was decided of it before. The engine tries again also where a process died after the outcome was written:
    then that outcome stands.

    Args:
        keeps_pause: the run may come back to it too early, since it comes back to others.
    """
    due = attempt.due
    # one that was never begun may well go out, unless somebody has seen to it
    is_over = due.attempts or due.error_code == GIVEN_UP
    if due.state in (DeliveryState.FAILED, DeliveryState.UNKNOWN) and is_over:
        ended = TransientError(f"It has ended: {due.state}. To send it again, clear its task.", code=due.error_code)
        return AttemptFailed(ended, retry_in_s=None)
    if due.next_attempt_at is None or due.next_attempt_at <= attempt.started_at:
        return None
    wait_s = (due.next_attempt_at - attempt.started_at).total_seconds()
    if due.waits_for:
        early = Postponed("It waits, and a later run sends it.", wait_s=wait_s, code=due.waits_for)
        return AttemptFailed(early, retry_in_s=wait_s, waits=True)
    if keeps_pause and due.state is DeliveryState.RETRYING:
        early = Postponed("Its pause is not over.", wait_s=wait_s, code="pause")
        return AttemptFailed(early, retry_in_s=wait_s, waits=attempt.last_in_run)
    return None
