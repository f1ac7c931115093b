"""What people and hooks see of batches and deliveries. Reads only; no lead data but the id, no credentials."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from leadcast.core.errors import HELD_FOR_AGE
from leadcast.core.model import BatchStatus, Counters, DeliveryState, Priority
from leadcast.core.notes import Note
from leadcast.store.schema import attempts, batches, deliveries


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """One attempt. `finished_at` None: it runs, or died and nobody has noticed yet."""

    number: int
    outcome: str
    code: str | None
    message: str | None
    worker: str | None
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DeliveryView:
    """One delivery. `error` has class, code, message, detail, may_pass. `waits_for`: limit, circuit, service,
    integration, retry; None: it does not wait, or its run comes back to it."""

    id: str
    type: str
    state: DeliveryState
    attempts: int
    receipt: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    next_attempt_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    waits_for: str | None = None
    history: Sequence[AttemptView] = ()

    @property
    def is_held(self) -> bool:
        """Whether a person has to say that it is to be sent: it was too old."""
        return self.state is DeliveryState.FAILED and (self.error or {}).get("code") == HELD_FOR_AGE

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first attempt's start to the end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, kw_only=True)
class BatchView:
    """One batch with its deliveries."""

    id: str
    lead_id: str
    status: BatchStatus
    priority: Priority
    run_id: str | None
    critical: str | None
    accepted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancelled_at: datetime | None = None
    notes: Sequence[Note] = ()
    is_erased: bool = False
    sent_by: str | None = None
    """The user of Airflow's who has sent it; None: nobody knows."""
    is_masked: bool = False
    """It is shown without what only those may see who may see its lead."""
    deliveries: Sequence[DeliveryView] = field(default_factory=tuple)

    @property
    def can_retry(self) -> bool:
        """Whether there is something to retry, as things stand."""
        return not self.is_erased and self.counters.failed > 0

    @property
    def can_cancel(self) -> bool:
        """Whether there is something to cancel, as things stand."""
        return not self.status.is_final and self.cancelled_at is None

    @property
    def counters(self) -> Counters:
        """How many of its deliveries are in which state."""
        return Counters.of(delivery.state for delivery in self.deliveries)

    @property
    def duration_s(self) -> float | None:
        """Seconds from acceptance to the final status."""
        return None if self.finished_at is None else (self.finished_at - self.accepted_at).total_seconds()


def batch(connection: Connection, batch_id: str, *, history: bool = True) -> BatchView | None:
    """One batch with its deliveries, or None. `history`: with all of their attempts."""
    row = connection.execute(_BATCHES.where(batches.c.id == batch_id)).one_or_none()
    return None if row is None else _with_deliveries(connection, [row], history=history)[0]


def by_id(connection: Connection, ids: Sequence[str]) -> list[BatchView]:
    """Batches with their deliveries, in the order of these ids. Those that there are none of are left out."""
    rows = {row.id: row for row in connection.execute(_BATCHES.where(batches.c.id.in_(ids)))}
    return _with_deliveries(connection, [rows[batch_id] for batch_id in ids if batch_id in rows])


def callback_url_sealed(connection: Connection, batch_id: str) -> str | None:
    """Where the caller wants to hear of a batch, sealed; None: nowhere."""
    return connection.execute(select(batches.c.callback_url_sealed).where(batches.c.id == batch_id)).scalar()


def oldest_waiting(connection: Connection) -> datetime | None:
    """When the oldest batch was accepted of which nothing has begun."""
    return connection.execute(
        select(batches.c.accepted_at)
        .where(batches.c.status == BatchStatus.PENDING)
        .order_by(batches.c.accepted_at)
        .limit(1)
    ).scalar()


_BATCHES: Select[Any] = select(
    batches.c.id,
    batches.c.lead_id,
    batches.c.status,
    batches.c.priority,
    batches.c.wave_id,
    batches.c.critical,
    batches.c.accepted_at,
    batches.c.started_at,
    batches.c.finished_at,
    batches.c.cancelled_at,
    batches.c.erased_at,
    batches.c.notes,
    batches.c.sent_by,
)
# not `select(deliveries)`: sealed credentials are never read where nobody needs them
_DELIVERIES: Select[Any] = select(*(column for column in deliveries.c if column.name != "credentials_sealed"))


def _with_deliveries(connection: Connection, rows: Sequence[Row[Any]], *, history: bool = False) -> list[BatchView]:
    ids = [row.id for row in rows]
    found = connection.execute(_DELIVERIES.where(deliveries.c.batch_id.in_(ids)).order_by(deliveries.c.index)).all()
    told = _history(connection, [row.id for row in found]) if history else {}
    by_batch: dict[str, list[DeliveryView]] = defaultdict(list)
    for row in found:
        by_batch[row.batch_id].append(_delivery(row, told.get(row.id, ())))
    return [_batch(row, by_batch[row.id]) for row in rows]


def _history(connection: Connection, ids: Sequence[str]) -> dict[str, list[AttemptView]]:
    rows = connection.execute(select(attempts).where(attempts.c.delivery_id.in_(ids)).order_by(attempts.c.id))
    told: dict[str, list[AttemptView]] = defaultdict(list)
    for row in rows:
        told[row.delivery_id].append(
            AttemptView(
                number=row.number,
                outcome=row.outcome,
                code=row.code,
                message=row.message,
                worker=row.worker,
                started_at=row.started_at,
                finished_at=row.finished_at,
            )
        )
    return told


def _delivery(row: Row[Any], history: Sequence[AttemptView]) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        type=row.type,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        receipt=row.receipt,
        error=row.error,
        next_attempt_at=row.next_attempt_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        waits_for=row.waits_for,
        history=history,
    )


def _batch(row: Row[Any], listed: Sequence[DeliveryView]) -> BatchView:
    return BatchView(
        id=row.id,
        lead_id=row.lead_id,
        status=BatchStatus(row.status),
        priority=tuple(Priority)[row.priority],
        run_id=row.wave_id,
        critical=row.critical,
        accepted_at=row.accepted_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cancelled_at=row.cancelled_at,
        is_erased=row.erased_at is not None,
        sent_by=row.sent_by,
        notes=[Note.of(note) for note in row.notes],
        deliveries=listed,
    )
