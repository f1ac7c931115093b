"""The call itself: has an earlier attempt arrived, or is it to be sent now? Writes nothing but its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from leadcast.core.errors import (
    Blocked,
    DeliveryError,
    SettingsError,
    StoreError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Receipt
from leadcast.core.raised import raised_at
from leadcast.core.tokens import TokenVault
from leadcast.flow.deliver.admit import Admission, Ready, Refused, Route, erased
from leadcast.flow.deliver.attempt import Attempt, log_of
from leadcast.flow.deliver.reconcile import NotFound, reconcile
from leadcast.integrations.base import Call
from leadcast.store.accounts.memory import StoredMemory
from leadcast.store.batches import ledger
from leadcast.store.batches.ledger import Begun
from leadcast.store.lease import Lease


@dataclass(frozen=True)
class Arrived:
    """The service has it: sent now, or (`receipt.reconciled`) by an earlier attempt."""

    receipt: Receipt


@dataclass(frozen=True)
class NotArrived:
    """What came of a call that brought no receipt: the service refused it, did not answer, or was never called.

    in_doubt: an earlier attempt may have sent it all the same, and nobody has found out.
    interrupted_by: what has ended the process's work on it, and goes on once the outcome is written: say, a time-out of
        Airflow's.
    """

    error: DeliveryError
    in_doubt: bool
    interrupted_by: BaseException | None = None


@dataclass(frozen=True, kw_only=True)
class Sending:
    """What calls go out with, besides the attempt's own."""

    admission: Admission
    tokens: TokenVault
    lease: Lease

    def send(self, attempt: Attempt, begun: Begun, admitted: Ready | Refused) -> Arrived | NotArrived:
        """Asks for it where an earlier attempt may have arrived; else, or where it has not, sends it, once."""
        in_doubt, went_out = begun.in_doubt, False
        try:
            if isinstance(admitted, Refused):
                raise admitted.error
            if begun.is_erased:
                raise erased()
            call = self._call(attempt, begun, admitted)
            to, integration = admitted.route, attempt.integration
            # what was refused is asked for as well: it costs little, and we once took a gateway's page for a refusal
            if in_doubt or (begun.was_refused and integration.can_find):
                may_resend = integration.may_resend(to.settings, self.admission.settings)
                found = reconcile(integration, begun, to, call, may_resend=may_resend, now=self.admission.clock())
                if not isinstance(found, NotFound):
                    return Arrived(replace(found, reconciled=True))
                in_doubt = found.in_doubt
            went_out = True
            return Arrived(integration.deliver(begun.lead, settings=to.settings, account=to.account, call=call))
        except DeliveryError as error:
            return NotArrived(error, in_doubt)
        except Exception as error:
            # only its name is kept: the text of an unforeseen error may hold anything
            log_of(attempt, begun).error("attempt broke", error=type(error).__name__, where=raised_at(error))
            return NotArrived(_broken(error, went_out=went_out), in_doubt)
        except BaseException as error:
            return NotArrived(_broken(error, went_out=went_out), in_doubt, interrupted_by=error)

    def _call(self, attempt: Attempt, begun: Begun, ready: Ready) -> Call:
        store, settings, clock = self.admission.store, self.admission.settings, self.admission.clock
        return Call(
            key=begun.delivery_id,
            batch_id=begun.batch_id,
            accepted_at=begun.accepted_at,
            attempt=begun.attempt,
            egress=ready.tools.egress.guarded(self.lease.check),
            templates=ready.tools.templates,
            tokens=self.tokens,
            settings=settings,
            clock=clock,
            timeout_s=settings.delivering(begun.type).timeout_s,
            pace=self._pacer(attempt, begun, ready.route),
            check_lease=self.lease.check,
            memory=StoredMemory(store, account=ready.route.ref.id, clock=clock),
            kept=begun.kept,
            keep=self._keeper(begun),
        )

    def _pacer(self, attempt: Attempt, begun: Begun, route: Route) -> Callable[[], None]:
        is_paid = [True]  # the first call was waited for before the attempt began

        def pace() -> None:
            if is_paid:
                is_paid.clear()
            else:
                try:
                    self.admission.wait_between_calls(route)
                except StoreError as error:  # half a delivery must not be left for that; the service can still say 429
                    log_of(attempt, begun).warning("not paced", error=str(error))
            self.lease.check()

        return pace

    def _keeper(self, begun: Begun) -> Callable[[Mapping[str, Any]], None]:
        def keep(progress: Mapping[str, Any]) -> None:
            with self.admission.store.begin() as connection:
                ledger.keep(connection, begun, progress)

        return keep


def _broken(error: BaseException, *, went_out: bool) -> DeliveryError:
    """What an error that is not a service's says of the attempt."""
    if went_out:
        return UnknownOutcome(f"Broke off while sending: {type(error).__name__}", code="broken")
    if isinstance(error, SettingsError):
        return Blocked(str(error), code="settings")
    return TransientError(f"Broke off before sending: {type(error).__name__}", code="broken")
