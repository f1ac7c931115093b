"""What settling reads of deliveries in the ledger."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from leadcast.core.model import DeliveryState
from leadcast.store.batches.waiting import begun_at
from leadcast.store.lease import is_held
from leadcast.store.schema import batches, deliveries


@dataclass(frozen=True)
class DeliverySnapshot:
    """A delivery as the ledger has it at one moment."""

    id: str
    type: str
    state: DeliveryState
    attempts: int
    tries: int
    in_doubt: bool
    waits: bool
    """It waits without a run: no run is to blame for it, and a later one carries it on."""
    next_attempt_at: datetime | None
    round_at: datetime | None
    begun_at: datetime | None
    """When the first attempt of its round has begun. None has of one that was only put off so far."""
    is_held: bool
    """A process that may live is sending it."""
    worker_id: int | None = None

    @property
    def is_not_begun(self) -> bool:
        """Its run has still to begin it, and nothing of it can have gone out, in this round or in one before."""
        was_postponed = self.state is DeliveryState.RETRYING and not self.waits and self.begun_at is None
        return (self.state is DeliveryState.PENDING or was_postponed) and not self.in_doubt


def of_batch(connection: Connection, *, batch_id: str) -> list[DeliverySnapshot]:
    """A batch's deliveries, in order."""
    rows = connection.execute(_COLUMNS.where(deliveries.c.batch_id == batch_id).order_by(deliveries.c.index))
    return [_snapshot(row) for row in rows]


def at_work(connection: Connection, *, batch_ids: Collection[str]) -> set[str]:
    """Those of these batches in which something is still to be done by the run that has them."""
    is_open = deliveries.c.state.not_in([state for state in DeliveryState if state.is_final])
    found = select(deliveries.c.batch_id).where(deliveries.c.batch_id.in_(batch_ids), is_open)
    return set(connection.execute(found.where(deliveries.c.waits_for.is_(None)).distinct()).scalars())


def sending(connection: Connection, *, delivery_ids: Collection[str]) -> set[str]:
    """Those of these deliveries that a process sends, or has died with."""
    these = select(deliveries.c.id).where(deliveries.c.id.in_(delivery_ids))
    return set(connection.execute(these.where(deliveries.c.state == DeliveryState.SENDING)).scalars())


def held_of_wave(connection: Connection, *, run_id: str) -> set[str]:
    """Ids of what is being sent, by processes that may live, in the batches that a wave has."""
    rows = connection.execute(
        select(deliveries.c.id)
        .join(batches, batches.c.id == deliveries.c.batch_id)
        .where(batches.c.wave_id == run_id, deliveries.c.state == DeliveryState.SENDING, is_held())
    )
    return set(rows.scalars())


_COLUMNS: Select[Any] = select(
    deliveries.c.id,
    deliveries.c.type,
    deliveries.c.state,
    deliveries.c.attempts,
    deliveries.c.tries,
    deliveries.c.in_doubt,
    deliveries.c.waits_for,
    deliveries.c.next_attempt_at,
    deliveries.c.round_at,
    begun_at().label("begun_at"),
    is_held().label("is_held"),
    deliveries.c.worker_id,
)


def _snapshot(row: Row[Any]) -> DeliverySnapshot:
    return DeliverySnapshot(
        id=row.id,
        type=row.type,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        tries=row.tries,
        in_doubt=row.in_doubt,
        waits=row.waits_for is not None,
        next_attempt_at=row.next_attempt_at,
        round_at=row.round_at,
        begun_at=row.begun_at,
        is_held=row.is_held,
        worker_id=row.worker_id,
    )
