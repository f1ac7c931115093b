"""All errors of Leadcast but those of a request, one tree.

LeadcastError
├── RequestRejected          the caller's fault, nothing was stored: its branch is drawn in request_errors.py
├── DeliveryError            one attempt failed
│   ├── TransientError       again, by backoff (network before anything was sent, 5xx of a repeatable call, 4yz)
│   │   └── RateLimited      again, after `retry_after_s`; the call was not executed
│   ├── RejectedError        never again as it is: the service refused the payload
│   │   ├── CredentialsError never again with these credentials (401, 403, payment over)
│   │   │   └── NotLetIn     again all the same: the receiver may only just now not let us in
│   │   ├── Gone             never again to this account: it wants nothing more (410)
│   │   └── Unsendable       never again as it is: we found that ourselves, and did not ask the service
│   ├── UnknownOutcome       the call went out and no answer came: reconcile before sending again
│   ├── Blocked              our own guard said no (private address, not an allowed host)
│   └── Postponed            not sent yet, and no try used: a limit is reached, or the account's circuit is open
├── AttemptFailed            what a DeliveryError means for the delivery: when the next attempt is, if any
├── SettingsError            the installation is not set up right, and how to mend it
├── StoreError               the store could not be used; swept later
│   ├── IndexesUnmade        it can be, only slower: indexes of large tables could not be made
│   ├── NoAnswerYet          it takes too long; what was asked of it may still be done
│   └── NotBegun             it was away before anything of an attempt was begun
└── LeadTableError           the user's own lead table could not be used; again later
"""

from __future__ import annotations

from typing import ClassVar

from leadcast.core.model import AttemptOutcome, Receipt
from leadcast.core.plain import plain_text, seconds

HELD_FOR_AGE = "held_for_age"
"""Code of a delivery that was too old to be sent by itself: a person decides."""
GIVEN_UP = "given_up"
"""Code of a delivery that somebody has seen to outside: nobody sends it any more, but a person who asks for it."""
_MAX_CHARS = 10_000
"""Of an error's texts: far more than is kept of them, since what is secret is taken out before they are cut to that."""
_MAX_CODE_CHARS = 128


class LeadcastError(Exception):
    """The root. Its text is fit to be shown: never a secret, never a lead's data."""


LEASE_OVER = "lease_over"
"""Code of an attempt that was held up for so long that another may have begun."""


class DeliveryError(LeadcastError):
    """One attempt failed.

    Args:
        message: what happened, fit to be shown.
        code: the service's own code for it, or an HTTP/SMTP status, as text.
        detail: further words of the service, without secrets.

    Texts without end are cut.
    """

    outcome: ClassVar[AttemptOutcome] = AttemptOutcome.TRANSIENT
    may_pass: ClassVar[bool] = False
    """Whether the same delivery may succeed later without anybody changing it."""

    def __init__(self, message: str, *, code: str = "", detail: str = "") -> None:
        self.message = plain_text(message[:_MAX_CHARS])
        self.code = plain_text(code[:_MAX_CODE_CHARS])
        self.detail = plain_text(detail[:_MAX_CHARS])
        super().__init__(self.message)


class TransientError(DeliveryError):
    """Again, by backoff or after `retry_after_s`. Known not to have been executed, or harmless to repeat.

    Args:
        retry_after_s: seconds until the next attempt; None: by backoff.
        counts: whether it uses up a try. What a service only puts off (greylisting) does not: such a delivery goes on
            until `give_up_after_s`.
        so_far: the receipt of what has arrived already, where a part has (some of an e-mail's recipients). If no
            attempt follows, the delivery counts as delivered with it.
    """

    outcome = AttemptOutcome.TRANSIENT
    may_pass = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        counts: bool = True,
        so_far: Receipt | None = None,
        code: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(message, code=code, detail=detail)
        self.retry_after_s = seconds(retry_after_s)
        self.counts = counts
        self.so_far = so_far


class RateLimited(TransientError):
    """The service asks us to wait; it did not execute the call. Others may have used up the limit, so it is no try."""

    outcome = AttemptOutcome.RATE_LIMITED

    def __init__(self, message: str, *, retry_after_s: float, code: str = "429", detail: str = "") -> None:
        super().__init__(message, retry_after_s=retry_after_s, counts=False, code=code, detail=detail)


class RejectedError(DeliveryError):
    """The service refused this payload and always will."""

    outcome = AttemptOutcome.REJECTED


class CredentialsError(RejectedError):
    """The service refused us: a token is wrong, expired or without rights, or the account has not paid.

    Args:
        for_all: it was said of the account itself, so no other lead would fare better: one such answer opens its
            circuit. Without, it takes some in a row: the answer may have been to this one lead.
    """

    outcome = AttemptOutcome.CREDENTIALS

    def __init__(self, message: str, *, code: str = "", detail: str = "", for_all: bool = False) -> None:
        super().__init__(message, code=code, detail=detail)
        self.for_all = for_all


class NotLetIn(CredentialsError):
    """The receiver does not let us in, perhaps only while it restarts or its secret is being replaced."""

    may_pass = True


class Unsendable(RejectedError):
    """We ourselves found that this lead cannot be sent as it is: a template or a mapping does not fit it. Nothing was
    sent, so it says nothing of the account."""


class Gone(RejectedError):
    """The receiver wants no more of anything: its account stays closed until a person opens it again."""


class UnknownOutcome(DeliveryError):
    """The call went out and no answer came. It may have been executed."""

    outcome = AttemptOutcome.UNKNOWN
    may_pass = True


class Blocked(DeliveryError):
    """Our own guard said no; nothing was sent."""

    outcome = AttemptOutcome.BLOCKED


class Postponed(DeliveryError):
    """Not sent yet, by our own decision, and known not to have been: no try is used, the delivery waits.

    Raised only before the attempt has sent anything that changes something.

    Args:
        wait_s: seconds until it is worth looking again.
        code: what it waits for: `limit`, `circuit`, or a service's own reason.
    """

    outcome = AttemptOutcome.POSTPONED
    may_pass = True

    def __init__(self, message: str, *, wait_s: float, code: str = "limit", detail: str = "") -> None:
        super().__init__(message, code=code, detail=detail)
        self.wait_s = seconds(wait_s) or 0.0


class AttemptFailed(LeadcastError):
    """An attempt failed and the ledger has it.

    Args:
        retry_in_s: seconds until the next attempt; None: there is none.
        waits: the next attempt is not this run's: a later wave picks the delivery up when it is due.
    """

    def __init__(self, error: DeliveryError, *, retry_in_s: float | None, waits: bool = False) -> None:
        super().__init__(f"{type(error).__name__}: {error.message}")
        self.error = error
        self.retry_in_s = retry_in_s
        self.waits = waits


class SettingsError(LeadcastError):
    """The installation is not set up right. The text says what to set."""


class StoreError(LeadcastError):
    """The store could not be used.

    Args:
        is_away: whatever was asked of it; what was asked is not at fault.
    """

    def __init__(self, message: str, *, is_away: bool = False) -> None:
        super().__init__(message)
        self.is_away = is_away


class NotBegun(StoreError):
    """The store was away before anything of an attempt was begun: that says nothing of the delivery."""


class NoAnswerYet(StoreError):
    """The store takes longer than anybody waits for it. What was asked of it may still be done."""


class IndexesUnmade(StoreError):
    """The store can be used, only slower than it should be. The text names what could not be made, and says how to."""


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
