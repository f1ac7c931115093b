"""The bell: one locked row that makes sure a batch always has a wave that will claim it, and not a wave each.

A batch that is written while a wave waits to be planned rides along; else it rings for a new one. Both `ring_if_needed`
(an arrival) and `reset` (plan) take the row's lock and keep it to the end of their transaction, and plan claims after
its `reset`. So an arrival either commits before plan claims, and is seen, or comes after, and finds nobody waiting.

Nobody looks through the inbox while he has that lock: every arrival would wait for it, the longer the more wait.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, select, update

from leadcast.store.batches import room
from leadcast.store.batches.claims import claimable
from leadcast.store.schema import inbox

HEARD_FOR = timedelta(minutes=1)
"""How long nobody rings for a second run beside one that is seen to be queued: until the next sweep."""


@dataclass(frozen=True)
class Bell:
    """The run that will carry what waits. `must_ring`: nobody has asked for it yet, the caller does so after commit."""

    run_id: str
    must_ring: bool


def new_run_id(now: datetime) -> str:
    """A run id for a wave, sortable by time."""
    return f"wave__{now:%Y%m%dT%H%M%S}_{secrets.token_hex(4)}"


def ring_if_needed(connection: Connection, *, now: datetime, timeout: timedelta) -> Bell:
    """For an arrival, last thing in its transaction: ride with the wave that waits, or ring for a new one.

    A bell that was rung longer ago than `timeout` and still has no planned run counts as unheard. So does one that will
    be rung further in the future than any is: the clock was set back since.
    """
    row = connection.execute(select(inbox.c.waiting_run_id, inbox.c.rung_at).with_for_update()).one()
    if row.waiting_run_id and row.rung_at and -(HEARD_FOR + timeout) < now - row.rung_at < timeout:
        return Bell(run_id=row.waiting_run_id, must_ring=False)
    return _ring(connection, now)


def waiting_run(connection: Connection) -> str | None:
    """The run that waits to be planned, if one does."""
    run_id: str | None = connection.execute(select(inbox.c.waiting_run_id)).scalar_one()
    return run_id


def mark_queued(connection: Connection, *, run_id: str, now: datetime) -> None:
    """The run that was rung for is there and will be planned: nobody need ring for another one until the next sweep has
    looked, and not even if that is late."""
    connection.execute(update(inbox).where(inbox.c.waiting_run_id == run_id).values(rung_at=now + HEARD_FOR))


def mark_gone(connection: Connection, *, run_id: str, now: datetime) -> None:
    """The run that was rung for is not to come: if it was seen before, nobody waits for it any longer."""
    seen = (inbox.c.waiting_run_id == run_id) & (inbox.c.rung_at > now)
    connection.execute(update(inbox).where(seen).values(waiting_run_id=None, rung_at=None))


def reset(connection: Connection, *, run_id: str) -> None:
    """For plan, before it claims, and in a transaction of its own: this wave waits no longer, who comes now needs
    another."""
    if connection.execute(select(inbox.c.waiting_run_id).with_for_update()).scalar_one() == run_id:
        connection.execute(update(inbox).values(waiting_run_id=None, rung_at=None))


def ring_for_rest(
    connection: Connection, *, now: datetime, timeout: timedelta, planned: str = "", full: Collection[str] = ()
) -> Bell | None:
    """For plan, settle and the sweep: rings if batches are left that a wave may claim; None if there are none.

    Args:
        planned: the run that has just been planned, if one has.
        full: integrations that have no room. Nobody rings for what waits for these alone: whoever makes room does, by
            settling his wave, or the next sweep.
    """
    left = select(exists().where(claimable(now, planned=planned, full=full)))
    # who arrives after such a look has rung, or rides along; who claims just now, and leaves nothing, is waited for
    if not connection.execute(left).scalar():
        return None
    room.lock(connection)
    return ring_if_needed(connection, now=now, timeout=timeout) if connection.execute(left).scalar() else None


def _ring(connection: Connection, now: datetime) -> Bell:
    run_id = new_run_id(now)
    connection.execute(update(inbox).values(waiting_run_id=run_id, rung_at=now))
    return Bell(run_id=run_id, must_ring=True)
