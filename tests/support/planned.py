"""A run that is planned, and whose tasks begin at once; and a batch that one has begun."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from leadcast.core.settings import Settings
from leadcast.flow import plan as flow_plan
from leadcast.flow.plan import Plan
from leadcast.store.batches import lanes, opening
from leadcast.store.database import Store


def plan(store: Store, settings: Settings, *, run_id: str, **more: Any) -> Plan:
    """Plans a run whose tasks begin at once: what is due from then on may have others."""
    made = flow_plan.plan(store, settings, run_id=run_id, **more)
    with store.begin() as connection:
        lanes.give_up(connection, run_id=run_id)
    return made


def begin_batch(connection: Connection, batch_id: str, *, run_id: str) -> None:
    """What whoever sends the first of a batch's deliveries does with the batch."""
    locked = opening.lock_of(connection, delivery_ids=[f"{batch_id}-0"])
    opening.open_all(connection, locked.values(), run_id=run_id)
