"""The outbox: a row for everything that people, hooks and callers are to be told, written with the status itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.settings import Occasion, Settings
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
    """How often, and for how long, a row of one channel is tried.

    pauses_s: the pause after each attempt but the last; so there is one attempt more than pauses.
    jitter: by how much of itself a pause is lengthened at most, by chance, so that many rows do not come back at once.
    longest_s: how long one attempt may take.
    """

    pauses_s: Sequence[float]
    jitter: float = 0.0
    longest_s: float = 15.0

    @property
    def max_attempts(self) -> int:
        """After so many, a row is given up."""
        return len(self.pauses_s) + 1

    @property
    def longest_pause_s(self) -> float:
        """No row waits for longer than this, whatever the receiver asks for."""
        return max(self.pauses_s) * (1 + self.jitter)

    def pause_s(self, attempt: int, *, asked_s: float = 0.0, chance: float = 0.0) -> float:
        """The pause after an attempt, 1 for the first.

        Args:
            asked_s: how long the receiver asks to be left alone.
            chance: from 0 to below 1.
        """
        planned_s = self.pauses_s[min(attempt, len(self.pauses_s)) - 1]
        return min(max(planned_s, asked_s) * (1 + self.jitter * chance), self.longest_pause_s)


def _growing(longest_s: float, *, attempts: int) -> tuple[float, ...]:
    return tuple(min(30.0 * 2.0 ** min(number, 16), longest_s) for number in range(attempts - 1))


_HOUR_S = 3600.0
_THREE_DAYS = _growing(_HOUR_S, attempts=80)
PACES: Mapping[Channel, Pace] = {
    # written as soon as the user's database is back, and asked for a week: writing it again does no harm
    Channel.LEAD_STATUS: Pace(pauses_s=_growing(300, attempts=2016), longest_s=25),
    Channel.EMAIL: Pace(pauses_s=_THREE_DAYS, longest_s=60),
    Channel.NOTIFIER: Pace(pauses_s=_THREE_DAYS),
    Channel.HOOK: Pace(pauses_s=_THREE_DAYS, longest_s=10),
    # what Standard Webhooks advise (vendors.md 4.2)
    Channel.CALLBACK_URL: Pace(
        pauses_s=(5, 300, 1800, *(hours * _HOUR_S for hours in (2, 5, 10, 14, 20, 24))), jitter=0.1
    ),
}
"""How each channel goes out, in the order in which they are served: people before programs."""


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


def channels(settings: Settings, occasion: Occasion) -> Iterator[Channel]:
    """How people are told of this: as the settings say; a notifier stands instead of e-mail."""
    if occasion not in settings.notify_on:
        return
    if settings.notifier:
        yield Channel.NOTIFIER
    elif settings.notify_emails:
        yield Channel.EMAIL


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


def take(connection: Connection, channel: Channel, *, now: datetime, after_id: int = 0) -> Row | None:
    """The next due row of a channel with an id above `after_id`.

    It is locked until the transaction ends; others step over it. One that has not been tried is due, and so is one that
    is to wait for longer than any pause of its channel is: the clock has been put back since.
    """
    longest = timedelta(seconds=PACES[channel].longest_pause_s)
    next_at = notifications.c.next_attempt_at
    row = connection.execute(
        select(notifications)
        .where(notifications.c.state == OutboxState.PENDING, notifications.c.channel == channel)
        .where(or_(next_at <= now, next_at > now + longest, notifications.c.attempts == 0))
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


def begin(connection: Connection, row: Row, *, now: datetime) -> Row | None:
    """Counts an attempt, before it is made: whatever becomes of the process, the row is not at once due again.

    Returns:
        The row as it is now; None where no attempt is left, since the last one was never ended: it is given up.
    """
    pace = PACES[row.channel]
    values: dict[str, Any]
    if row.attempts >= pace.max_attempts:
        values = {"state": OutboxState.DEAD, "error": "The process that sent it died, the last time as well."}
        begun = None
    else:
        begun = replace(row, attempts=row.attempts + 1)
        values = {
            "attempts": begun.attempts,
            "next_attempt_at": now + timedelta(seconds=pace.pause_s(begun.attempts)),
        }
    connection.execute(update(notifications).where(notifications.c.id == row.id).values(values))
    return begun


def hold(connection: Connection, row: Row) -> bool:
    """Locks a row that was begun until the transaction ends. False: another has begun it since, or has ended it."""
    # it waits: whoever looked for a row just before this one was begun may have locked it, and then stepped over it
    found = connection.execute(
        select(notifications.c.id)
        .where(notifications.c.id == row.id, notifications.c.attempts == row.attempts)
        .where(notifications.c.state == OutboxState.PENDING)
        .with_for_update()
    )
    return found.one_or_none() is not None


def sent(connection: Connection, row: Row, *, now: datetime) -> None:
    """The row went out."""
    connection.execute(
        update(notifications)
        .where(notifications.c.id == row.id)
        .values(state=OutboxState.SENT, sent_at=now, error=None)
    )


def not_sent(connection: Connection, row: Row, *, error: str, next_at: datetime | None) -> None:
    """The row could not go out. `next_at`: when it is tried again; None: it is given up."""
    values: dict[str, Any] = {"error": error[:500]}
    values |= {"state": OutboxState.DEAD} if next_at is None else {"next_attempt_at": next_at}
    connection.execute(update(notifications).where(notifications.c.id == row.id).values(values))


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Rows of one channel that could not go out. `error`: why, of one of them."""

    channel: Channel
    is_given_up: bool
    count: int
    error: str


# not one that is being sent for the first time
_IS_TRIED_AGAIN = (notifications.c.state == OutboxState.PENDING) & notifications.c.error.is_not(None)


def troubles(connection: Connection) -> list[Trouble]:
    """What could not go out: given up, or to be tried again."""
    given_up = notifications.c.state == OutboxState.DEAD
    rows = connection.execute(
        select(notifications.c.channel, given_up, func.count(), func.max(notifications.c.error))
        .where(given_up | _IS_TRIED_AGAIN)
        .group_by(notifications.c.channel, given_up)
        .order_by(notifications.c.channel)
    )
    return [Trouble(channel=Channel(row[0]), is_given_up=row[1], count=row[2], error=row[3] or "") for row in rows]


def unsent(connection: Connection) -> dict[str, int]:
    """Channel of this installation → how many of its messages could not be sent, and are tried again.

    A `callback_url` is its caller's: one that does not answer says nothing of us.
    """
    rows = connection.execute(
        select(notifications.c.channel, func.count())
        .where(_IS_TRIED_AGAIN, notifications.c.channel != Channel.CALLBACK_URL)
        .group_by(notifications.c.channel)
    )
    return {row[0]: row[1] for row in rows}
