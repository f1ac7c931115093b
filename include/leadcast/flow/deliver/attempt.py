"""One attempt of one delivery: ledger → integration → ledger. Whatever kills it, the next one knows where it stood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.errors import (
    HELD_FOR_AGE,
    AttemptFailed,
    Blocked,
    DeliveryError,
    Postponed,
    StoreError,
    TransientError,
)
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt
from leadcast.core.raised import raised_at
from leadcast.core.settings import Settings
from leadcast.core.tokens import TokenVault
from leadcast.core.verdict import Verdict
from leadcast.flow.deliver.admit import Gate, Way
from leadcast.flow.deliver.outcome import Course, Outcome
from leadcast.flow.deliver.reconcile import reconcile
from leadcast.integrations.base import Call, Integration
from leadcast.store.accounts import circuits
from leadcast.store.accounts.memory import StoredMemory
from leadcast.store.batches import claims, ledger, lost_answers
from leadcast.store.persistent import persistent


class _EndedError(Exception):
    """The delivery has ended before anything went out: a person has cancelled it."""


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
        self.due, self.integration = due, integration
        self.gate, self.tokens = gate, tokens
        self.worker = worker
        self.is_asked, self.asked_by = is_asked, asked_by
        self.store, self.settings, self.clock = gate.store, gate.settings, gate.clock
        self.course = Course(
            due=due,
            integration=integration,
            settings=gate.settings,
            run_id=run_id,
            last_in_run=last_in_run,
            started_at=gate.clock(),
        )
        self.outcome = Outcome(self.course, gate=gate, chance=chance)

    @property
    def is_begun(self) -> bool:
        """Whether it is written down, as far as is known."""
        return self.course.begun is not None

    def hold(self, connection: Connection) -> None:
        """Makes sure that its run holds the batch when this transaction ends. To be asked in each one that lets the
        delivery go on: between two of them its run may be settled, and the batch be let go, ended or claimed.

        Raises:
            AttemptFailed: another run carries the batch.
        """
        run_id = self.course.run_id
        if not run_id or claims.adopt(connection, batch_id=self.due.batch_id, run_id=run_id):
            return
        why = "Another run carries this batch just now."
        raise busy(why, self.settings, comes_back=self.is_asked and not self.course.last_in_run)

    def run(self) -> Receipt | None:
        """Makes it. Returns the receipt; None: it was ended, say cancelled, before it went out.

        Raises:
            AttemptFailed: with the decision about the next attempt; the ledger says the same.
            StoreError: the ledger could not be read or written.
        """
        try:
            unfit = self._made_ready()
            begun = self._begin()
        except _EndedError:
            self.course.log.info("nothing to deliver")
            return None
        try:
            if unfit is not None:
                raise unfit
            if begun.is_erased:
                raise _erased()
            receipt = self._find_or_send(begun)
        except DeliveryError as error:
            return self.outcome.failed(error)
        except Exception as error:
            # only its name is kept: the text of an unforeseen error may hold anything
            self.course.log.error("attempt broke", error=type(error).__name__, where=raised_at(error))
            return self.outcome.failed(self.outcome.broken(error))
        except BaseException as error:
            self.outcome.end(self.outcome.decided(self.outcome.broken(error)))
            raise
        self.outcome.end(Verdict(state=DeliveryState.DELIVERED, outcome=AttemptOutcome.DELIVERED, receipt=receipt))
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
            way = self.gate.way(self.due, self.integration)
            self.course.goes(way)
            self.course.is_probe = self.gate.admit(self.due, way, gives_up_in_s=self._gives_up_in_s())
        except Postponed as early:
            decided = self.outcome.decided(early)
            if decided.state is not DeliveryState.RETRYING:
                return early
            raise self._postponed(early, decided) from None
        except StoreError:
            raise
        except Exception as error:
            return error
        return None

    def _gives_up_in_s(self) -> float | None:
        """How much longer it may be put off; None: for ever. One that has not begun is held then."""
        now = self.clock()
        waited_s = self.course.waited_s(now)
        if waited_s is not None:
            return self.settings.give_up_after_s - waited_s
        if not self.settings.hold_after_s:
            return None
        wanted_at = now if self.is_asked else self.due.wanted_at
        return max(self.settings.hold_after_s - (now - wanted_at).total_seconds(), 0.0)

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
        from leadcast.integrations.http.egress import Egress
        from leadcast.integrations.text.templating import Templates

        self.egress = Egress.under(self.settings, self.integration.type)
        self.templates = Templates(folder=self.settings.templates_folder, language=self.settings.language)

    def _postponed(self, early: Postponed, decided: Verdict) -> AttemptFailed:
        assert self.course.way is not None
        self.course.make_fit(early)
        account_id = self.course.way.ref.id
        wait_s, gives_up_in_s = decided.wait_s or 0.0, self._gives_up_in_s()
        if gives_up_in_s is not None:
            wait_s = min(wait_s, gives_up_in_s)
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
                asked_at=now if self.is_asked else None,
            )
            if not is_open:
                raise _EndedError  # inside: its batch stays as it was, too
        self.course.log.info("delivery waits", waits_for=early.code, seconds=round(wait_s, 1))
        return AttemptFailed(early, retry_in_s=wait_s, waits=bool(decided.waits_for))

    def _begin(self) -> ledger.Begun:
        begun: ledger.Begun | None = None
        try:
            with self.store.begin() as connection:
                self.hold(connection)
                begun = self._written(connection)
                if begun is None:  # a person may have cancelled it, and our lock may be lost
                    raise _EndedError
        except StoreError:
            # all was written but the commit's answer, and nothing has gone out: left so, it would be in doubt
            if begun is None or not self._is_written(begun):
                raise
        self.course.begins(begun)
        return begun

    def _written(self, connection: Connection) -> ledger.Begun | None:
        now = self.clock()
        return ledger.begin(
            connection,
            self.due.delivery_id,
            worker=self.worker,
            now=now,
            seen=self.due,
            account=self.course.way.ref.id if self.course.way else None,
            asked=self.asked_by if self.is_asked else "",
            asked_at=now if self.is_asked else None,
        )

    @persistent
    def _is_written(self, begun: ledger.Begun) -> bool:
        with self.store.begin() as connection:
            return lost_answers.is_written(connection, begun, worker=self.worker)

    # --- the attempt

    def _find_or_send(self, begun: ledger.Begun) -> Receipt:
        way = self.course.way
        assert way is not None
        call = self._call(begun, way)
        # what was refused is asked for as well: it costs little, and we once took a gateway's page for a refusal
        if self.course.in_doubt or (begun.was_refused and self.integration.can_find):
            found = reconcile(self.course, begun, way, call, now=self.clock())
            if found is not None:
                return replace(found, reconciled=True)
        self.course.went_out = True
        return self.integration.deliver(begun.lead, settings=way.settings, account=way.account, call=call)

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
            timeout_s=self.settings.delivering(self.due.type).timeout_s,
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
                self.course.log.warning("not paced", error=str(error))

        return pace

    def _keep(self, progress: Mapping[str, Any]) -> None:
        assert self.course.begun is not None
        with self.store.begin() as connection:
            ledger.keep(connection, self.course.begun, progress)


def busy(why: str, settings: Settings, *, comes_back: bool) -> AttemptFailed:
    """Somebody else is at work on it: nothing is written, and this run is through with it. What he leaves open goes
    back to the inbox, and a later run sees to it with the tries that it has left.

    Args:
        comes_back: a person has asked for this attempt, and nobody but this run knows.
    """
    retry_in_s = settings.retry_delay_s if comes_back else None
    return AttemptFailed(TransientError(why, code="busy"), retry_in_s=retry_in_s, waits=not comes_back)


def _erased() -> Blocked:
    return Blocked("Its personal data has been erased.", code="erased")
