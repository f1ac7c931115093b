"""What an attempt's outcome makes of the delivery, and its writing into the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from leadcast.core.errors import DeliveryError
from leadcast.core.group_commit import GroupCommit
from leadcast.core.model import AttemptOutcome, DeliveryState
from leadcast.core.verdict import Situation, Verdict, verdict
from leadcast.flow.deliver import account_watch
from leadcast.flow.deliver.admit import Admission, Ready, Refused, Route
from leadcast.flow.deliver.attempt import Attempt, log_of
from leadcast.flow.deliver.begin import WAITS_TOGETHER_S
from leadcast.flow.deliver.send import Arrived, NotArrived
from leadcast.integrations.operators_words import in_error
from leadcast.integrations.text.fit_to_show import fit_to_show
from leadcast.integrations.text.personal_data import personal_data
from leadcast.store.batches import ledger, lost_answers, opening
from leadcast.store.batches.ledger import Begun
from leadcast.store.database import bound_waits
from leadcast.store.lease import Lease
from leadcast.store.persistent import persistent


def decide(
    attempt: Attempt,
    error: DeliveryError,
    *,
    route: Route | None,
    begun: Begun | None,
    in_doubt: bool,
    admission: Admission,
    chance: Callable[[], float],
) -> Verdict:
    """What becomes of the delivery. An account whose circuit this error opens is not in it yet (`Outcome.end`).

    Args:
        begun: as the attempt is written down; None: it is not.
        chance: gives a number from 0 to below 1.
    """
    settings, now = admission.settings, admission.clock()
    return verdict(
        error,
        Situation(
            attempt=begun.attempt if begun else 1,
            tries=begun.tries if begun else attempt.due.tries,
            waited_s=attempt.waited_s(now, is_begun=begun is not None),
            in_doubt=in_doubt,
            may_resend=_may_resend(attempt, route, admission),
            is_repeatable=attempt.integration.repeatable,
            last_in_run=attempt.last_in_run,
        ),
        rules=settings.delivering(attempt.due.type),
        give_up_after_s=settings.give_up_after_s,
        chance=chance,
    )


def make_fit(error: DeliveryError, attempt: Attempt, route: Route | None, begun: Begun | None, *, region: str) -> None:
    """Takes out of an error's texts what must not be kept: secrets, personal data, addresses of the operator's.

    Args:
        region: where a phone number without a country is from (`phone_region`).
    """
    secrets: list[str] = []
    if route is not None:
        in_error(error, attempt.integration, route.account)
        secrets += route.account.secrets()
    if begun is not None:  # a service's words may repeat the lead, and go into the log
        secrets += personal_data(begun.lead, region=region)
    error.message = fit_to_show(error.message, secrets=secrets)
    error.detail = fit_to_show(error.detail, secrets=secrets)


class Outcome:
    """The outcome of an attempt that has begun.

    Args:
        admitted: how it was admitted.
        admission: where.
        endings: where it is written.
        chance: gives a number from 0 to below 1.
    """

    def __init__(
        self,
        attempt: Attempt,
        begun: Begun,
        admitted: Ready | Refused,
        *,
        admission: Admission,
        endings: Endings,
        chance: Callable[[], float],
    ) -> None:
        self.attempt, self.begun, self.route = attempt, begun, admitted.route
        self.is_probe = isinstance(admitted, Ready) and admitted.is_probe
        self.admission, self.endings, self.chance = admission, endings, chance
        self.settings, self.clock = admission.settings, admission.clock
        self.account_id = self.route.ref.id if self.route else ""
        self.written: Verdict | None = None
        """What was written of it, if the answer to that commit may have been lost."""

    def of(self, sent: Arrived | NotArrived) -> Verdict:
        """What becomes of the delivery, written. Errors are made fit to be shown.

        Raises:
            StoreError: it could not be written.
        """
        if isinstance(sent, Arrived):
            delivered = DeliveryState.DELIVERED
            return self.endings.end(
                self, Verdict(state=delivered, outcome=AttemptOutcome.DELIVERED, receipt=sent.receipt)
            )
        if sent.interrupted_by is None:
            make_fit(sent.error, self.attempt, self.route, self.begun, region=self.settings.phone_region)
        return self.endings.end(
            self,
            decide(
                self.attempt,
                sent.error,
                route=self.route,
                begun=self.begun,
                in_doubt=sent.in_doubt,
                admission=self.admission,
                chance=self.chance,
            ),
        )

    def stands(self, decided: Verdict, state: DeliveryState, *, now: datetime) -> Verdict:
        """What has become of it, where its delivery is written so."""
        if state is not decided.state:  # its batch was cancelled meanwhile, or it was given up for dead and sent anew
            decided = replace(decided, state=state, wait_s=None, waits_for="")
        log_of(self.attempt, self.begun).info(
            "attempt ended",
            outcome=decided.outcome.value,
            state=decided.state.value,
            waits_for=decided.waits_for or None,
            duration_s=round((now - self.attempt.started_at).total_seconds(), 3),
            error=decided.error.message if decided.error else None,
            code=decided.error.code if decided.error else None,
        )
        return decided

    def noted(self, connection: Connection, decided: Verdict, *, now: datetime) -> Verdict:
        """What it says of its account is noted; and what becomes of the delivery, if that is left alone now."""
        if self.route is None:
            return decided
        opened = account_watch.note(
            connection, self.route.ref, decided.error, is_probe=self.is_probe, settings=self.settings, now=now
        )
        if opened is None or opened.until is None:
            return decided
        wait_s = max((opened.until - now).total_seconds(), 0.0)
        may_resend = _may_resend(self.attempt, self.route, self.admission)
        return decided.waiting(wait_s, may_resend=may_resend) if self._has_time_for(wait_s) else decided

    def _has_time_for(self, wait_s: float) -> bool:
        waited_s = self.attempt.waited_s(self.clock(), is_begun=True) or 0.0
        return waited_s + wait_s <= self.settings.give_up_after_s


class Endings:
    """Writes the outcomes of one process: of several attempts that end at the same time, in one transaction.

    Args:
        admission: where they were admitted.
        lease: under which this process sends. If it is that of one attempt, it ends with the outcome.
        gathers_s: how long one thread waits for others before he writes; 0: there are no others.
    """

    def __init__(self, admission: Admission, *, lease: Lease, gathers_s: float) -> None:
        self.admission, self.store, self.clock, self.lease = admission, admission.store, admission.clock, lease
        self._ending: GroupCommit[tuple[Outcome, Verdict], Verdict] = GroupCommit(
            partial(self._end, waits_s=WAITS_TOGETHER_S), self.end_alone, gathers_s=gathers_s
        )

    def end(self, outcome: Outcome, decided: Verdict) -> Verdict:
        """What becomes of the delivery, written.

        Raises:
            StoreError: it could not be written.
        """
        return self._ending.ask((outcome, decided))

    @persistent
    def end_alone(self, decided: tuple[Outcome, Verdict]) -> Verdict:
        """Writes one, and tries for some seconds, since an outcome that is known and not written is costly."""
        return self._end([decided])[0]

    def _end(self, all_decided: Sequence[tuple[Outcome, Verdict]], *, waits_s: float | None = None) -> list[Verdict]:
        now = self.clock()
        with self.store.begin() as connection:
            if waits_s is not None:
                bound_waits(connection, waits_s)
            # the batches before the accounts and the deliveries, as all do who lock them
            opening.lock_of(connection, delivery_ids=[outcome.begun.delivery_id for outcome, _ in all_decided])
            arrived = [(outcome.begun, decided.receipt is not None) for outcome, decided in all_decided]
            heard = lost_answers.heard(connection, arrived)
            ended = self._noted(connection, all_decided, heard=heard, now=now)
            to_end = [
                ledger.ToEnd(outcome.begun, _ended(decided, now=now), outcome.attempt.run_id)
                for outcome, decided in ended
            ]
            states = ledger.end_all(connection, to_end, now=now)
            self.lease.end(connection)
            for outcome, decided in ended:
                if outcome.begun.delivery_id in heard:
                    outcome.written = decided
        seen = self.admission.open_circuits
        if seen is not None and any(decided.error is not None for _, decided in all_decided):
            seen.look_again()
        return [
            outcome.stands(decided, state, now=now) for (outcome, decided), state in zip(ended, states, strict=True)
        ]

    def _noted(
        self,
        connection: Connection,
        all_decided: Sequence[tuple[Outcome, Verdict]],
        *,
        heard: Collection[str],
        now: datetime,
    ) -> list[tuple[Outcome, Verdict]]:
        """What each says of its account is noted, account by account, so that no two processes lock them in another
        order. Of several that arrive one after the other at one account, the first says it all."""
        noted: dict[Outcome, Verdict] = {}
        said = ""
        for outcome, decided in sorted(all_decided, key=lambda each: each[0].account_id):
            if outcome.begun.delivery_id not in heard:
                # before this one, and the answer to its commit was lost
                noted[outcome] = outcome.written or decided
                continue
            has_arrived = decided.error is None and not outcome.is_probe
            is_said = has_arrived and bool(said) and said == outcome.account_id
            noted[outcome] = decided if is_said else outcome.noted(connection, decided, now=now)
            said = outcome.account_id if has_arrived else ""
        return [(outcome, noted[outcome]) for outcome, _ in all_decided]


def _may_resend(attempt: Attempt, route: Route | None, admission: Admission) -> bool:
    """Whether it may be sent again after a call without an answer."""
    return route is not None and attempt.integration.may_resend(route.settings, admission.settings)


def _ended(decided: Verdict, *, now: datetime) -> ledger.Ended:
    return ledger.Ended(
        state=decided.state,
        outcome=decided.outcome,
        receipt=decided.receipt,
        error=decided.error if decided.receipt is None else None,
        in_doubt=decided.in_doubt,
        next_attempt_at=None if decided.wait_s is None else now + timedelta(seconds=decided.wait_s),
        counts=decided.counts,
        waits_for=decided.waits_for,
    )
