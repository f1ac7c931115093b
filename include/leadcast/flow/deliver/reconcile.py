"""Reconciles: has a delivery arrived by an earlier attempt? Asked before it is sent again, whoever wants it sent."""

from __future__ import annotations

from datetime import datetime

from leadcast.core.errors import CredentialsError, RejectedError, TransientError, UnknownOutcome
from leadcast.core.model import DeliveryState, Receipt
from leadcast.flow.deliver.admit import Way
from leadcast.flow.deliver.outcome import Course
from leadcast.integrations.base import Call
from leadcast.store.batches.ledger import Begun


def reconcile(course: Course, begun: Begun, way: Way, call: Call, *, now: datetime) -> Receipt | None:
    """The receipt of what has arrived; None: send (again). Takes the doubt from the course where there is none left.

    Where there is none to begin with, nothing stands in the way of sending but that the service cannot be asked now.

    Raises:
        TransientError: the service could not be asked, or it is too early to believe that nothing has arrived.
        UnknownOutcome: it cannot be asked, and must not be sent again: a person decides.
    """
    integration = course.integration
    if integration.can_find:
        try:
            found = integration.find(begun.lead, settings=way.settings, account=way.account, call=call)
        except UnknownOutcome as error:
            raise TransientError(f"Could not be asked: {error.message}", code=error.code) from None
        except RejectedError as error:
            if course.in_doubt or isinstance(error, CredentialsError):
                raise
            return None  # it was asked to be on the safe side, and cannot say
        if found is None:
            _refuse_if_too_early(begun, absent_after_s=integration.absent_after_s, now=now)
        course.in_doubt = False
        return found
    # UNKNOWN was shown to a person, so whoever starts it again has decided
    if begun.before is DeliveryState.UNKNOWN:
        course.in_doubt = not integration.needs_decision
    elif not course.may_resend():
        raise UnknownOutcome("It may have arrived, and the service cannot be asked. A person decides.", code="held")
    return None


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
