"""Deliveries of integrations that this installation does not have (any more): they wait until it is there again.

Nobody can try them, so a wave that claims them only postpones them. Each waits as long again as it has waited so far,
up to an hour, and after `give_up_after_s` settling ends it as `failed`; the error says that it may pass.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, or_, select, update

from leadcast.core.errors import TransientError
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.store.batches import ledger
from leadcast.store.schema import batches, deliveries

WAITS_FOR_INTEGRATION = "integration"
SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(hours=1)


def postpone(
    connection: Connection, *, run_id: str, installed: Collection[str], give_up_after: timedelta, now: datetime
) -> int:
    """Lets those of a wave's open deliveries wait that nobody here can try.

    Args:
        installed: the integration types that there are.
        give_up_after: how long one may wait in all; settling ends those that have waited for longer.

    Returns:
        How many.
    """
    rows = connection.execute(
        select(deliveries.c.id, deliveries.c.type, deliveries.c.state, deliveries.c.round_at)
        .join(batches, batches.c.id == deliveries.c.batch_id)
        .where(batches.c.wave_id == run_id, batches.c.status == BatchStatus.PROCESSING)
        .where(deliveries.c.type.not_in(installed))
        .where(deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.RETRYING]))
        .where(or_(deliveries.c.waits_for.is_(None), deliveries.c.next_attempt_at <= now))
        .where(func.coalesce(deliveries.c.round_at, now) >= now - give_up_after)
        .order_by(deliveries.c.id)
        .with_for_update(of=deliveries)
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


def _not_installed(integration_type: str) -> TransientError:
    return TransientError(
        f"The integration {integration_type!r} is not installed here. It waits until it is: leadcast doctor",
        code="not_installed",
    )
