"""What a setting may be that is one of a few words."""

from __future__ import annotations

from enum import StrEnum

from leadcast.core.model import BatchStatus


class Language(StrEnum):
    """Languages that the shipped templates speak."""

    RU = "ru"
    EN = "en"


class OnUnknown(StrEnum):
    """What to do after a call without an answer, where the service cannot be asked."""

    HOLD = "hold"
    RESEND = "resend"


class Occasion(StrEnum):
    """What people are told about. `account`: an account does not take deliveries, and they wait or fail."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CRITICAL = "critical"
    ACCOUNT = "account"

    @classmethod
    def of(cls, status: BatchStatus) -> Occasion | None:
        """The occasion that a final status is; None for a cancelled batch, which nobody needs to hear of."""
        return cls(status.value) if status.value in set(cls) else None
