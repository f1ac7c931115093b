"""A batch is opened by whoever begins something of it, and is the run's in which that was, or which goes on with it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

from leadcast.core.model import BatchStatus
from leadcast.store.schema import batches, deliveries


@dataclass(frozen=True)
class Locked:
    """How a batch stands, as its locked row says."""

    batch_id: str
    wave_id: str | None
    status: BatchStatus


def lock_of(connection: Connection, *, delivery_ids: Collection[str]) -> dict[str, Locked]:
    """Locks the rows of deliveries' batches until the transaction ends, one after the other by their ids, before the
    deliveries' own, as all do who lock both. Batch → how it stands. Of deliveries that are not there, nothing is
    locked."""
    their_batches = select(deliveries.c.batch_id).where(deliveries.c.id.in_(delivery_ids))
    return _lock(connection, batches.c.id.in_(their_batches))


def _lock(connection: Connection, which: ColumnElement[bool]) -> dict[str, Locked]:
    known = select(batches.c.id, batches.c.wave_id, batches.c.status).where(which)
    rows = connection.execute(known.order_by(batches.c.id).with_for_update())
    return {row.id: Locked(row.id, row.wave_id, BatchStatus(row.status)) for row in rows}


def open_all(connection: Connection, locked: Collection[Locked], *, run_id: str) -> None:
    """Opens batches that are locked: those that wait for their first attempt, and those that had ended."""
    first = [each.batch_id for each in locked if each.status is BatchStatus.PENDING]
    again = [each.batch_id for each in locked if each.status.is_final]
    its_run = {"wave_id": run_id} if run_id else {}
    started: dict[str, Any] = {
        "status": BatchStatus.PROCESSING,
        "started_at": func.coalesce(batches.c.started_at, func.now()),
        "finished_at": None,
    }
    if first:
        connection.execute(update(batches).where(batches.c.id.in_(first)).values(**its_run, **started))
    if again:
        values = {**its_run, "critical": None, **started}
        connection.execute(update(batches).where(batches.c.id.in_(again)).values(**values))


def reopen(connection: Connection, *, batch_id: str, run_id: str) -> None:
    """Opens a batch that has ended: a delivery's outcome has changed since, and whoever settles it sees that.

    Args:
        run_id: the run that has changed it.
    """
    open_all(
        connection,
        [each for each in _lock(connection, batches.c.id == batch_id).values() if each.status.is_final],
        run_id=run_id,
    )


def hand_over(connection: Connection, *, batch_ids: Collection[str], run_id: str) -> None:
    """Notes which run goes on with these locked batches, where another has begun them, which may be over, or gone."""
    if run_id:
        of_another = batches.c.id.in_(batch_ids), batches.c.wave_id.is_distinct_from(run_id)
        connection.execute(update(batches).where(*of_another).values(wave_id=run_id))


def hand_to(connection: Connection, *, batch_ids: Collection[str], run_id: str) -> None:
    """Notes which run is to begin these batches, where nobody has begun them yet."""
    # who has one of them locked is about to begin it
    which = batches.c.id.in_(batch_ids), batches.c.status == BatchStatus.PENDING, batches.c.wave_id.is_(None)
    free = select(batches.c.id).where(*which).order_by(batches.c.id).with_for_update(skip_locked=True)
    connection.execute(update(batches).where(batches.c.id.in_(free)).values(wave_id=run_id))
