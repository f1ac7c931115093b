"""What a run's tasks send: each what it is for, and then what is due in its lane."""

from __future__ import annotations

from datetime import datetime

from leadcast.flow.plan import Plan
from leadcast.store.batches import lanes
from leadcast.store.database import Store


def due_for(store: Store, made: Plan, *, now: datetime) -> list[str]:
    """Ids of what the tasks of a run find that has just been planned, each batch's in order."""
    found = [ref.delivery_id for refs in made.work.values() for ref in refs]
    with store.begin() as connection:
        for kind in made.takers:
            found += [ref.delivery_id for ref in lanes.due(connection, kind, now=now, limit=1000)]
    return sorted(dict.fromkeys(found), key=lambda delivery_id: int(delivery_id.rpartition("-")[2]))
