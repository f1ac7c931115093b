"""What is written before a call goes out: the delivery is taken up, put off, or begun. Each in one transaction.

Between two of them its run may be settled, and the batch be parked, ended or claimed: so each makes sure anew that
the run has claimed the batch.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.errors import AttemptFailed, Postponed, StoreError, TransientError
from leadcast.core.model import DeliveryState, ManualAction
from leadcast.core.verdict import Verdict
from leadcast.flow.deliver.admit import Admission, Early, Route
from leadcast.flow.deliver.attempt import Attempt, busy, log_of
from leadcast.integrations.base import Integration
from leadcast.store.accounts import circuits
from leadcast.store.batches import claims, ledger, lost_answers
from leadcast.store.lease import Lease
from leadcast.store.persistent import persistent

log = structlog.get_logger("leadcast.deliver")


class _EndedError(Exception):
    """The delivery has ended before anything went out: a person has cancelled it."""


class Beginning:
    """Writes what comes before the call.

    Args:
        admission: where attempts are admitted.
        lease: under which this process sends.
    """

    def __init__(self, admission: Admission, *, lease: Lease) -> None:
        self.store, self.settings, self.clock = admission.store, admission.settings, admission.clock
        self.lease = lease

    def take_up(
        self,
        delivery_id: str,
        integration: Integration[Any, Any],
        *,
        run_id: str,
        last_in_run: bool,
        action: ManualAction | None,
    ) -> Attempt | None:
        """The attempt to be made, whose run has claimed the batch; None: it is delivered or cancelled.

        Raises:
            AttemptFailed: the delivery has ended, or waits, and no person has asked; or another run carries its batch.
            HeldByAnother: another attempt is on its way.
            StoreError: there is no such delivery, or the store could not be used.
        """
        with self.store.begin() as connection:
            now = self.clock()
            # before the delivery's own row, as all do who touch both
            claims.lock_batch_of(connection, delivery_id=delivery_id)
            due = ledger.due(connection, delivery_id, now=now)
            if due is None:
                log.info("nothing to deliver", delivery_id=delivery_id)
                return None
            # a clear counts once: Airflow's own retries of the cleared task name it again
            is_spent = action is not None and bool(action.which) and action.which == due.last_clear
            attempt = Attempt(
                due=due,
                integration=integration,
                run_id=run_id,
                last_in_run=last_in_run,
                action=None if is_spent else action,
                started_at=now,
            )
            if not attempt.action:
                _refuse_what_is_decided(attempt)
            self._ensure_claim(connection, attempt)
            if due.waits_for:
                ledger.wake(connection, [delivery_id])
        return attempt

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

    def begin(self, attempt: Attempt, route: Route | None) -> ledger.Begun | None:
        """Writes the attempt down; from here on its outcome must be written, too. None: the delivery has ended.

        Args:
            route: where it goes; None: that could not be found, and it is to fail.

        Raises:
            AttemptFailed: another run carries its batch.
            HeldByAnother: another attempt has begun meanwhile.
            StoreError: the store could not be used; nothing has gone out, and nothing will.
        """
        begun: ledger.Begun | None = None
        try:
            with self.store.begin() as connection:
                self._ensure_claim(connection, attempt)
                now = self.clock()
                begun = ledger.begin(
                    connection,
                    attempt.due.delivery_id,
                    lease=self.lease,
                    now=now,
                    seen=attempt.due,
                    account=route.ref.id if route else None,
                    action=attempt.action,
                )
                if begun is None:  # a person may have cancelled it
                    raise _EndedError
        except _EndedError:
            log_of(attempt).info("nothing to deliver")
            return None
        except StoreError:
            # all was written but the commit's answer, and nothing has gone out: left so, it would be in doubt
            if begun is None or not self.is_written(begun):
                raise
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
        if not run_id or claims.ensure_claim(connection, batch_id=attempt.due.batch_id, run_id=run_id):
            return
        why = "Another run carries this batch just now."
        # a person wants this attempt, and nobody but this run knows
        comes_back = attempt.action is not None and not attempt.last_in_run
        raise busy(why, retry_in_s=self.settings.retry_delay_s if comes_back else None)


def _refuse_what_is_decided(attempt: Attempt) -> None:
    """The engine tries again also where a process died after the outcome was written: then that outcome stands."""
    due = attempt.due
    # one that was never begun was only given up on: it may well go out
    if due.state in (DeliveryState.FAILED, DeliveryState.UNKNOWN) and due.attempts:
        ended = TransientError(f"It has ended: {due.state}. To send it again, clear its task.", code=due.error_code)
        raise AttemptFailed(ended, retry_in_s=None)
    if due.waits_for and due.next_attempt_at is not None and due.next_attempt_at > attempt.started_at:
        wait_s = (due.next_attempt_at - attempt.started_at).total_seconds()
        early = Postponed("It waits, and a later run sends it.", wait_s=wait_s, code=due.waits_for)
        raise AttemptFailed(early, retry_in_s=wait_s, waits=True)
