"""What is to be sent, as it stands before an attempt: looked at, or postponed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, update

from leadcast.core.errors import DeliveryError
from leadcast.core.model import DeliveryState, ManualAction
from leadcast.store.batches import rounds
from leadcast.store.batches.ledger.rows import (
    HeldByAnother,
    begins_round,
    ensure_free,
    error_as_json,
    free_row,
    locked_rows,
    mark_died,
    round_of,
)
from leadcast.store.schema import deliveries


@dataclass(frozen=True, kw_only=True)
class Due:
    """A delivery that is to be sent. `tries`: attempts that count, before this one."""

    delivery_id: str
    type: str
    state: DeliveryState
    credentials_sealed: str | None
    settings: Mapping[str, Any]
    tries: int
    round_at: datetime
    batch_id: str
    error_code: str
    waits_for: str
    next_attempt_at: datetime | None
    attempts: int
    epoch: int
    """The fencing token of the last attempt."""
    last_clear: str
    """Which clear of its task it was last begun for; empty: none."""
    age_counts_from: datetime
    """When it was accepted, or a person last wanted it sent."""
    is_erased: bool
    is_cancelled: bool
    is_taken: bool
    """This process has taken it from its lane."""
    begun_at: datetime | None
    """When the first attempt of its round has begun. None has of one that was only put off so far."""


def due(connection: Connection, delivery_id: str, *, now: datetime) -> Due | None:
    """One delivery as it stands. None: it is delivered or cancelled, nothing is to be sent.

    Raises:
        HeldByAnother: somebody is sending it.
        StoreError: there is no such delivery.
    """
    found = due_all(connection, [delivery_id], now=now)[delivery_id]
    if isinstance(found, HeldByAnother):
        raise found
    return found


def due_all(
    connection: Connection, delivery_ids: Collection[str], *, now: datetime, worker_id: int | None = None
) -> dict[str, Due | HeldByAnother | None]:
    """Deliveries as they stand: None, it is delivered or cancelled; or that somebody is sending it, or is about to.

    Args:
        worker_id: of this process, which may have taken them; None: it takes none.

    Raises:
        StoreError: there is no such delivery.
    """
    return {
        delivery_id: _due(connection, row, now=now, worker_id=worker_id)
        for delivery_id, row in locked_rows(connection, delivery_ids).items()
    }


def _due(connection: Connection, row: Row[Any], *, now: datetime, worker_id: int | None) -> Due | HeldByAnother | None:
    try:
        ensure_free(connection, row, worker_id=worker_id)
    except HeldByAnother as held:
        return held
    state = DeliveryState(row.state)
    if not state.may_become(DeliveryState.SENDING):
        return None
    tries, round_at = round_of(row, now=now)
    return Due(
        delivery_id=row.id,
        type=row.type,
        state=state,
        credentials_sealed=row.credentials_sealed,
        settings=row.settings,
        tries=tries,
        round_at=round_at,
        batch_id=row.batch_id,
        error_code=(row.error or {}).get("code", ""),
        waits_for=row.waits_for or "",
        next_attempt_at=row.next_attempt_at,
        attempts=row.attempts,
        epoch=row.epoch,
        last_clear=row.asked or "",
        age_counts_from=row.asked_at or row.accepted_at,
        is_erased=row.erased_at is not None,
        is_cancelled=row.cancelled_at is not None,
        is_taken=worker_id is not None and row.worker_id == worker_id,
        begun_at=None if begins_round(state) else row.begun_at,
    )


def has_ended_since(row: Row[Any], seen: Due) -> bool:
    """Whether somebody has ended it, or cancelled its batch, since it was looked at. It may be `unknown` now, and
    a new attempt would begin a new round that nobody has asked for.

    Raises:
        HeldByAnother: an attempt was made since, or the one that was on its way then, and taken for dead, has ended:
            it has said what is to become of the delivery.
    """
    state = DeliveryState(row.state)
    was_on_its_way = seen.state is DeliveryState.SENDING and state is not DeliveryState.SENDING
    if was_on_its_way or row.epoch != seen.epoch:
        raise HeldByAnother(0.0)
    has_ended = state in (DeliveryState.FAILED, DeliveryState.UNKNOWN) and state is not seen.state
    return has_ended or (row.cancelled_at is not None and not seen.is_cancelled)


def postpone(
    connection: Connection,
    item: Due,
    *,
    account: str,
    error: DeliveryError,
    waits_for: str,
    until: datetime,
    decided: bool,
    now: datetime,
    action: ManualAction | None = None,
    worker_id: int | None = None,
) -> bool:
    """Lets a delivery wait before an attempt has begun. False: it has ended meanwhile.

    Args:
        waits_for: empty: its own run comes back to it.
        decided: a person has started again what was `unknown`, and the service cannot be asked: it may be sent.
        action: a person wants this attempt; whoever makes it later does so for him.
        worker_id: of this process, if it has taken it.

    Raises:
        HeldByAnother: somebody has begun it meanwhile.
    """
    row = free_row(connection, item.delivery_id, worker_id=worker_id)
    if not DeliveryState(row.state).may_become(DeliveryState.RETRYING) or has_ended_since(row, item):
        return False
    if item.state is DeliveryState.SENDING:
        mark_died(connection, [item.delivery_id], now=now)
    values: dict[str, Any] = {
        "state": DeliveryState.RETRYING,
        "worker_id": None,
        "tries": item.tries,
        "round_at": item.round_at,
        "account": account,
        "waits_for": waits_for or None,
        "next_attempt_at": until,
        "finished_at": None,
        "error": error_as_json(error),
    }
    if action is not None:
        values["asked_at"] = action.at
        rounds.count_manual_action(connection, batch_id=item.batch_id)
    if decided:
        values["in_doubt"] = False
    connection.execute(update(deliveries).where(deliveries.c.id == item.delivery_id).values(**values))
    return True
