"""Reconciles: has a delivery arrived by an earlier attempt? Asked before it is sent again, whoever wants it sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from leadcast.core.errors import CredentialsError, RejectedError, TransientError, UnknownOutcome
from leadcast.core.model import DeliveryState, Receipt
from leadcast.flow.deliver.admit import Route
from leadcast.integrations.base import Call, Integration
from leadcast.store.batches.ledger import Begun


@dataclass(frozen=True)
class NotFound:
    """It is to be sent (again). `in_doubt`: it may have arrived all the same, and a repetition does no harm."""

    in_doubt: bool


def reconcile(
    integration: Integration[Any, Any],
    begun: Begun,
    route: Route,
    call: Call,
    *,
    may_resend: bool,
    now: datetime,
) -> Receipt | NotFound:
    """The receipt of what has arrived, or that it is to be sent.

    Where there was no doubt to begin with, nothing stands in the way of sending but that the service cannot be asked
    now.

    Args:
        may_resend: it may be sent again after a call without an answer.

    Raises:
        TransientError: the service could not be asked, or it is too early to believe that nothing has arrived.
        UnknownOutcome: it cannot be asked, and must not be sent again: a person decides.
    """
    if integration.can_find:
        try:
            found = integration.find(begun.lead, settings=route.settings, account=route.account, call=call)
        except UnknownOutcome as error:
            raise TransientError(f"Could not be asked: {error.message}", code=error.code) from None
        except RejectedError as error:
            if begun.in_doubt or isinstance(error, CredentialsError):
                raise
            return NotFound(in_doubt=False)  # it was asked to be on the safe side, and cannot say
        if found is None:
            _refuse_if_too_early(begun, absent_after_s=integration.absent_after_s, now=now)
            return NotFound(in_doubt=False)
        return found
    # UNKNOWN was shown to a person, so whoever starts it again has decided
    if begun.before is DeliveryState.UNKNOWN:
        return NotFound(in_doubt=not integration.needs_decision)
    if not may_resend:
        raise UnknownOutcome("It may have arrived, and the service cannot be asked. A person decides.", code="held")
    return NotFound(in_doubt=begun.in_doubt)


def _refuse_if_too_early(begun: Begun, *, absent_after_s: float, now: datetime) -> None:
    """The service may still be at work on the call that nobody saw the end of: then it is not to be sent again."""
    since = begun.in_doubt_since
    if since is None:
        return
    # a clock that was set back must not make it longer
    left_s = min(absent_after_s - (now - since).total_seconds(), absent_after_s)
    if left_s > 0:
        # nothing was sent, so it is no try: deaths have used up enough of them
        raise TransientError(
            "Not found yet, and it may still arrive; asked again later.",
            code="too_early",
            retry_after_s=left_s,
            counts=False,
        )
