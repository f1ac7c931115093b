"""Deliveries' rows, locked, and what all who write them write alike."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from leadcast.core.errors import DeliveryError, StoreError
from leadcast.core.model import WAITING, AttemptOutcome, DeliveryState
from leadcast.store.batches.waiting import begun_at
from leadcast.store.lease import end_if_over, held_s, taken_s
from leadcast.store.schema import attempts, batches, deliveries

_RENEWED_S = 5.0
"""When to look again at what was renewed in the moment when it was to be taken over."""


class HeldByAnother(Exception):  # noqa: N818 - the same as `Postponed`: not an error, but how it stands
    """Another attempt of the delivery is on its way, or has been made since it was looked at.

    Args:
        left_s: how many seconds it has at least until anybody may take over; 0: it has ended.
    """

    def __init__(self, left_s: float) -> None:
        super().__init__("Another attempt of this delivery is still on its way.")
        self.left_s = left_s


def locked_rows(connection: Connection, delivery_ids: Collection[str]) -> dict[str, Row[Any]]:
    """The rows of deliveries, locked until the transaction ends, each with what is known of its lead and its batch.

    Raises:
        StoreError: there is no such delivery.
    """
    found = connection.execute(
        select(
            deliveries,
            batches.c.lead_id,
            batches.c.lead,
            batches.c.accepted_at,
            batches.c.erased_at,
            batches.c.cancelled_at,
            begun_at().label("begun_at"),
            held_s().label("held_s"),
            taken_s().label("taken_s"),
        )
        .join(batches, deliveries.c.batch_id == batches.c.id)
        .where(deliveries.c.id.in_(delivery_ids))
        .order_by(deliveries.c.id)
        .with_for_update(of=deliveries)
    )
    rows = {row.id: row for row in found}
    for delivery_id in delivery_ids:
        if delivery_id not in rows:
            raise StoreError(f"The ledger has no delivery {delivery_id!r}.")
    return rows


def locked_row(connection: Connection, delivery_id: str) -> Row[Any]:
    """The same of one."""
    return locked_rows(connection, [delivery_id])[delivery_id]


def free_row(connection: Connection, delivery_id: str, *, worker_id: int | None = None) -> Row[Any]:
    """A delivery's row, locked, for who is to work on it. Whoever was sending it is dead from here on.

    Args:
        worker_id: of the process that is to work on it, which may have taken it.

    Raises:
        HeldByAnother: somebody who may live is sending it, or has taken it.
        StoreError: there is no such delivery.
    """
    row = locked_row(connection, delivery_id)
    ensure_free(connection, row, worker_id=worker_id)
    return row


def ensure_free(connection: Connection, row: Row[Any], *, worker_id: int | None = None) -> None:
    """Whoever was sending this locked delivery is dead from here on, and can change nothing.

    Raises:
        HeldByAnother: he may live; or another process than this worker has taken it, and will send it.
    """
    if row.taken_s is not None and row.taken_s > 0 and row.worker_id != worker_id:
        raise HeldByAnother(0.0)
    if row.held_s is not None and row.held_s > 0:
        raise HeldByAnother(float(row.held_s))
    if row.state == DeliveryState.SENDING and not end_if_over(connection, row.worker_id):
        raise HeldByAnother(_RENEWED_S)


def lost_rows(connection: Connection, delivery_ids: Collection[str]) -> list[Row[Any]]:
    """Of these deliveries, locked until the transaction ends: the rows of those that a process had taken, or was
    sending, which is dead from here on."""
    rows: list[Row[Any]] = []
    for row in locked_rows(connection, delivery_ids).values():
        is_had = row.state == DeliveryState.SENDING or row.worker_id is not None
        is_final = DeliveryState(row.state).is_final
        lives = (row.held_s or 0) > 0 or (row.taken_s or 0) > 0
        if is_had and not is_final and not lives and end_if_over(connection, row.worker_id):
            rows.append(row)
    return rows


def untaken_rows(connection: Connection, delivery_ids: Collection[str]) -> list[Row[Any]]:
    """Of these deliveries, locked until the transaction ends: the rows of those that are to be sent and that no process
    has."""
    rows = locked_rows(connection, delivery_ids).values()
    return [row for row in rows if row.state in WAITING and not (row.taken_s or 0) > 0]


def round_of(row: Row[Any], *, now: datetime) -> tuple[int, datetime]:
    """How many tries this round has had, and since when it goes. The first attempt begins one, and so does a person who
    starts again what has ended."""
    if begins_round(DeliveryState(row.state)):
        return 0, now
    return row.tries, row.round_at or now


def begins_round(state: DeliveryState) -> bool:
    """Whether an attempt that finds a delivery so is the first one of a round."""
    return state in (DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.UNKNOWN)


def mark_died(connection: Connection, delivery_ids: Collection[str], *, now: datetime) -> None:
    """Writes down that the attempts which were running have died."""
    connection.execute(
        update(attempts)
        .where(attempts.c.delivery_id.in_(delivery_ids), attempts.c.outcome == AttemptOutcome.RUNNING)
        .values(
            outcome=AttemptOutcome.DIED,
            message="Nothing was heard of its process for as long as its lease lasts.",
            finished_at=now,
        )
    )


def error_as_json(error: DeliveryError) -> dict[str, Any]:
    """An error as the ledger keeps it and the API shows it."""
    return {
        "class": type(error).__name__,
        "code": error.code,
        "message": error.message,
        "detail": error.detail,
        "may_pass": error.may_pass,
    }
