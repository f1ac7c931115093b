"""What is written before a call goes out: the delivery is taken up, put off, or begun.

Each is one transaction, for one delivery or for all that a process takes up or begins at that moment. Between two its
run may be settled, and the batch be parked, ended or claimed: so each makes sure anew that the run has claimed the
batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection

from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.errors import AttemptFailed, Postponed, StoreError, TransientError
from leadcast.core.group_commit import GroupCommit
from leadcast.core.model import DeliveryState, ManualAction
from leadcast.core.verdict import Verdict
from leadcast.flow.deliver.admit import Admission, Early, Route
from leadcast.flow.deliver.attempt import Attempt, busy, log_of
from leadcast.integrations.base import Integration
from leadcast.store.accounts import circuits
from leadcast.store.batches import claims, ledger, lost_answers
from leadcast.store.batches.ledger import HeldByAnother
from leadcast.store.database import bound_waits
from leadcast.store.lease import Lease
from leadcast.store.persistent import persistent

log = structlog.get_logger("leadcast.deliver")

WAITS_TOGETHER_S = 0.5
"""How long a transaction for several waits for what others hold. Then each waits for himself."""


class _EndedError(Exception):
    """The delivery has ended before anything went out: a person has cancelled it."""


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
        """The attempt to be made, whose run has claimed the batch; None: it is delivered or cancelled.

        Raises:
            AttemptFailed: the delivery has ended, or waits, and no person has asked; or another run carries its batch.
            HeldByAnother: another attempt is on its way.
            StoreError: there is no such delivery, or the store could not be used.
        """
        return self._taking_up.ask(wanted)

    def begin(self, attempt: Attempt, route: Route | None) -> ledger.Begun | None:
        """Writes the attempt down; from here on its outcome must be written, too. None: the delivery has ended.

        Args:
            route: where it goes; None: that could not be found, and it is to fail.

        Raises:
            AttemptFailed: another run carries its batch.
            HeldByAnother: another attempt has begun meanwhile.
            StoreError: the store could not be used; nothing has gone out, and nothing will.
        """
        return self._beginning.ask((attempt, route))

    def _take_up(self, all_wanted: Sequence[Wanted], *, waits_s: float | None = None) -> list[Taken]:
        with self.store.begin() as connection:
            if waits_s is not None:
                bound_waits(connection, waits_s)
            now, ids = self.clock(), [wanted.delivery_id for wanted in all_wanted]
            # before the deliveries' own rows, as all do who touch both
            holders = claims.lock_batches_of(connection, delivery_ids=ids)
            found = ledger.due_all(connection, ids, now=now)
            taken = [self._taken(connection, wanted, found[wanted.delivery_id], holders, now) for wanted in all_wanted]
            waited = [one.due.delivery_id for one in taken if isinstance(one, Attempt) and one.due.waits_for]
            if waited:
                ledger.wake(connection, waited)
        return taken

    def _taken(
        self,
        connection: Connection,
        wanted: Wanted,
        due: ledger.Due | HeldByAnother | None,
        holders: Mapping[str, claims.Holder],
        now: datetime,
    ) -> Taken:
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
        if ended is None and wanted.run_id:
            if holders[due.batch_id].is_another(wanted.run_id):
                return self._carried_by_another(attempt)
            claims.ensure_claim_locked(connection, holders[due.batch_id], run_id=wanted.run_id)
        return ended or attempt

    def put_off(self, attempt: Attempt, early: Early, decided: Verdict) -> AttemptFailed | None:
        """Lets it wait. Returns what its run is told; None: it has ended meanwhile.

        Raises:
            AttemptFailed: another run carries its batch.
            HeldByAnother: another attempt has begun meanwhile.
            StoreError: the store could not be used; nothing was written.
        """
        account_id, wait_s = early.route.ref.id, decided.wait_s or 0.0
        now = self.clock()
        gives_up_in_s = attempt.gives_up_in_s(self.settings, now)
        if gives_up_in_s is not None:
            wait_s = min(wait_s, gives_up_in_s)
        try:
            with self.store.begin() as connection:
                self._ensure_claim(connection, attempt)
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
                )
                if not is_open:
                    raise _EndedError  # in here: its batch stays as it was, too
        except _EndedError:
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
        holders = claims.lock_batches_of(connection, delivery_ids=[one.due.delivery_id for one, _ in admitted])
        anothers = [one for one, _ in admitted if one.run_id and holders[one.due.batch_id].is_another(one.run_id)]
        begun: dict[str, Begun] = {one.due.delivery_id: self._carried_by_another(one) for one in anothers}
        mine = [(attempt, route) for attempt, route in admitted if attempt.due.delivery_id not in begun]
        to_begin = [
            ledger.ToBegin(
                delivery_id=attempt.due.delivery_id,
                seen=attempt.due,
                account=route.ref.id if route else None,
                action=attempt.action,
            )
            for attempt, route in mine
        ]
        found = ledger.begin_all(connection, to_begin, lease=self.lease, now=self.clock()) if mine else []
        for (attempt, _), one in zip(mine, found, strict=True):
            begun[attempt.due.delivery_id] = one
            if one is None:  # a person may have cancelled it; its batch stays as it was
                log_of(attempt).info("nothing to deliver")
            elif isinstance(one, ledger.Begun) and attempt.run_id:
                claims.ensure_claim_locked(connection, holders[one.batch_id], run_id=attempt.run_id)
        return begun

    @persistent
    def is_written(self, begun: ledger.Begun) -> bool:
        """Whether the attempt is in the ledger, where the answer to the commit was lost; insists on the store."""
        with self.store.begin() as connection:
            return lost_answers.is_written(connection, begun)

    def _ensure_claim(self, connection: Connection, attempt: Attempt) -> None:
        """Makes sure that the attempt's run has the batch when this transaction ends.

        Raises:
            AttemptFailed: another run carries the batch.
        """
        run_id = attempt.run_id
        if run_id and not claims.ensure_claim(connection, batch_id=attempt.due.batch_id, run_id=run_id):
            raise self._carried_by_another(attempt)

    def _carried_by_another(self, attempt: Attempt) -> AttemptFailed:
        # a person wants this attempt, and nobody but this run knows
        comes_back = attempt.action is not None and not attempt.last_in_run
        why = "Another run carries this batch just now."
        return busy(why, retry_in_s=self.settings.retry_delay_s if comes_back else None)


def _decided(attempt: Attempt, *, keeps_pause: bool) -> AttemptFailed | None:
    """What was decided of it before. The engine tries again also where a process died after the outcome was written:
    then that outcome stands.

    Args:
        keeps_pause: the run may come back to it too early, since it comes back to others.
    """
    due = attempt.due
    # one that was never begun was only given up on: it may well go out
    if due.state in (DeliveryState.FAILED, DeliveryState.UNKNOWN) and due.attempts:
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
