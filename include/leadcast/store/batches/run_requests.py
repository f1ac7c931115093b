"""Runs that were triggered with a request of which no batch has come yet: written down when Airflow accepts the run,
since a task cannot ask it for those that have ended. The request itself is in the run alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, DateTime, cast, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.store.schema import run_requests


def note(connection: Connection, *, run_id: str, now: datetime, is_new: bool = False) -> None:
    """Airflow is about to accept this run, or to start it again. When it was noted first stays.

    Args:
        is_new: it is no run yet; one of this id, if there was one, is deleted.
    """
    if is_new:
        forget(connection, run_id=run_id)
    row = insert(run_requests).values(run_id=run_id, looked_at=now)
    connection.execute(row.on_conflict_do_update(index_elements=[run_requests.c.run_id], set_={"looked_at": now}))


def noted_at(connection: Connection, *, run_id: str) -> datetime | None:
    """When it was noted first, by the store's clock; None: it is not noted, or an older version has done so."""
    # tables of an older version have no such column: leads are taken there, too
    column = func.to_jsonb(literal_column("run_requests")).op("->>")("noted_at")
    query = select(cast(column, DateTime(timezone=True))).select_from(run_requests)
    return connection.execute(query.where(run_requests.c.run_id == run_id)).scalar()


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
