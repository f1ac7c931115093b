"""Batches: written once when accepted, claimed by waves, given a status from their deliveries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from leadcast.core.model import BatchStatus, DeliveryState, Lead, Priority
from leadcast.store.leads import to_data
from leadcast.store.schema import batches, deliveries


@dataclass(frozen=True, kw_only=True)
class NewDelivery:
    """One delivery to be written as `pending`."""

    type: str
    settings: Mapping[str, Any]
    credentials_sealed: str | None


@dataclass(frozen=True, kw_only=True)
class NewBatch:
    """A batch to be written as `pending`, with its deliveries."""

    id: str
    lead: Lead
    priority: Priority
    callback_url_sealed: str | None
    idempotency_key: str | None
    body_sha256: str
    accepted_at: datetime
    deliveries: Sequence[NewDelivery] = field(repr=False)


@dataclass(frozen=True)
class Known:
    """A batch that was there already under the same idempotency key."""

    batch_id: str
    lead_id: str
    body_sha256: str
    wave_id: str | None


@dataclass(frozen=True)
class Ref:
    """What plan hands on of a delivery: small, and neither secret nor personal."""

    delivery_id: str
    batch_id: str
    lead_id: str
    type: str


def write(connection: Connection, batch: NewBatch) -> Known | None:
    """Writes the batch, or finds the one which came before with the same idempotency key.

    Two requests with one key at the same moment: the second waits for the first to commit, then finds it.
    """
    statement = upsert(batches).values(
        id=batch.id,
        lead_id=batch.lead.id,
        lead=to_data(batch.lead),
        status=BatchStatus.PENDING,
        priority=batch.priority.rank,
        callback_url_sealed=batch.callback_url_sealed,
        idempotency_key=batch.idempotency_key,
        body_sha256=batch.body_sha256,
        accepted_at=batch.accepted_at,
    )
    statement = statement.on_conflict_do_nothing(index_elements=[batches.c.idempotency_key])
    if connection.execute(statement.returning(batches.c.id)).scalar() is None:
        return known(connection, idempotency_key=batch.idempotency_key)
    connection.execute(
        insert(deliveries),
        [
            {
                "id": f"{batch.id}-{index}",
                "batch_id": batch.id,
                "index": index,
                "type": item.type,
                "settings": dict(item.settings),
                "credentials_sealed": item.credentials_sealed,
                "state": DeliveryState.PENDING,
            }
            for index, item in enumerate(batch.deliveries)
        ],
    )
    return None


def known(connection: Connection, *, idempotency_key: str | None) -> Known | None:
    """The batch that was accepted under this key, if one was."""
    row = connection.execute(
        select(batches.c.id, batches.c.lead_id, batches.c.body_sha256, batches.c.wave_id).where(
            batches.c.idempotency_key == idempotency_key
        )
    ).one_or_none()
    return None if row is None else Known(row.id, row.lead_id, row.body_sha256, row.wave_id)


def claim(connection: Connection, *, run_id: str, own_batch_id: str | None, limit: int, now: datetime) -> None:
    """Claims pending batches for a wave: its own first, then by priority and age. Others' claims are stepped over."""
    waiting = (
        select(batches.c.id)
        .where(batches.c.status == BatchStatus.PENDING, batches.c.wave_id.is_(None))
        .order_by(case((batches.c.id == own_batch_id, 0), else_=1), batches.c.priority, batches.c.accepted_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    connection.execute(
        update(batches)
        .where(batches.c.id.in_(waiting.scalar_subquery()))
        .values(status=BatchStatus.PROCESSING, wave_id=run_id, claims=batches.c.claims + 1, started_at=now)
    )


def open_refs(connection: Connection, *, run_id: str) -> list[Ref]:
    """The wave's deliveries that are not delivered or cancelled, urgent batches first."""
    rows = connection.execute(
        select(deliveries.c.id, batches.c.id.label("batch_id"), batches.c.lead_id, deliveries.c.type)
        .join(batches, deliveries.c.batch_id == batches.c.id)
        .where(batches.c.wave_id == run_id)
        .where(deliveries.c.state.not_in([DeliveryState.DELIVERED, DeliveryState.CANCELLED]))
        .order_by(batches.c.priority, batches.c.accepted_at, deliveries.c.index)
    )
    return [Ref(row.id, row.batch_id, row.lead_id, row.type) for row in rows]


def keep_claims(connection: Connection, *, run_id: str, batch_ids: Collection[str]) -> None:
    """Gives back what the wave has claimed and not begun, but for these: another wave carries the rest."""
    connection.execute(
        update(batches)
        .where(batches.c.wave_id == run_id, batches.c.id.not_in(batch_ids), _NOT_BEGUN)
        .values(status=BatchStatus.PENDING, wave_id=None, started_at=None, claims=batches.c.claims - 1)
    )


_NOT_BEGUN = ~exists().where(deliveries.c.batch_id == batches.c.id, deliveries.c.state != DeliveryState.PENDING)


@dataclass(frozen=True)
class OpenWave:
    """A wave with batches that are not settled. `begun_at`: when it claimed the first of them."""

    run_id: str
    begun_at: datetime


def open_waves(connection: Connection, *, limit: int) -> list[OpenWave]:
    """Waves that have not settled all their batches, the oldest first."""
    begun_at = func.min(batches.c.started_at)
    rows = connection.execute(
        select(batches.c.wave_id, begun_at)
        .where(batches.c.status == BatchStatus.PROCESSING, batches.c.wave_id.is_not(None))
        .group_by(batches.c.wave_id)
        .order_by(begun_at)
        .limit(limit)
    )
    return [OpenWave(wave_id, at) for wave_id, at in rows]


def of_wave(connection: Connection, *, run_id: str) -> list[str]:
    """Ids of the batches that a wave has claimed, the oldest first."""
    rows = connection.execute(
        select(batches.c.id).where(batches.c.wave_id == run_id).order_by(batches.c.accepted_at, batches.c.id)
    )
    return list(rows.scalars())


@dataclass(frozen=True)
class Standing:
    """What settling needs to know of a batch."""

    batch_id: str
    lead_id: str
    status: BatchStatus
    wave_id: str | None
    claims: int
    critical: str
    has_callback_url: bool


def lock(connection: Connection, *, batch_id: str) -> Standing:
    """The batch, locked until the transaction ends against another settling of it."""
    row = connection.execute(select(batches).where(batches.c.id == batch_id).with_for_update()).one()
    return Standing(
        batch_id=row.id,
        lead_id=row.lead_id,
        status=BatchStatus(row.status),
        wave_id=row.wave_id,
        claims=row.claims,
        critical=row.critical or "",
        has_callback_url=row.callback_url_sealed is not None,
    )


def set_critical(connection: Connection, *, batch_id: str, reason: str) -> None:
    """Writes down why a batch could not be run as it should; empty: it could."""
    connection.execute(update(batches).where(batches.c.id == batch_id).values(critical=reason[:500] or None))


def set_status(connection: Connection, *, batch_id: str, status: BatchStatus, now: datetime) -> None:
    """Writes a batch's status; its `finished_at` is the moment of the first final one after it was open."""
    finished_at = now if status.is_final else None
    connection.execute(update(batches).where(batches.c.id == batch_id).values(status=status, finished_at=finished_at))


def newest_ended(connection: Connection, *, lead_id: str) -> tuple[BatchStatus, datetime] | None:
    """The status that a lead has: that of its newest batch that has one, and since when."""
    row = connection.execute(
        select(batches.c.status, batches.c.finished_at)
        .where(batches.c.lead_id == lead_id, batches.c.finished_at.is_not(None))
        .order_by(batches.c.accepted_at.desc(), batches.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (BatchStatus(row.status), row.finished_at)


def release(connection: Connection, *, batch_id: str) -> None:
    """Gives a batch that was claimed but never begun back to the inbox."""
    connection.execute(
        update(batches)
        .where(batches.c.id == batch_id)
        .values(status=BatchStatus.PENDING, wave_id=None, started_at=None)
    )
