"""What settling reads of deliveries in the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from leadcast.core.model import OPEN, BatchStatus, Counters, DeliveryState
from leadcast.store.batches.waiting import begun_at
from leadcast.store.lease import is_held
from leadcast.store.schema import batches, deliveries


@dataclass(frozen=True)
class DeliverySnapshot:
    """A delivery as the ledger has it at one moment."""

    id: str
    type: str
    state: DeliveryState
    tries: int
    in_doubt: bool
    begun_at: datetime | None
    """When the first attempt of its round has begun. None has of one that was only put off so far."""
    is_held: bool
    """A process that may live is sending it."""
    batch_id: str = ""
    error_code: str = ""
    asked_at: datetime | None = None
    """When a person last wanted it sent."""
    worker_id: int | None = None
    losses: int = 0
    """How many processes have died with it, in this round."""

    @property
    def is_not_begun(self) -> bool:
        """It is still to be begun, and nothing of it can have gone out, in this round or in one before."""
        was_postponed = self.state is DeliveryState.RETRYING and self.begun_at is None
        return (self.state is DeliveryState.PENDING or was_postponed) and not self.in_doubt


def of_batch(connection: Connection, *, batch_id: str) -> list[DeliverySnapshot]:
    """A batch's deliveries, in order."""
    rows = connection.execute(_COLUMNS.where(deliveries.c.batch_id == batch_id).order_by(deliveries.c.index))
    return [_snapshot(row) for row in rows]


@dataclass(frozen=True, kw_only=True)
class BatchSnapshot:
    """A batch as it stands, and how many of its deliveries are in which state."""

    batch_id: str
    lead_id: str
    status: BatchStatus
    counters: Counters


def of_batches(connection: Connection, *, batch_ids: Sequence[str]) -> list[BatchSnapshot]:
    """Batches, in the order of these ids."""
    states: dict[str, list[DeliveryState]] = defaultdict(list)
    found = select(deliveries.c.batch_id, deliveries.c.state).where(deliveries.c.batch_id.in_(batch_ids))
    for row in connection.execute(found):
        states[row.batch_id].append(DeliveryState(row.state))
    known = select(batches.c.id, batches.c.lead_id, batches.c.status).where(batches.c.id.in_(batch_ids))
    rows = {row.id: row for row in connection.execute(known)}
    return [
        BatchSnapshot(
            batch_id=batch_id,
            lead_id=rows[batch_id].lead_id,
            status=BatchStatus(rows[batch_id].status),
            counters=Counters.of(states[batch_id]),
        )
        for batch_id in batch_ids
    ]


def these(connection: Connection, *, delivery_ids: Collection[str]) -> list[DeliverySnapshot]:
    """Deliveries, in the order of their ids."""
    rows = connection.execute(_COLUMNS.where(deliveries.c.id.in_(delivery_ids)).order_by(deliveries.c.id))
    return [_snapshot(row) for row in rows]


def open_among(connection: Connection, *, batch_ids: Collection[str]) -> set[str]:
    """Those of these batches in which something has not ended."""
    is_open = deliveries.c.state.in_(OPEN)
    found = select(deliveries.c.batch_id).where(deliveries.c.batch_id.in_(batch_ids), is_open)
    return set(connection.execute(found.distinct()).scalars())


_COLUMNS: Select[Any] = select(
    deliveries.c.id,
    deliveries.c.type,
    deliveries.c.state,
    deliveries.c.tries,
    deliveries.c.in_doubt,
    begun_at().label("begun_at"),
    is_held().label("is_held"),
    deliveries.c.worker_id,
    deliveries.c.batch_id,
    deliveries.c.error,
    deliveries.c.asked_at,
    deliveries.c.losses,
)


def _snapshot(row: Row[Any]) -> DeliverySnapshot:
    return DeliverySnapshot(
        id=row.id,
        type=row.type,
        state=DeliveryState(row.state),
        tries=row.tries,
        in_doubt=row.in_doubt,
        begun_at=row.begun_at,
        is_held=row.is_held,
        worker_id=row.worker_id,
        batch_id=row.batch_id,
        asked_at=row.asked_at,
        error_code=(row.error or {}).get("code", ""),
        losses=row.losses,
    )
