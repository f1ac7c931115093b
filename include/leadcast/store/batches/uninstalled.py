"""Deliveries of integrations that this installation does not have (any more): they wait until it is there again.

Nobody can try them, so a wave that finds them only postpones them. Each waits as long again as it has waited so far, up
to an hour, and after `give_up_after_s` the sweep ends it as `failed`; the error says that it may pass.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, update

from leadcast.core.errors import TransientError
from leadcast.core.model import DeliveryState
from leadcast.store.batches import lanes, ledger
from leadcast.store.schema import deliveries

WAITS_FOR_INTEGRATION = "integration"
SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(hours=1)
AT_ONCE = 1000


def postpone(connection: Connection, *, installed: Collection[str], give_up_after: timedelta, now: datetime) -> int:
    """Lets deliveries that are due wait that nobody here can try.

    Args:
        installed: the integration types that there are.
        give_up_after: how long one may wait in all; `overdue` finds those that have waited for longer.

    Returns:
        How many.
    """
    missing = _missing(connection, installed)
    if not missing:
        return 0
    rows = connection.execute(
        select(deliveries.c.id, deliveries.c.type, deliveries.c.state, deliveries.c.round_at)
        .where(deliveries.c.type.in_(missing), lanes.is_due(now))
        .where(func.coalesce(deliveries.c.round_at, now) >= now - give_up_after)
        .order_by(deliveries.c.id)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        since = row.round_at if row.state == DeliveryState.RETRYING and row.round_at else now
        values: dict[str, Any] = {
            "state": DeliveryState.RETRYING,
            "round_at": since,
            "waits_for": WAITS_FOR_INTEGRATION,
            "next_attempt_at": now + min(max(now - since, SHORTEST), LONGEST),
            "error": ledger.error_as_json(_not_installed(row.type)),
        }
        connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(**values))
    return len(rows)


def overdue(connection: Connection, *, installed: Collection[str], begun_before: datetime, now: datetime) -> list[str]:
    """Ids of those that have waited for long enough."""
    missing = _missing(connection, installed)
    if not missing:
        return []
    found = connection.execute(
        select(deliveries.c.id)
        .where(deliveries.c.type.in_(missing), lanes.is_due(now), deliveries.c.round_at < begun_before)
        .order_by(deliveries.c.id)
        .limit(AT_ONCE)
    )
    return list(found.scalars())


def _missing(connection: Connection, installed: Collection[str]) -> list[str]:
    return [kind for kind in lanes.kinds(connection) if kind not in installed]


def _not_installed(integration_type: str) -> TransientError:
    return TransientError(
        f"The integration {integration_type!r} is not installed here. It waits until it is: leadcast doctor",
        code="not_installed",
    )
