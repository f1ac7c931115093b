"""The outbox: a row for everything that people, hooks and callers are to be told, written with the status itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.store.schema import notifications

MAX_ATTEMPTS = 20
_FIRST_PAUSE_S = 30.0
_LONGEST_PAUSE_S = 3600.0


class Channel(StrEnum):
    """How a row goes out."""

    EMAIL = "email"
    NOTIFIER = "notifier"
    HOOK = "hook"
    CALLBACK_URL = "callback_url"


class OutboxState(StrEnum):
    """Where a row stands. `dead`: given up after 20 attempts."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing to be told. `key` is unique: the same thing is never queued twice."""

    id: int
    key: str
    batch_id: str | None
    channel: Channel
    occasion: str
    reason: str
    attempts: int


@dataclass(frozen=True, kw_only=True)
class New:
    """One thing to be told. `reason`: why the batch could not be run, when it could not."""

    key: str
    batch_id: str | None
    channel: Channel
    occasion: str
    reason: str = ""


def queue(connection: Connection, new: New) -> None:
    """Queues a row unless one with this key was queued before."""
    connection.execute(
        insert(notifications)
        .values(
            key=new.key,
            batch_id=new.batch_id,
            channel=new.channel,
            occasion=new.occasion,
            payload={"reason": new.reason},
            state=OutboxState.PENDING,
        )
        .on_conflict_do_nothing(index_elements=[notifications.c.key])
    )


def take(connection: Connection, *, now: datetime, after_id: int = 0) -> Row | None:
    """The next due row with an id above `after_id`, locked until the transaction ends; others step over it."""
    row = connection.execute(
        select(notifications)
        .where(notifications.c.state == OutboxState.PENDING, notifications.c.next_attempt_at <= now)
        .where(notifications.c.id > after_id)
        .order_by(notifications.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    return Row(
        id=row.id,
        key=row.key,
        batch_id=row.batch_id,
        channel=Channel(row.channel),
        occasion=row.occasion,
        reason=row.payload.get("reason", ""),
        attempts=row.attempts,
    )


def sent(connection: Connection, row: Row, *, now: datetime) -> None:
    """The row went out."""
    connection.execute(
        update(notifications)
        .where(notifications.c.id == row.id)
        .values(state=OutboxState.SENT, attempts=row.attempts + 1, sent_at=now, error=None)
    )


def not_sent(connection: Connection, row: Row, *, error: str, now: datetime, for_good: bool = False) -> None:
    """The row could not go out: later, after 30 s · 2ⁿ and at most an hour; `for_good`: never."""
    attempts = row.attempts + 1
    dead = for_good or attempts >= MAX_ATTEMPTS
    pause = timedelta(seconds=min(_FIRST_PAUSE_S * 2**row.attempts, _LONGEST_PAUSE_S))
    connection.execute(
        update(notifications)
        .where(notifications.c.id == row.id)
        .values(
            state=OutboxState.DEAD if dead else OutboxState.PENDING,
            attempts=attempts,
            error=error[:500],
            next_attempt_at=now + pause,
        )
    )
