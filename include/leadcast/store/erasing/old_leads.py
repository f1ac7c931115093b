"""Old leads: which stored leads and batches have been kept long enough, found in walks of small steps.

A walk goes by an index, so that it passes once over what is there, however much has been erased before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, exists, func, or_, select, tuple_, update

from leadcast.store.erasing.erasing import (
    ERASED,
    HOLDS_LEAD,
    RESTS,
    WORDLESS_CIRCUIT,
    Erased,
    erase,
    erase_notifications,
    lock_resting,
    nothing_of,
)
from leadcast.store.outbox import OutboxState
from leadcast.store.schema import batches, circuits, deliveries, leads, notifications

_IS_TOLD = nothing_of(
    select(notifications.c.id).where(
        notifications.c.batch_id == batches.c.id, notifications.c.state == OutboxState.PENDING
    )
)


@dataclass(frozen=True)
class Place:
    """Where a walk over the old batches stands: the last one that it has passed."""

    accepted_at: datetime
    batch_id: str


def erase_batches(
    connection: Connection, *, before: datetime, after: Place | None, limit: int, now: datetime
) -> tuple[Erased, Place | None]:
    """Erases up to `limit` batches that have ended before a time, the oldest first. One that is just locked is left.

    Returns:
        What was erased, and where the walk stands now; None: it is through.
    """
    query = _batches(before).order_by(batches.c.accepted_at, batches.c.id).limit(limit)
    if after is not None:
        query = query.where(tuple_(batches.c.accepted_at, batches.c.id) > (after.accepted_at, after.batch_id))
    rows = connection.execute(query.with_for_update(skip_locked=True, of=batches)).all()
    if not rows:
        return Erased(), None
    resting = lock_resting(connection, [row.id for row in rows])
    return erase(connection, resting, now=now, thoroughly=False), Place(rows[-1].accepted_at, rows[-1].id)


def _batches(before: datetime) -> Select[Any]:
    is_old = and_(batches.c.accepted_at < before, batches.c.finished_at < before)
    return select(batches.c.id, batches.c.accepted_at).where(is_old, batches.c.erased_at.is_(None), RESTS, _IS_TOLD)


def erase_leads(connection: Connection, *, before: datetime, after: str, limit: int) -> tuple[Erased, str | None]:
    """Deletes up to `limit` stored leads that were last stored and sent before a time, in the order of their ids from
    above `after` on.

    Returns:
        What was deleted, and the last one's id; None: there are no more.
    """
    query = _leads(before).where(leads.c.id > after).order_by(leads.c.id).limit(limit)
    ids = list(connection.execute(query).scalars())
    # one that was stored again meanwhile is not old
    gone = connection.execute(delete(leads).where(leads.c.id.in_(ids), leads.c.updated_at < before))
    return Erased(leads=gone.rowcount), ids[-1] if ids else None


def _leads(before: datetime) -> Select[Any]:
    is_used = exists().where(
        batches.c.lead_id == leads.c.id,
        or_(batches.c.accepted_at >= before, batches.c.finished_at >= before, batches.c.finished_at.is_(None)),
    )
    return select(leads.c.id).where(leads.c.updated_at < before, ~is_used)


def count(connection: Connection, *, before: datetime) -> Mapping[str, int]:
    """How many leads and batches would be erased: kind → number."""
    found = {"leads": _leads(before), "batches": _batches(before)}
    return {
        kind: connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
        for kind, query in found.items()
    }


def erase_words(connection: Connection, *, before: datetime) -> Erased:
    """Erases what services had said of accounts before a time. What people are still to be told of it stays."""
    is_old = and_(circuits.c.updated_at < before, circuits.c.reason != ERASED)
    connection.execute(update(circuits).where(is_old).values(WORDLESS_CIRCUIT))
    of_no_batch = and_(notifications.c.batch_id.is_(None), notifications.c.created_at < before)
    return erase_notifications(connection, and_(of_no_batch, notifications.c.state != OutboxState.PENDING))


def written_since(connection: Connection, *, since: datetime) -> list[tuple[str, str]]:
    """Batches erased after `since` into which an attempt wrote its outcome later: its lease was over, and it was
    taken for dead. Their ids, each with its lead's."""
    later = exists().where(deliveries.c.batch_id == batches.c.id, deliveries.c.finished_at > batches.c.erased_at)
    query = select(batches.c.id, batches.c.lead_id).where(batches.c.erased_at > since, or_(later, HOLDS_LEAD), RESTS)
    return [(row.id, row.lead_id) for row in connection.execute(query.order_by(batches.c.id))]
