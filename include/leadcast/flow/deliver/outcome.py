"""What an attempt's outcome makes of the delivery, and its writing into the ledger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from leadcast.core.errors import (
    AttemptFailed,
    Blocked,
    DeliveryError,
    RateLimited,
    SettingsError,
    StoreError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Receipt
from leadcast.core.settings import Settings
from leadcast.core.verdict import Standing, Verdict, verdict
from leadcast.flow.deliver import account_watch
from leadcast.flow.deliver.admit import Gate, Way
from leadcast.integrations.base import Integration
from leadcast.integrations.operators_words import in_error
from leadcast.integrations.text.fit_to_show import fit_to_show
from leadcast.integrations.text.personal_data import personal_data
from leadcast.store.batches import claims, ledger, lost_answers
from leadcast.store.persistent import persistent


@dataclass(kw_only=True)
class Course:
    """How far an attempt has come: what its outcome means depends on it.

    run_id: the run that it is a part of; empty: of none.
    last_in_run: the run makes no further attempt.
    way: how it goes out; None: not known yet.
    is_probe: it tries an account whose circuit is open.
    begun: the attempt as it is written down; None: not yet.
    in_doubt: an attempt before may have sent it, and nobody has found out yet.
    went_out: the service was called.
    secrets: what no text that is kept may hold.
    """

    due: ledger.Due
    integration: Integration[Any, Any]
    settings: Settings
    run_id: str
    last_in_run: bool
    started_at: datetime
    way: Way | None = None
    is_probe: bool = False
    begun: ledger.Begun | None = None
    in_doubt: bool = False
    went_out: bool = False
    secrets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        log = structlog.get_logger("leadcast.deliver")
        self.log = log.bind(integration=self.due.type, delivery_id=self.due.delivery_id)

    def goes(self, way: Way) -> None:
        """Its way is known."""
        self.way = way
        self.secrets += way.account.secrets()

    def begins(self, begun: ledger.Begun) -> None:
        """It is written down."""
        self.begun, self.in_doubt = begun, begun.in_doubt
        # a service's words may repeat the lead, and go into the log
        self.secrets += personal_data(begun.lead, region=self.settings.phone_region)
        self.log = self.log.bind(batch_id=begun.batch_id, lead_id=begun.lead.id, attempt=begun.attempt)

    def make_fit(self, error: DeliveryError) -> None:
        """Takes out of an error's texts what must not be kept: secrets, personal data, addresses of the operator's."""
        if self.way is not None:
            in_error(error, self.integration, self.way.account)
        error.message = fit_to_show(error.message, secrets=self.secrets)
        error.detail = fit_to_show(error.detail, secrets=self.secrets)

    def waited_s(self, now: datetime) -> float | None:
        """Seconds since the first attempt of this round; None: none has begun."""
        begun_at = self.due.begun_at or (self.started_at if self.begun else None)
        return None if begun_at is None else (now - begun_at).total_seconds()

    def may_resend(self) -> bool:
        """Whether it may be sent again after a call without an answer."""
        return self.way is not None and self.integration.may_resend(self.way.settings, self.settings)


class Outcome:
    """The outcome of one attempt.

    Args:
        gate: where it was admitted.
        chance: gives a number from 0 to below 1.
    """

    def __init__(self, course: Course, *, gate: Gate, chance: Callable[[], float]) -> None:
        self.course, self.gate, self.chance = course, gate, chance
        self.store, self.settings, self.clock = gate.store, gate.settings, gate.clock
        self._written: Verdict | None = None

    def broken(self, error: BaseException) -> DeliveryError:
        """What an error that is not a service's says of the attempt."""
        if self.course.went_out:
            return UnknownOutcome(f"Broke off while sending: {type(error).__name__}", code="broken")
        if isinstance(error, SettingsError):
            return Blocked(str(error), code="settings")
        return TransientError(f"Broke off before sending: {type(error).__name__}", code="broken")

    def decided(self, error: DeliveryError) -> Verdict:
        """What becomes of the delivery. An account whose circuit this error opens is not in it yet (`end`)."""
        begun = self.course.begun
        return verdict(
            error,
            Standing(
                attempt=begun.attempt if begun else 1,
                tries=begun.tries if begun else self.course.due.tries,
                waited_s=self.course.waited_s(self.clock()),
                in_doubt=self.course.in_doubt,
                may_resend=self.course.may_resend(),
                is_repeatable=self.course.integration.repeatable,
                last_in_run=self.course.last_in_run,
            ),
            rules=self.settings.delivering(self.course.due.type),
            give_up_after_s=self.settings.give_up_after_s,
            chance=self.chance,
        )

    def failed(self, error: DeliveryError) -> Receipt:
        """Writes it down. Returns the receipt where enough has arrived.

        Raises:
            AttemptFailed: with the decision about the next attempt.
        """
        self.course.make_fit(error)
        decided = self.end(self.decided(error))
        if isinstance(error, RateLimited) and self.course.way is not None:
            with suppress(StoreError):  # the outcome is written, and others may still be told by the service itself
                self.gate.pause(self.course.way, pause_s=error.retry_after_s or 0.0)
        if decided.receipt is not None:
            return decided.receipt
        raise AttemptFailed(error, retry_in_s=decided.wait_s, waits=bool(decided.waits_for)) from None

    @persistent
    def end(self, decided: Verdict) -> Verdict:
        """Writes the outcome; tries for some seconds, since an outcome that is known and not written is costly."""
        begun = self.course.begun
        assert begun is not None
        now = self.clock()
        with self.store.begin() as connection:
            # the batch before the account and the delivery, as all do who lock them
            claims.hold(connection, delivery_id=begun.delivery_id)
            is_heard = lost_answers.is_heard(connection, begun, is_delivered=decided.receipt is not None)
            if is_heard:
                decided = self._noted(connection, decided, now=now)
            elif self._written is not None:  # before this one, and the answer to its commit was lost
                decided = self._written
            state = ledger.end(connection, begun, _ended(decided, now=now), now=now, run_id=self.course.run_id)
            if is_heard:
                self._written = decided
        if state is not decided.state:
            decided = replace(decided, state=state, wait_s=None, waits_for="")
        self.course.log.info(
            "attempt ended",
            outcome=decided.outcome.value,
            state=decided.state.value,
            waits_for=decided.waits_for or None,
            duration_s=round((now - self.course.started_at).total_seconds(), 3),
            error=decided.error.message if decided.error else None,
            code=decided.error.code if decided.error else None,
        )
        return decided

    def _noted(self, connection: Connection, decided: Verdict, *, now: datetime) -> Verdict:
        """What it says of its account is noted; and what becomes of the delivery, if that is left alone now."""
        if self.course.way is None:
            return decided
        opened = account_watch.note(
            connection,
            self.course.way.ref,
            decided.error,
            is_probe=self.course.is_probe,
            settings=self.settings,
            now=now,
        )
        if opened is None or opened.until is None:
            return decided
        wait_s = max((opened.until - now).total_seconds(), 0.0)
        return decided.waiting(wait_s, may_resend=self.course.may_resend()) if self._has_time_for(wait_s) else decided

    def _has_time_for(self, wait_s: float) -> bool:
        return (self.course.waited_s(self.clock()) or 0.0) + wait_s <= self.settings.give_up_after_s


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
