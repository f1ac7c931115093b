"""What a request, or what a person wants done, is refused with: a branch of the tree in errors.py.

RequestRejected          the caller's fault, nothing was stored
├── InvalidRequest       422, with the fields at fault
├── BodyTooLarge         413
├── BodyTooSlow          408
├── IdempotencyConflict  409
├── LeadNotFound         404
├── BatchNotFound        404
├── BatchBusy            409
├── BatchErased          409
├── NothingToRetry       409
├── NothingToCancel      409
├── NothingToErase       404
├── ErasureNotFound      404
└── OthersLead           403
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from leadcast.core.errors import LeadcastError


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field. `loc` is the way to it, as in `("integrations", 0, "type")`."""

    loc: tuple[str | int, ...]
    msg: str


class RequestRejected(LeadcastError, ValueError):
    """The caller's fault. Nothing was stored."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = "Bad request"

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)


class LeadNotFound(RequestRejected):
    """A `lead_id` that nobody has stored."""

    status = 404
    title = "Lead not found"

    def __init__(self, lead_id: str, *, is_looked_at: bool = False) -> None:
        """is_looked_at: it was to be shown, not sent; who may only look is not told to store it."""
        super().__init__(
            f"There is no lead {lead_id!r} that was sent. One that was only stored is shown to whoever has stored it, "
            "and to those who may see everybody's leads."
            if is_looked_at
            else f"There is no lead {lead_id!r}. Send its data in the request's `lead`, "
            f"or store it first with PUT /api/integrations/leads/{lead_id}.",
            errors=[FieldError(("lead_id",), "unknown lead")],
        )


class BatchNotFound(RequestRejected):
    """A batch id that was never given out."""

    status = 404
    title = "Batch not found"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id!r}.", errors=[FieldError(("batch_id",), "unknown batch")])


class IdempotencyConflict(RequestRejected):
    """An `Idempotency-Key` that came before with another body."""

    status = 409
    title = "Idempotency key reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key came before with a different body. Use a new key for a new request.",
            errors=[FieldError(("header", "Idempotency-Key"), "used before with a different body")],
        )


class BatchBusy(RequestRejected):
    """A batch whose deliveries are just being sent: it can be retried once they have ended."""

    status = 409
    title = "Batch busy"

    def __init__(self, batch_id: str, *, status: str) -> None:
        super().__init__(
            f"Batch {batch_id!r} is {status}: it is sent without being asked. Retry it when it has ended, or cancel it."
        )


class NothingToRetry(RequestRejected):
    """A batch in which nothing has failed and nothing is unknown."""

    status = 409
    title = "Nothing to retry"

    def __init__(self, batch_id: str, *, status: str) -> None:
        super().__init__(
            f"Batch {batch_id!r} is {status}, and none of its deliveries is failed or unknown: "
            "what was delivered is never sent again, what was cancelled needs a new request."
        )


class NothingToCancel(RequestRejected):
    """A batch that has ended."""

    status = 409
    title = "Nothing to cancel"

    def __init__(self, batch_id: str, *, status: str) -> None:
        super().__init__(f"Batch {batch_id!r} has ended: it is {status}.")


class NothingToErase(RequestRejected):
    """A lead of which nothing was ever kept."""

    status = 404
    title = "Nothing to erase"

    def __init__(self, lead_id: str) -> None:
        super().__init__(
            f"Nothing is known here of a lead {lead_id!r}: no data, no batch, no run. Is the id right?",
            errors=[FieldError(("path", "lead_id"), "unknown lead")],
        )


class ErasureNotFound(RequestRejected):
    """A lead that nobody has asked to be erased."""

    status = 404
    title = "No erasure"

    def __init__(self, lead_id: str) -> None:
        super().__init__(
            f"Nobody has asked here for the lead {lead_id!r} to be erased. By DELETE of the lead itself that is done.",
            errors=[FieldError(("path", "lead_id"), "no erasure was asked for")],
        )


class OthersLead(RequestRejected):
    """A lead that is not known to be of whoever wants it erased, and of nobody else."""

    status = 403
    title = "Not yours alone"

    def __init__(self) -> None:
        super().__init__("You may erase a lead that nobody but you has stored or sent. This one is not known as such.")


class BatchErased(RequestRejected):
    """A batch whose lead's data has been erased."""

    status = 409
    title = "Batch erased"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"The personal data of batch {batch_id!r} has been erased, so it cannot be sent again.")


class BodyTooLarge(RequestRejected):
    """More bytes than the door takes."""

    status = 413
    title = "Body too large"


class BodyTooSlow(RequestRejected):
    """A body that did not come in time, or stopped in between."""

    status = 408
    title = "Body too slow"


class InvalidRequest(RequestRejected):
    """A body that does not fit the models; `errors` names each field."""

    status = 422
    title = "Invalid request"
