"""The bell: makes sure that a batch always has a wave that will see it, and not a wave each.

A batch that is written while a wave waits to be planned rides along; else it rings for a new one. Arrivals share a lock
that plan's `reset` wants for itself, and all keep it to the end of their transaction; plan looks after its `reset`. So
an arrival either commits before plan looks, and is seen, or comes after, and finds nobody waiting. Arrivals do not wait
for each other, but for the one that rings.

Nobody looks through the inbox while he has that lock: every arrival would wait for it, the longer the more wait.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from leadcast.store.batches import lanes
from leadcast.store.schema import inbox

_LOCK = 0x1EADCA59
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
    connection.execute(select(func.pg_advisory_xact_lock_shared(_LOCK)))
    rung = select(inbox.c.waiting_run_id, inbox.c.rung_at)
    # once more with the row's lock: of several that find nobody waiting, one rings
    for look in (rung, rung.with_for_update()):
        row = connection.execute(look).one()
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
    """For plan, before it looks, and in a transaction of its own: this wave waits no longer, who comes now needs
    another."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    if connection.execute(select(inbox.c.waiting_run_id).with_for_update()).scalar_one() == run_id:
        connection.execute(update(inbox).values(waiting_run_id=None, rung_at=None))


def ring_for_rest(connection: Connection, kinds: Collection[str], *, now: datetime, timeout: timedelta) -> Bell | None:
    """For settle, the sweep, and a task whose time is over: rings if something is due in one of these lanes for which
    no task waits; None if nothing is."""
    # who arrives after such a look has rung, or rides along
    is_lacking = lanes.lacks_tasks(connection, kinds, now=now)
    return ring_if_needed(connection, now=now, timeout=timeout) if is_lacking else None


def _ring(connection: Connection, now: datetime) -> Bell:
    run_id = new_run_id(now)
    connection.execute(update(inbox).values(waiting_run_id=run_id, rung_at=now))
    return Bell(run_id=run_id, must_ring=True)
