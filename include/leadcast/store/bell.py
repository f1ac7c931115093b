"""The bell: one locked row that makes sure a batch always has a wave that will claim it, and not a wave each.

A batch that is written while a wave waits to be planned rides along; else it rings for a new one. Both `answer` (an
arrival) and `clear` (plan) take the row's lock and keep it to the end of their transaction, so an arrival either
commits before plan claims, and is seen, or comes after, and finds nobody waiting.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, select, update

from leadcast.core.model import BatchStatus
from leadcast.store.schema import batches, inbox


@dataclass(frozen=True)
class Bell:
    """The run that will carry what waits. `must_ring`: nobody has asked for it yet, the caller does so after commit."""

    run_id: str
    must_ring: bool


def new_run_id(now: datetime) -> str:
    """A run id for a wave, sortable by time."""
    return f"wave__{now:%Y%m%dT%H%M%S}_{secrets.token_hex(4)}"


def answer(connection: Connection, *, now: datetime, timeout: timedelta) -> Bell:
    """For an arrival, last thing in its transaction: ride with the wave that waits, or ring for a new one.

    A bell that was rung longer ago than `timeout` and still has no planned run counts as unheard.
    """
    row = connection.execute(select(inbox.c.waiting_run_id, inbox.c.rung_at).with_for_update()).one()
    if row.waiting_run_id and row.rung_at and now - row.rung_at < timeout:
        return Bell(run_id=row.waiting_run_id, must_ring=False)
    return _ring(connection, now)


def waiting(connection: Connection) -> str | None:
    """The run that waits to be planned, if one does."""
    run_id: str | None = connection.execute(select(inbox.c.waiting_run_id)).scalar_one()
    return run_id


def clear(connection: Connection, *, run_id: str) -> None:
    """For plan, first thing in its transaction: this wave waits no longer, who comes now needs another."""
    if connection.execute(select(inbox.c.waiting_run_id).with_for_update()).scalar_one() == run_id:
        connection.execute(update(inbox).values(waiting_run_id=None, rung_at=None))


def ring_for_rest(connection: Connection, *, now: datetime, timeout: timedelta) -> Bell | None:
    """For plan and the sweep: rings if batches are left that no wave has claimed; None if there are none."""
    connection.execute(select(inbox.c.id).with_for_update())
    left = connection.execute(
        select(exists().where(batches.c.status == BatchStatus.PENDING, batches.c.wave_id.is_(None)))
    ).scalar()
    return answer(connection, now=now, timeout=timeout) if left else None


def _ring(connection: Connection, now: datetime) -> Bell:
    run_id = new_run_id(now)
    connection.execute(update(inbox).values(waiting_run_id=run_id, rung_at=now))
    return Bell(run_id=run_id, must_ring=True)
