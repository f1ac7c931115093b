"""The outbox: a row for everything that people, hooks and callers are to be told, written with the status itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.store.schema import notifications


class Channel(StrEnum):
    """How a row goes out."""

    EMAIL = "email"
    NOTIFIER = "notifier"
    HOOK = "hook"
    CALLBACK_URL = "callback_url"
    LEAD_STATUS = "lead_status"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often a row is tried: after 30 s · 2ⁿ and at most `longest_pause_s`, `max_attempts` times."""

    longest_pause_s: float = 3600
    max_attempts: int = 20


MAX_ATTEMPTS = Pace().max_attempts
_FIRST_PAUSE_S = 30.0
_PACES = {
    # written as soon as the user's database is back, and asked for a week: writing it again does no harm
    Channel.LEAD_STATUS: Pace(longest_pause_s=300, max_attempts=2016),
}


class OutboxState(StrEnum):
    """Where a row stands. `dead`: given up after many attempts, or since it can never pass."""

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


def queue(connection: Connection, new: New, *, now: datetime) -> None:
    """Queues a row, due at once, unless one with this key was queued before."""
    connection.execute(
        insert(notifications)
        .values(
            key=new.key,
            batch_id=new.batch_id,
            channel=new.channel,
            occasion=new.occasion,
            payload={"reason": new.reason},
            state=OutboxState.PENDING,
            next_attempt_at=now,
        )
        .on_conflict_do_nothing(index_elements=[notifications.c.key])
    )


def take(connection: Connection, *, now: datetime, after_id: int = 0, without: Collection[Channel] = ()) -> Row | None:
    """The next due row with an id above `after_id` and of no channel in `without`.

    It is locked until the transaction ends; others step over it.
    """
    row = connection.execute(
        select(notifications)
        .where(notifications.c.state == OutboxState.PENDING, notifications.c.next_attempt_at <= now)
        .where(notifications.c.id > after_id, notifications.c.channel.not_in(without))
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
    """The row could not go out: later, at the pace of its channel; `for_good`: never."""
    pace = _PACES.get(row.channel, Pace())
    attempts = row.attempts + 1
    dead = for_good or attempts >= pace.max_attempts
    pause = timedelta(seconds=min(_FIRST_PAUSE_S * 2 ** min(row.attempts, 16), pace.longest_pause_s))
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


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Rows of one channel that could not go out. `error`: why, of one of them."""

    channel: Channel
    is_given_up: bool
    count: int
    error: str


def troubles(connection: Connection) -> list[Trouble]:
    """What could not go out: given up, or to be tried again."""
    given_up = notifications.c.state == OutboxState.DEAD
    waits = (notifications.c.state == OutboxState.PENDING) & (notifications.c.attempts > 0)
    rows = connection.execute(
        select(notifications.c.channel, given_up, func.count(), func.max(notifications.c.error))
        .where(given_up | waits)
        .group_by(notifications.c.channel, given_up)
        .order_by(notifications.c.channel)
    )
    return [Trouble(channel=Channel(row[0]), is_given_up=row[1], count=row[2], error=row[3] or "") for row in rows]
