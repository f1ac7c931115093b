"""Takes over from the dead: what their processes had taken, were sending, or had ended and not settled."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, Row

from leadcast.core.model import cancelled_state
from leadcast.core.settings import Settings
from leadcast.flow.settle import Settler
from leadcast.integrations import registry
from leadcast.store.batches import batches, lanes, ledger, opening, snapshots, uninstalled

log = structlog.get_logger("leadcast.take_over")

AT_ONCE = 200
"""Deliveries, or batches, in one transaction."""
_ROUNDS = 50
DIED = "The processes that were to send it have died."


def take_over(settler: Settler) -> int:
    """Lets others go on with what the dead had: it is due in its lane again. What has no tries left, or with which too
    many have died, is ended. May be done by several at once.

    Returns:
        How many deliveries the dead had.

    Raises:
        StoreError: the store could not be used.
    """
    found = 0
    for _ in range(_ROUNDS):
        with settler.store.begin() as connection:
            ids = lanes.abandoned(connection, limit=AT_ONCE)
        taken = _lost(settler, ids) if ids else 0
        found += taken
        if not taken or len(ids) < AT_ONCE:
            break
    return found


def blame(settler: Settler, delivery_ids: Collection[str]) -> None:
    """Something has gone wrong before these deliveries were begun, and each may be why: they come last from now on, and
    each alone; with which it has gone wrong too often, is ended. What was begun since is not touched.

    Raises:
        StoreError: the store could not be used.
    """
    with settler.store.begin() as connection:
        opening.lock_of(connection, delivery_ids=delivery_ids)
        ended = _lose(connection, settler, ledger.untaken_rows(connection, delivery_ids))
    settler.settle_all(sorted(ended))


def settle_left(settler: Settler) -> int:
    """Gives a status to batches in which all has ended: whoever ended the last of it has died before he could.

    Returns:
        How many.

    Raises:
        StoreError: the store could not be used.
    """
    with settler.store.begin() as connection:
        left = batches.unsettled(connection, limit=AT_ONCE)
    settler.settle_all(left)
    return len(left)


def end_uninstalled(settler: Settler) -> int:
    """Lets wait what is due of an integration that is not installed here, and ends what has waited for too long.

    Returns:
        How many deliveries.

    Raises:
        StoreError: the store could not be used.
    """
    now, installed = settler.clock(), registry.types()
    give_up_after = timedelta(seconds=settler.settings.give_up_after_s)
    with settler.store.begin() as connection:
        uninstalled.postpone(connection, installed=installed, give_up_after=give_up_after, now=now)
    with settler.store.begin() as connection:
        ids = uninstalled.overdue(connection, installed=installed, begun_before=now - give_up_after, now=now)
        opening.lock_of(connection, delivery_ids=ids)
        items = [item for item in snapshots.these(connection, delivery_ids=ids) if not item.state.is_final]
        for item in items:
            settler.close(connection, item)
    settler.settle_all(sorted({item.batch_id for item in items}))
    return len(items)


def _lost(settler: Settler, delivery_ids: Collection[str]) -> int:
    with settler.store.begin() as connection:
        opening.lock_of(connection, delivery_ids=delivery_ids)
        rows = ledger.lost_rows(connection, delivery_ids)
        ended = _lose(connection, settler, rows)
    settler.settle_all(sorted(ended))
    if rows:
        log.warning("taken over from the dead", deliveries=len(rows), batches_ended_by_it=len(ended))
    return len(rows)


def _lose(connection: Connection, settler: Settler, rows: Sequence[Row[Any]]) -> set[str]:
    """Writes it down of these locked deliveries, and ends those that may not go on. Ids of the batches of these."""
    if not rows:
        return set()
    now = settler.clock()
    ledger.lose(connection, rows, now=now)
    cancelled = {row.batch_id for row in rows if row.cancelled_at is not None}
    ended: set[str] = set()
    for item in snapshots.these(connection, delivery_ids=[row.id for row in rows]):
        if item.batch_id in cancelled:
            state = cancelled_state(in_doubt=item.in_doubt)
            ledger.close(connection, delivery_id=item.id, state=state, error=None, now=now)
        elif not _may_go_on(item, settler.settings):
            settler.close(connection, item)
            batches.set_critical(connection, batch_id=item.batch_id, reason=DIED)
        else:
            continue
        ended.add(item.batch_id)
    return ended


def _may_go_on(item: snapshots.DeliverySnapshot, settings: Settings) -> bool:
    if item.losses >= settings.max_claims:
        return False
    return item.type not in registry.types() or item.tries < settings.delivering(item.type).tries
