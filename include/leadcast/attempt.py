"""One attempt of one delivery: ledger → integration → ledger. Whatever kills it, the next one knows where it stood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from leadcast.admit import Gate, Way
from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.errors import (
    HELD_FOR_AGE,
    AttemptFailed,
    Blocked,
    DeliveryError,
    Postponed,
    RateLimited,
    SettingsError,
    StoreError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt
from leadcast.core.redact import one_line, scrub
from leadcast.core.verdict import Standing, Verdict, verdict
from leadcast.integrations.base import Call, Integration, TokenVault
from leadcast.integrations.remarks import personal_data
from leadcast.store import account_watch, circuits, claims, ledger
from leadcast.store.memory import StoredMemory

log = structlog.get_logger("leadcast.deliver")


class _CancelledError(Exception):
    """A person has cancelled the delivery before anything went out."""


class Attempt:
    """One attempt of one delivery, whose lock is held.

    Args:
        gate: where it is admitted.
        tokens: keeps rotated OAuth tokens.
        worker: who works here, for the ledger.
        chance: gives a number from 0 to below 1.
        run_id: the run that this is a part of, and which must hold the batch; empty: of none.
        last_in_run: the run makes no further attempt.
        is_asked: a person wants this attempt, however old the lead is.
        asked_by: what a person has done to have it made; empty: nothing.
    """

    def __init__(
        self,
        due: ledger.Due,
        integration: Integration[Any, Any],
        *,
        gate: Gate,
        tokens: TokenVault,
        worker: str,
        chance: Callable[[], float],
        run_id: str,
        last_in_run: bool,
        is_asked: bool = False,
        asked_by: str = "",
    ) -> None:
        self.due = due
        self.integration = integration
        self.gate = gate
        self.tokens = tokens
        self.worker = worker
        self.chance = chance
        self.run_id = run_id
        self.last_in_run = last_in_run
        self.is_asked = is_asked
        self.asked_by = asked_by
        self.store, self.settings, self.clock = gate.store, gate.settings, gate.clock
        self.rules = self.settings.delivering(due.type)
        self.way: Way | None = None
        self.is_probe = False
        self.begun: ledger.Begun | None = None
        self.in_doubt = False
        self.went_out = False
        self.secrets: list[str] = []
        self.log = log.bind(integration=due.type, delivery_id=due.delivery_id)
        self.started_at = self.clock()

    def hold(self, connection: Connection) -> None:
        """Makes sure that its run holds the batch when this transaction ends. To be asked in each one that lets the
        delivery go on: between two of them its run may be settled, and the batch be let go, ended or claimed.

        Raises:
            AttemptFailed: another run carries the batch.
        """
        if not self.run_id or claims.adopt(connection, batch_id=self.due.batch_id, run_id=self.run_id):
            return
        busy = TransientError("Another run carries this batch just now.", code="busy")
        raise AttemptFailed(busy, retry_in_s=None if self.last_in_run else self.settings.retry_delay_s)

    def run(self) -> Receipt | None:
        """Makes it. Returns the receipt; None: it was cancelled before it went out.

        Raises:
            AttemptFailed: with the decision about the next attempt; the ledger says the same.
            StoreError: the ledger could not be read or written.
        """
        try:
            unfit = self._made_ready()
            begun = self._begin()
        except _CancelledError:
            self.log.info("nothing to deliver")
            return None
        try:
            if unfit is not None:
                raise unfit
            if begun.is_erased:
                raise _erased()
            receipt = self._find_or_send(begun)
        except DeliveryError as error:
            return self._failed(error)
        except Exception as error:
            # only its name is kept: the text of an unforeseen error may hold anything
            self.log.error("attempt broke", error=type(error).__name__, where=_where(error))
            return self._failed(self._broken(error))
        except BaseException as error:
            self._end(self._decided(self._broken(error)))
            raise
        self._end(Verdict(state=DeliveryState.DELIVERED, outcome=AttemptOutcome.DELIVERED, receipt=receipt))
        return receipt

    # --- before the attempt

    def _made_ready(self) -> Exception | None:
        """Finds its way, and waits for its turn.

        Returns:
            What the attempt is to fail with, without anything sent.

        Raises:
            AttemptFailed: it is too early.
        """
        try:
            self._load_tools()
            self._refuse_what_is_stale()
            self.way = self.gate.way(self.due, self.integration)
            self.secrets += self.way.account.secrets()
            gives_up_in_s = self.settings.give_up_after_s - self._waited_s()
            self.is_probe = self.gate.admit(self.due, self.way, gives_up_in_s=gives_up_in_s)
        except Postponed as early:
            decided = self._decided(early)
            if decided.state is not DeliveryState.RETRYING:
                return early
            raise self._postponed(early, decided) from None
        except StoreError:
            raise
        except Exception as error:
            return error
        return None

    def _refuse_what_is_stale(self) -> None:
        """What was to be sent long ago, and could not be, may do more harm than good by now: a person decides."""
        if self.due.is_erased:
            raise _erased()
        if self.due.is_cancelled and not self.is_asked:
            raise Blocked("Its batch was cancelled while it was being sent.", code="cancelled")
        hold_after_s = self.settings.hold_after_s
        age_s = (self.clock() - self.due.wanted_at).total_seconds()
        if hold_after_s and age_s > hold_after_s and not self.is_asked:
            raise Blocked(
                f"Held: it was accepted {age_s / 3600:.0f} hours ago, and is not sent by itself any more "
                "(hold_after_s). Retry it to send it all the same.",
                code=HELD_FOR_AGE,
            )

    def _load_tools(self) -> None:
        """What an attempt uses is heavy to import. Loaded after its turn has come, it would send late, into the turn of
        those that follow."""
        from leadcast.integrations.egress import Egress
        from leadcast.integrations.templating import Templates

        self.egress = Egress(allowed_networks=self.settings.allowed_networks)
        self.templates = Templates(folder=self.settings.templates_folder, language=self.settings.language)

    def _postponed(self, early: Postponed, decided: Verdict) -> AttemptFailed:
        assert self.way is not None
        account_id = self.way.ref.id
        wait_s = decided.wait_s or 0.0
        now = self.clock()
        with self.store.begin() as connection:
            self.hold(connection)
            # it may have closed since we asked, and have let go of all that waited for it
            if early.code == WAITS_FOR_CIRCUIT and not circuits.holds(connection, account_id):
                wait_s = 0.0
            is_open = ledger.postpone(
                connection,
                self.due,
                account=account_id,
                error=early,
                waits_for=decided.waits_for,
                until=now + timedelta(seconds=wait_s),
                decided=self.due.state is DeliveryState.UNKNOWN and self.integration.needs_decision,
                now=now,
            )
        if not is_open:
            raise _CancelledError
        self.log.info("delivery waits", waits_for=early.code, seconds=round(wait_s, 1))
        return AttemptFailed(early, retry_in_s=wait_s, waits=bool(decided.waits_for))

    def _begin(self) -> ledger.Begun:
        account = self.way.ref.id if self.way else None
        now = self.clock()
        with self.store.begin() as connection:
            self.hold(connection)
            begun = ledger.begin(
                connection,
                self.due.delivery_id,
                worker=self.worker,
                now=now,
                account=account,
                asked=self.asked_by,
                asked_at=now if self.is_asked else None,
            )
        if begun is None:  # its lock is ours, but a person may have cancelled it
            raise _CancelledError
        self.begun, self.in_doubt = begun, begun.in_doubt
        # a service's words may repeat the lead, and go into the log
        self.secrets += personal_data(begun.lead)
        self.log = self.log.bind(batch_id=begun.batch_id, lead_id=begun.lead.id, attempt=begun.attempt)
        return begun

    # --- the attempt

    def _find_or_send(self, begun: ledger.Begun) -> Receipt:
        assert self.way is not None
        call = self._call(begun, self.way)
        if self.in_doubt:
            found = self._find(begun, self.way, call)
            if found is not None:
                return replace(found, reconciled=True)
        self.went_out = True
        return self.integration.deliver(begun.lead, settings=self.way.settings, account=self.way.account, call=call)

    def _find(self, begun: ledger.Begun, way: Way, call: Call) -> Receipt | None:
        """The receipt of an attempt whose outcome nobody saw; None: send (again)."""
        if self.integration.can_find:
            try:
                found = self.integration.find(begun.lead, settings=way.settings, account=way.account, call=call)
            except UnknownOutcome as error:
                raise TransientError(f"Could not be asked: {error.message}", code=error.code) from None
            if found is None:
                self._refuse_if_too_early(begun)
            self.in_doubt = False
            return found
        # UNKNOWN was shown to a person, so whoever starts it again has decided
        if begun.before is DeliveryState.UNKNOWN:
            self.in_doubt = not self.integration.needs_decision
        elif not self._may_resend():
            raise UnknownOutcome("It may have arrived, and the service cannot be asked. A person decides.", code="held")
        return None

    def _refuse_if_too_early(self, begun: ledger.Begun) -> None:
        """The service may still be at work on the call that nobody saw the end of: then it is not to be sent again."""
        since = begun.in_doubt_since
        if since is None:
            return
        absent_after_s = self.integration.absent_after_s
        # a clock that was set back must not make it longer
        left_s = min(absent_after_s - (self.clock() - since).total_seconds(), absent_after_s)
        if left_s > 0:
            # nothing was sent, so it is no try: deaths have used up enough of them
            raise TransientError(
                "Not found yet, and it may still arrive; asked again later.",
                code="too_early",
                retry_after_s=left_s,
                counts=False,
            )

    def _may_resend(self) -> bool:
        return self.way is not None and self.integration.may_resend(self.way.settings, self.settings)

    def _call(self, begun: ledger.Begun, way: Way) -> Call:
        return Call(
            key=begun.delivery_id,
            batch_id=begun.batch_id,
            accepted_at=begun.accepted_at,
            attempt=begun.attempt,
            egress=self.egress,
            templates=self.templates,
            tokens=self.tokens,
            settings=self.settings,
            clock=self.clock,
            timeout_s=self.rules.timeout_s,
            pace=self._pacer(way),
            memory=StoredMemory(self.store, account=way.ref.id, clock=self.clock),
            kept=begun.kept,
            keep=self._keep,
        )

    def _pacer(self, way: Way) -> Callable[[], None]:
        is_paid = [True]  # the first call was waited for before the attempt began

        def pace() -> None:
            if is_paid:
                is_paid.clear()
                return
            try:
                self.gate.await_turn(way)
            except StoreError as error:  # half a delivery must not be left for that; the service can still say 429
                self.log.warning("not paced", error=str(error))

        return pace

    def _keep(self, progress: Mapping[str, Any]) -> None:
        assert self.begun is not None
        with self.store.begin() as connection:
            ledger.keep(connection, self.begun, progress)

    # --- after the attempt

    def _broken(self, error: BaseException) -> DeliveryError:
        """What an error that is not a service's says of the attempt."""
        if self.went_out:
            return UnknownOutcome(f"Broke off while sending: {type(error).__name__}", code="broken")
        if isinstance(error, SettingsError):
            return Blocked(str(error), code="settings")
        return TransientError(f"Broke off before sending: {type(error).__name__}", code="broken")

    def _failed(self, error: DeliveryError) -> Receipt:
        """Writes it down. Returns the receipt where enough has arrived.

        Raises:
            AttemptFailed: with the decision about the next attempt.
        """
        error.message = one_line(scrub(error.message, secrets=self.secrets))
        error.detail = one_line(scrub(error.detail, secrets=self.secrets))
        decided = self._end(self._decided(error))
        if isinstance(error, RateLimited) and self.way is not None:
            with suppress(StoreError):  # the outcome is written, and others may still be told by the service itself
                self.gate.pause(self.way, pause_s=error.retry_after_s or 0.0)
        if decided.receipt is not None:
            return decided.receipt
        raise AttemptFailed(error, retry_in_s=decided.wait_s, waits=bool(decided.waits_for)) from None

    def _waited_s(self) -> float:
        return (self.clock() - (self.begun or self.due).round_at).total_seconds()

    def _has_time_for(self, wait_s: float) -> bool:
        return self._waited_s() + wait_s <= self.settings.give_up_after_s

    def _decided(self, error: DeliveryError) -> Verdict:
        """What becomes of the delivery. An account whose circuit this error opens is not in it yet (`_end`)."""
        begun = self.begun
        return verdict(
            error,
            Standing(
                attempt=begun.attempt if begun else 1,
                tries=begun.tries if begun else self.due.tries,
                waited_s=self._waited_s(),
                in_doubt=self.in_doubt,
                may_resend=self._may_resend(),
                is_repeatable=self.integration.repeatable,
                last_in_run=self.last_in_run,
            ),
            rules=self.rules,
            give_up_after_s=self.settings.give_up_after_s,
            chance=self.chance,
        )

    @retry(
        retry=retry_if_exception_type(StoreError),
        stop=stop_after_attempt(5),
        wait=wait_exponential(multiplier=0.5, max=5),
        reraise=True,
    )
    def _end(self, decided: Verdict) -> Verdict:
        """Writes the outcome; tries for some seconds, since an outcome that is known and not written is costly."""
        assert self.begun is not None
        now = self.clock()
        with self.store.begin() as connection:
            if self.way is not None:
                opened = account_watch.note(
                    connection,
                    self.way.ref,
                    decided.error,
                    is_probe=self.is_probe,
                    settings=self.settings,
                    now=now,
                )
                if opened is not None and opened.until is not None:
                    wait_s = max((opened.until - now).total_seconds(), 0.0)
                    if self._has_time_for(wait_s):
                        decided = decided.waiting(wait_s, may_resend=self._may_resend())
            state = ledger.end(connection, self.begun, _ended(decided, now=now), now=now)
        if state is not decided.state:
            decided = replace(decided, state=state, wait_s=None, waits_for="")
        self.log.info(
            "attempt ended",
            outcome=decided.outcome.value,
            state=decided.state.value,
            waits_for=decided.waits_for or None,
            duration_s=round((now - self.started_at).total_seconds(), 3),
            error=decided.error.message if decided.error else None,
            code=decided.error.code if decided.error else None,
        )
        return decided


def _erased() -> Blocked:
    return Blocked("Its personal data has been erased.", code="erased")


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


def _where(error: BaseException) -> str:
    """File and line at which an error arose: enough to mend it, and nothing of what it was about."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}" if step else ""
