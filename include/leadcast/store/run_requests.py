"""Runs that were triggered with a request of which no batch has come yet: written down when Airflow accepts the run,
since a task cannot ask it for those that have ended. The request itself is in the run alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.store.schema import run_requests


def note(connection: Connection, *, run_id: str, now: datetime) -> None:
    """Airflow is about to accept this run, or to start it again."""
    row = insert(run_requests).values(run_id=run_id, looked_at=now)
    connection.execute(row.on_conflict_do_update(index_elements=[run_requests.c.run_id], set_={"looked_at": now}))


def forget(connection: Connection, *, run_id: str) -> None:
    """There is a batch by now, or people have been told."""
    connection.execute(delete(run_requests).where(run_requests.c.run_id == run_id))


def due(connection: Connection, *, before: datetime, now: datetime, limit: int) -> Sequence[str]:
    """Ids of those that nobody has looked at since before then, the longest ago first. They have been, now."""
    of_turn = (
        select(run_requests.c.run_id)
        .where(run_requests.c.looked_at < before)
        .order_by(run_requests.c.looked_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    run_ids = list(connection.execute(of_turn).scalars())
    connection.execute(update(run_requests).where(run_requests.c.run_id.in_(run_ids)).values(looked_at=now))
    return run_ids
