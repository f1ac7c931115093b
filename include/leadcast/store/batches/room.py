"""Room: how much more of each integration the waves may claim.

What is claimed beyond it would wait in a run, whose time goes on; in the inbox it waits as well, by priority and age.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true

from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.store.batches.waiting import is_due
from leadcast.store.schema import batches, deliveries

_LOCK = 0x1EADCA59

_IS_OPEN = deliveries.c.state.not_in([state for state in DeliveryState if state.is_final])


def is_to_be_sent(now: datetime) -> ColumnElement[bool]:
    """Whether a wave that claims its batch sends it: what waits on is another's."""
    return and_(_IS_OPEN, or_(deliveries.c.waits_for.is_(None), is_due(now)))


def is_not_begun(now: datetime) -> ColumnElement[bool]:
    """Whether the wave that has claimed it has still to begin it: it is new, or it has waited for this wave."""
    has_waited = and_(deliveries.c.waits_for.is_not(None), is_due(now))
    return or_(deliveries.c.state == DeliveryState.PENDING, has_waited)


def lock(connection: Connection) -> None:
    """Locks the counts of what is claimed until the transaction ends: two waves that look at the same time would both
    fill the room that is left. No arrival waits for it."""
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def claimed(connection: Connection, *, now: datetime) -> Counter[str]:
    """Integration type → how many of its deliveries the waves have claimed and not begun."""
    rows = connection.execute(
        select(deliveries.c.type, func.count())
        .select_from(batches.join(deliveries, deliveries.c.batch_id == batches.c.id))
        .where(batches.c.status == BatchStatus.PROCESSING, batches.c.wave_id.is_not(None), ~batches.c.let_go)
        .where(is_not_begun(now))
        .group_by(deliveries.c.type)
    )
    return Counter({row[0]: row[1] for row in rows})


def left(connection: Connection, bounds: Mapping[str, int], *, now: datetime) -> Counter[str]:
    """Integration type → how many more of it may be claimed.

    Args:
        bounds: type → how many the waves may have claimed in all and not begun. A type that is not in it has no bound.
    """
    so_far = claimed(connection, now=now)
    return Counter({kind: max(bound - so_far[kind], 0) for kind, bound in bounds.items()})


def full(connection: Connection, bounds: Mapping[str, int], *, now: datetime) -> frozenset[str]:
    """The integrations of which nothing more may be claimed."""
    return frozenset(kind for kind, count in left(connection, bounds, now=now).items() if not count)


def is_wanted_beside(full: Collection[str], *, now: datetime) -> ColumnElement[bool]:
    """Whether a batch has something to be sent by an integration that is none of these, or nothing to be sent at all.
    Asked once of each batch that is looked at."""
    is_other = func.coalesce(func.bool_or(deliveries.c.type.not_in(full)), true())
    return select(is_other).where(deliveries.c.batch_id == batches.c.id, is_to_be_sent(now)).scalar_subquery()


def needed(connection: Connection, batch_ids: Sequence[str], *, now: datetime) -> Mapping[str, Counter[str]]:
    """Batch → integration type → how many of its deliveries are to be sent."""
    rows = connection.execute(
        select(deliveries.c.batch_id, deliveries.c.type, func.count())
        .where(deliveries.c.batch_id.in_(batch_ids))
        .where(is_to_be_sent(now))
        .group_by(deliveries.c.batch_id, deliveries.c.type)
    )
    found: dict[str, Counter[str]] = {batch_id: Counter() for batch_id in batch_ids}
    for batch_id, kind, count in rows:
        found[batch_id][kind] = count
    return found
