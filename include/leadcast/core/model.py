"""What Leadcast speaks of: lead, batch, delivery, receipt, their states and which state may follow which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class BatchStatus(StrEnum):
    """Where a batch stands. `completed`: all delivered, `partial`: some, `failed`: none."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self not in (BatchStatus.PENDING, BatchStatus.PROCESSING)


class DeliveryState(StrEnum):
    """Where one delivery stands. `unknown`: sent, the answer never seen, and the service cannot be asked."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    RETRYING = "retrying"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (
            DeliveryState.DELIVERED,
            DeliveryState.FAILED,
            DeliveryState.CANCELLED,
            DeliveryState.UNKNOWN,
        )

    def may_become(self, new: DeliveryState) -> bool:
        """Whether the ledger may write `new` over this state."""
        return new in _NEXT[self]


_D = DeliveryState
_NEXT: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    # PENDING → RETRYING: it has to wait before its first attempt
    # PENDING → UNKNOWN: it was requeued, may have arrived before, and nobody comes to find out
    # to DELIVERED from any but SENDING: the attempt was given up for dead, and has delivered all the same
    _D.PENDING: frozenset({_D.SENDING, _D.DELIVERED, _D.RETRYING, _D.FAILED, _D.UNKNOWN, _D.CANCELLED}),
    # SENDING → SENDING: the attempt before died in mid-air, the next one takes over
    # SENDING → CANCELLED: the batch was cancelled meanwhile, and the attempt has failed
    _D.SENDING: frozenset({_D.SENDING, _D.DELIVERED, _D.RETRYING, _D.FAILED, _D.UNKNOWN, _D.CANCELLED}),
    _D.RETRYING: frozenset({_D.SENDING, _D.DELIVERED, _D.RETRYING, _D.FAILED, _D.UNKNOWN, _D.CANCELLED}),
    # a person cleared the task, or it was requeued for another round
    _D.FAILED: frozenset({_D.SENDING, _D.RETRYING, _D.PENDING, _D.DELIVERED}),
    _D.UNKNOWN: frozenset({_D.SENDING, _D.RETRYING, _D.PENDING, _D.DELIVERED}),
    _D.DELIVERED: frozenset(),
    _D.CANCELLED: frozenset(),
}


OPEN = tuple(state for state in _D if not state.is_final)
"""What has still to be ended."""
WAITING = (_D.PENDING, _D.RETRYING)
"""Of these: what is not being sent just now."""


def cancelled_state(*, in_doubt: bool) -> DeliveryState:
    """What a delivery is that is not to be sent any more: `cancelled` says that it has not arrived."""
    return DeliveryState.UNKNOWN if in_doubt else DeliveryState.CANCELLED


def is_heard(*, is_running: bool, state: DeliveryState, is_delivered: bool) -> bool:
    """Whether what an attempt has ended with counts: not a second time, and of one that was given up for dead only its
    success. That it has arrived is true whatever else was begun since.

    Args:
        is_running: the delivery is still this attempt's (its fencing token stands there).
        state: its delivery's.
        is_delivered: it has ended with success.
    """
    return is_running or (is_delivered and state.may_become(DeliveryState.DELIVERED))


class AttemptOutcome(StrEnum):
    """How one attempt ended. `died`: the process was gone before the outcome was written. `postponed`: we ourselves
    found that it was too early; no try was used."""

    RUNNING = "running"
    DELIVERED = "delivered"
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    REJECTED = "rejected"
    CREDENTIALS = "credentials"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"
    DIED = "died"
    POSTPONED = "postponed"


class Priority(StrEnum):
    """What goes out first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Its place in the order: 0 goes first."""
        return (Priority.HIGH, Priority.NORMAL, Priority.LOW).index(self)


@dataclass(frozen=True, kw_only=True)
class Lead:
    """One inquiry. All but the id is personal or may be: never in logs above DEBUG."""

    id: str
    name: str = ""
    phone: str = ""
    email: str = ""
    company: str = ""
    comment: str = ""
    source: str = ""
    utm: Mapping[str, str] = field(default_factory=dict)
    custom: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Lead(id={self.id!r})"


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What the other side answered on success.

    external_id: the id it gave (lead id, message id, Message-ID); empty where it gives none.
    merged: the service recognised the lead as one that it had.
    detail: further facts worth keeping, small and without secrets or personal data (say, `{"contact_id": 5}`).
    reconciled: found by asking the service, not by sending again.
    """

    external_id: str = ""
    merged: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)
    reconciled: bool = False


@dataclass(frozen=True, kw_only=True)
class Counters:
    """How far a batch is. `processed` counts what has ended, however; `failed` includes unknown."""

    total: int
    delivered: int
    failed: int
    cancelled: int
    pending: int

    @property
    def processed(self) -> int:
        """Deliveries that have ended."""
        return self.total - self.pending

    @property
    def progress(self) -> int:
        """0-100; 100 exactly when nothing is pending."""
        return 100 if not self.pending else min(99, self.processed * 100 // self.total)

    @classmethod
    def of(cls, states: Iterable[DeliveryState]) -> Counters:
        """Counts a batch's deliveries."""
        all_states = list(states)
        delivered = all_states.count(DeliveryState.DELIVERED)
        cancelled = all_states.count(DeliveryState.CANCELLED)
        failed = sum(state in (DeliveryState.FAILED, DeliveryState.UNKNOWN) for state in all_states)
        total = len(all_states)
        return cls(
            total=total,
            delivered=delivered,
            failed=failed,
            cancelled=cancelled,
            pending=total - delivered - cancelled - failed,
        )


def status_of(counters: Counters) -> BatchStatus:
    """The status that a batch with these deliveries has. The ledger decides, nothing else does."""
    if counters.pending:
        return BatchStatus.PROCESSING
    if counters.delivered == counters.total:
        return BatchStatus.COMPLETED
    if counters.delivered:
        return BatchStatus.PARTIAL
    if counters.cancelled == counters.total:
        return BatchStatus.CANCELLED
    return BatchStatus.FAILED


class ManualKind(StrEnum):
    """What a person can have done by hand."""

    RETRY = "retry"
    """What has failed in one batch is sent again, whatever it failed with."""
    WINDOW = "window"
    """What has failed in all batches of some time and may pass is sent again, however old it is."""
    CLEAR = "clear"
    """A task in Airflow is done again, and so its delivery, whatever it failed with."""
    CANCEL = "cancel"
    """What of a batch is not being sent yet is not sent any more."""


@dataclass(frozen=True, kw_only=True)
class ManualAction:
    """A person wants something done. What the schedule does, or Airflow repeats by itself, has none.

    at: UTC.
    who: the user of Airflow; empty: nobody knows.
    which: which of its kind it is, so that it counts once, however often a process comes by with it. Empty: each time.
    """

    what: ManualKind
    at: datetime
    who: str = ""
    which: str = ""
