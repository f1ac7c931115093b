"""All errors of Leadcast, one tree.

LeadcastError
├── RequestRejected          the caller's fault, nothing was stored        → 4xx
│   ├── LeadNotFound         404
│   ├── BatchNotFound        404
│   ├── IdempotencyConflict  409
│   ├── BodyTooLarge         413
│   └── InvalidRequest       422, with the fields at fault
├── DeliveryError            one attempt failed
│   ├── TransientError       again, by backoff (network before anything was sent, 5xx of a repeatable call, 4yz)
│   │   └── RateLimited      again, after `retry_after_s`; the call was not executed
│   ├── RejectedError        never again as it is: the service refused the payload
│   │   └── CredentialsError never again with these credentials (401, 403, payment over)
│   ├── UnknownOutcome       the call went out and no answer came: reconcile before sending again
│   └── Blocked              our own guard said no (private address, not an allowed host)
├── AttemptFailed            what a DeliveryError means for the delivery: when the next attempt is, if any
├── SettingsError            the installation is not set up right, and how to mend it
├── StoreError               the store could not be used; swept later
└── LeadTableError           the user's own lead table could not be used; again later
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from leadcast.core.model import AttemptOutcome


class LeadcastError(Exception):
    """The root. Its text is fit to be shown: never a secret, never a lead's data."""


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

    def __init__(self, lead_id: str) -> None:
        super().__init__(
            f"There is no lead {lead_id!r}. Send its data in the request's `lead`, "
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


class BodyTooLarge(RequestRejected):
    """More bytes than the door takes."""

    status = 413
    title = "Body too large"


class InvalidRequest(RequestRejected):
    """A body that does not fit the models; `errors` names each field."""

    status = 422
    title = "Invalid request"


class DeliveryError(LeadcastError):
    """One attempt failed.

    Args:
        message: what happened, fit to be shown.
        code: the service's own code for it, or an HTTP/SMTP status, as text.
        detail: further words of the service, shortened and without secrets.
    """

    outcome: ClassVar[AttemptOutcome] = AttemptOutcome.TRANSIENT
    may_pass: ClassVar[bool] = False
    """Whether the same delivery may succeed later without anybody changing it."""

    def __init__(self, message: str, *, code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.detail = detail[:500]


class TransientError(DeliveryError):
    """Again, by backoff or after `retry_after_s`. Known not to have been executed, or harmless to repeat."""

    outcome = AttemptOutcome.TRANSIENT
    may_pass = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, code: str = "", detail: str = "") -> None:
        super().__init__(message, code=code, detail=detail)
        self.retry_after_s = retry_after_s


class RateLimited(TransientError):
    """The service asks us to wait; it did not execute the call."""

    outcome = AttemptOutcome.RATE_LIMITED

    def __init__(self, message: str, *, retry_after_s: float, code: str = "429", detail: str = "") -> None:
        super().__init__(message, retry_after_s=retry_after_s, code=code, detail=detail)


class RejectedError(DeliveryError):
    """The service refused this payload and always will."""

    outcome = AttemptOutcome.REJECTED


class CredentialsError(RejectedError):
    """The service refused us: a token is wrong, expired or without rights, or the account has not paid."""

    outcome = AttemptOutcome.CREDENTIALS


class UnknownOutcome(DeliveryError):
    """The call went out and no answer came. It may have been executed."""

    outcome = AttemptOutcome.UNKNOWN
    may_pass = True


class Blocked(DeliveryError):
    """Our own guard said no; nothing was sent."""

    outcome = AttemptOutcome.BLOCKED


class AttemptFailed(LeadcastError):
    """An attempt failed and the ledger has it. `retry_in_s`: seconds until the next one; None: there is none."""

    def __init__(self, error: DeliveryError, *, retry_in_s: float | None) -> None:
        super().__init__(f"{type(error).__name__}: {error.message}")
        self.error = error
        self.retry_in_s = retry_in_s


class SettingsError(LeadcastError):
    """The installation is not set up right. The text says what to set."""


class StoreError(LeadcastError):
    """The store could not be used."""


class LeadTableError(LeadcastError):
    """The user's own lead table could not be read or written: its database is away, or the settings do not fit it.

    Args:
        message: what happened, fit to be shown.
        detail: the database's own words. They may hold a row's data: for the person who runs `leadcast doctor`.
        is_away: nothing can be done with the table just now, whichever lead it is about.
    """

    def __init__(self, message: str, *, detail: str = "", is_away: bool = False) -> None:
        super().__init__(message)
        self.detail = detail
        self.is_away = is_away
