"""Rounds: what has ended without success is requeued, by a person or by the schedule, and is due in its lane.

Nothing is requeued that was delivered, nothing that is just being sent, and nothing that the service refused, unless a
person says so. A delivery which may have arrived stays in doubt, so that the service is asked first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select, true, update

from leadcast.core.errors import GIVEN_UP, HELD_FOR_AGE
from leadcast.core.model import OPEN, BatchStatus, DeliveryState, ManualAction, ManualKind, cancelled_state
from leadcast.store.batches import lanes
from leadcast.store.batches.batches import LockedBatch
from leadcast.store.schema import batches, deliveries

_MENDED_OUTSIDE = ("CredentialsError",)
_SETTINGS = "settings"
"""Errors that do not pass by themselves but are mended outside: the token is renewed in the connection, or the
installation is set up as it should be."""


def requeue(
    connection: Connection,
    batch: LockedBatch,
    *,
    can_find: Callable[[str], bool],
    needs_decision: Callable[[str], bool],
    action: ManualAction | None = None,
) -> int:
    """Lets a later wave begin a new round with the failed and unknown deliveries of a batch.

    Args:
        can_find: whether an integration type's service can be asked for a delivery.
        needs_decision: whether a person has to decide about one that may have arrived.
        action: a person's retry sends all of them, whatever the error was; the schedule (None) and a person's window
            only what may pass, and never what might arrive twice; a window also what was held for its age.

    Returns:
        How many; 0: nothing was changed.
    """
    ended = connection.execute(
        select(deliveries)
        .where(deliveries.c.batch_id == batch.batch_id)
        .where(deliveries.c.state.in_([DeliveryState.FAILED, DeliveryState.UNKNOWN]))
        .order_by(deliveries.c.index)
        .with_for_update()
    ).all()
    is_retry = action is not None and action.what is ManualKind.RETRY
    chosen = [row for row in ended if is_retry or _may_pass(row, can_find) or (action and _is_held(row))]
    for row in chosen:
        # a person has seen that it may have arrived, and wants it sent
        is_decided = is_retry and row.state == DeliveryState.UNKNOWN and needs_decision(row.type)
        values: dict[str, Any] = {
            "state": DeliveryState.PENDING,
            "tries": 0,
            "losses": 0,
            "priority": lanes.place(batch.priority, rounds=0 if is_retry else 1),
            "round_at": None,
            "next_attempt_at": None,
            "finished_at": None,
            "in_doubt": row.in_doubt and not is_decided,
        }
        if action is not None:
            values["asked_at"] = action.at
        connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(**values))
    if chosen:
        _open(connection, batch, is_retry=is_retry)
    return len(chosen)


def _may_pass(row: Row[Any], can_find: Callable[[str], bool]) -> bool:
    """Whether it may succeed without anybody having decided anything about this lead."""
    error = row.error or {}
    if error.get("code") == GIVEN_UP:
        return False
    if row.state == DeliveryState.UNKNOWN:
        return can_find(row.type)
    is_mended_outside = error.get("class") in _MENDED_OUTSIDE or error.get("code") == _SETTINGS
    return bool(error.get("may_pass")) or is_mended_outside


def _is_held(row: Row[Any]) -> bool:
    return row.state == DeliveryState.FAILED and (row.error or {}).get("code") == HELD_FOR_AGE


def count_manual_action(connection: Connection, *, batch_id: str) -> None:
    """A person has started again something of a batch, which is locked: how it ends is told, the same or not."""
    connection.execute(update(batches).where(batches.c.id == batch_id).values(_ONE_MORE_ACTION))


_ONE_MORE_ACTION: Mapping[str, Any] = {"asks": batches.c.asks + 1, "rounds": 0}


def _open(connection: Connection, batch: LockedBatch, *, is_retry: bool) -> None:
    counted: dict[str, Any] = dict(_ONE_MORE_ACTION) if is_retry else {"rounds": batches.c.rounds + 1}
    if batch.status.is_final:
        counted |= {"status": BatchStatus.PENDING, "wave_id": None, "finished_at": None, "critical": None}
    connection.execute(update(batches).where(batches.c.id == batch.batch_id).values(cancelled_at=None, **counted))


def retriable(
    connection: Connection, *, since: datetime, until: datetime, max_rounds: int, after: str, limit: int
) -> Sequence[str]:
    """Ids of batches accepted from `since` to before `until` that have ended without all delivered, were not cancelled
    and have had fewer rounds than that, in the order of their ids from above `after` on. No lock stops it."""
    # asked of each batch: a join would read the deliveries of all that were ever accepted
    has_open_ends = (
        select(true())
        .where(deliveries.c.batch_id == batches.c.id)
        .where(deliveries.c.state.in_([DeliveryState.FAILED, DeliveryState.UNKNOWN]))
        .limit(1)
        .scalar_subquery()
    )
    has_ended = batches.c.status.in_([BatchStatus.PARTIAL, BatchStatus.FAILED])
    goes_on = batches.c.status == BatchStatus.PROCESSING
    rows = connection.execute(
        select(batches.c.id)
        .where(batches.c.accepted_at >= since, batches.c.accepted_at < until, batches.c.id > after)
        .where(or_(has_ended, goes_on), batches.c.rounds < max_rounds, batches.c.erased_at.is_(None))
        .where(batches.c.cancelled_at.is_(None), has_open_ends)
        .order_by(batches.c.id)
        .limit(limit)
    )
    return list(rows.scalars())


def cancel(connection: Connection, *, batch_id: str, action: ManualAction) -> list[str]:
    """Cancels what is not being sent, in a batch that is locked. What may have arrived becomes `unknown`.

    Returns:
        Ids of the deliveries that are marked as being sent: their attempts go to their end and are the last.
    """
    # nothing in it waits any longer: if we die before it has its status, the sweep finds it with its wave
    values = {"cancelled_at": func.coalesce(batches.c.cancelled_at, action.at), "let_go": False}
    connection.execute(update(batches).where(batches.c.id == batch_id).values(**values))
    open_ones = connection.execute(
        select(deliveries.c.id, deliveries.c.state, deliveries.c.in_doubt)
        .where(deliveries.c.batch_id == batch_id)
        .where(deliveries.c.state.in_(OPEN))
        .order_by(deliveries.c.index)
        .with_for_update()
    ).all()
    for row in open_ones:
        if row.state == DeliveryState.SENDING:
            continue
        state = cancelled_state(in_doubt=row.in_doubt)
        values = {
            "state": state, "finished_at": action.at, "waits_for": None, "next_attempt_at": None, "worker_id": None,
        }  # fmt: skip
        connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(**values))
    return [row.id for row in open_ones if row.state == DeliveryState.SENDING]
