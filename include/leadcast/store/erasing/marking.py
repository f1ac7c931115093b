"""Which batches an erasure takes: those that are there, and those that come of a run that held the request by then.

What is marked is not sent any more, and is erased by whoever settles it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from leadcast.core.reach import Reach
from leadcast.store import whose
from leadcast.store.schema import batches, erasures


def lock(connection: Connection, chosen: ColumnElement[bool]) -> bool:
    """Locks batches in the order of their ids. Says whether there are any."""
    query = select(batches.c.id).where(chosen).order_by(batches.c.id).with_for_update()
    return bool(connection.execute(query).all())


def mark(connection: Connection, chosen: ColumnElement[bool], *, now: datetime) -> int:
    """Marks batches: they are to be erased. Says how many were not marked before."""
    statement = update(batches).where(chosen, batches.c.erased_at.is_(None)).values(erased_at=now)
    return connection.execute(statement).rowcount


def takes(connection: Connection, *, lead_id: str, run_id: str, made_at: datetime | None, sent_by: str | None) -> bool:
    """Whether an erasure of this lead takes what a run is about to bring: it held the request when it was asked for.
    Who writes it holds the erasure off before he asks.

    Args:
        made_at: when that run was made, by the store's clock; None: nobody knows. One that is older than the erasure is
            taken even if nobody found it who looked for it.
        sent_by: whose the batch is to be; an erasure of another's does not take it.
    """
    # no more columns than the tables of an older version have: leads are taken there, too
    reach = (erasures.c.only_of, erasures.c.over_all_at) if whose.has_a_place(connection) else ()
    query = select(erasures.c.asked_at, erasures.c.runs, erasures.c.done_at, *reach)
    erasure = connection.execute(query.where(erasures.c.lead_id == lead_id)).one_or_none()
    if erasure is None or (reach and not reach_of(erasure).takes(sent_by, made_at)):
        return False
    is_known = erasure.done_at is None and run_id in (erasure.runs or ())
    return is_known or (made_at is not None and made_at < erasure.asked_at)


def mark_batch(connection: Connection, *, batch_id: str, lead_id: str, now: datetime) -> None:
    """Marks one batch that an erasure takes, and opens that again, so that it is gone on with."""
    mark(connection, batches.c.id == batch_id, now=now)
    connection.execute(update(erasures).where(erasures.c.lead_id == lead_id).values(done_at=None))


def reach_of(row: Row[Any]) -> Reach:
    """Whose an erasure takes, of its row."""
    return Reach(only_of=row.only_of, over_all_at=row.over_all_at)
