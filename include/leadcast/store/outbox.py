"""The outbox: a row for everything that people, hooks and callers are to be told, written with the status itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.setting_choices import Occasion
from leadcast.core.settings import Settings
from leadcast.store import events
from leadcast.store.paces import Channel
from leadcast.store.receivers import EVERYBODY, Receiver
from leadcast.store.schema import batches, notifications
from leadcast.store.schema import events as events_table

_WHATEVER_THE_CLOCK = datetime.fromtimestamp(0, UTC)
"""When a row is due that has not been tried: a clock that is put back later holds it up no more."""


class OutboxState(StrEnum):
    """Whether a row of the outbox has still to go out.

    `dead`: given up after many attempts, or since it can never pass. `erased`: its receiver's address was erased before
    it had gone out.
    """

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    ERASED = "erased"


@dataclass(frozen=True, kw_only=True)
class New:
    """A row for the outbox: one thing to be told to one receiver.

    key: unique: the same thing is never queued twice.
    reason: why the batch could not be run, when it could not.
    receiver: which of the channel's it goes to.
    """

    key: str
    batch_id: str | None
    channel: Channel
    occasion: str
    reason: str = ""
    receiver: Receiver = EVERYBODY


def channels(settings: Settings, occasion: Occasion) -> Iterator[Channel]:
    """How people are told of this: as the settings say; a notifier stands instead of e-mail."""
    if occasion not in settings.notify_on:
        return
    if settings.notifier:
        yield Channel.NOTIFIER
    elif settings.notify_emails:
        yield Channel.EMAIL


def queue(connection: Connection, new: New, *, now: datetime) -> None:
    """Queues a row that tells of no event, due at once, unless one with this key was queued before."""
    _insert(connection, [_values(new, now=now)])


def queue_event(connection: Connection, batch_id: str, rows: Sequence[New], *, now: datetime) -> None:
    """Queues what tells of how a batch stands now, and writes that down with it, once for all of these rows. Those that
    were queued before tell of an event before. The batch is locked."""
    keys = select(notifications.c.key).where(notifications.c.key.in_([row.key for row in rows]))
    known = set(connection.execute(keys).scalars())
    fresh = [row for row in rows if row.key not in known]
    if fresh:
        sequence = events.write(connection, batch_id, now=now)
        _insert(connection, [{**_values(row, now=now), "sequence": sequence} for row in fresh])


def _insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    connection.execute(insert(notifications).values(rows).on_conflict_do_nothing(index_elements=[notifications.c.key]))


def _values(new: New, *, now: datetime) -> dict[str, Any]:
    return {
        "key": new.key,
        "batch_id": new.batch_id,
        "channel": new.channel,
        "host": new.receiver.host,
        "place": new.receiver.place,
        "occasion": new.occasion,
        "payload": {"reason": new.reason},
        "state": OutboxState.PENDING,
        "created_at": now,
        "next_attempt_at": _WHATEVER_THE_CLOCK,
    }


GIVEN_UP_SHOWN_FOR = timedelta(days=7)
"""What was given up longer ago has been seen, or will not be."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Rows of one channel that could not go out. `error`: why, of one of them."""

    channel: Channel
    is_given_up: bool
    count: int
    error: str


# not one that is being sent for the first time
_IS_TRIED_AGAIN = (notifications.c.state == OutboxState.PENDING) & notifications.c.error.is_not(None)


def troubles(connection: Connection, *, now: datetime) -> list[Trouble]:
    """What could not go out: given up of late, or to be tried again."""
    given_up = (notifications.c.state == OutboxState.DEAD) & notifications.c.error.is_not(None)
    of_late = given_up & (notifications.c.next_attempt_at > now - GIVEN_UP_SHOWN_FOR)
    found = [
        Trouble(channel=Channel(row.channel), is_given_up=is_given_up, count=row.rows, error=row.error)
        for is_given_up, chosen in ((False, _IS_TRIED_AGAIN), (True, of_late))
        for row in connection.execute(_by_channel(chosen))
    ]
    return sorted(found, key=lambda trouble: trouble.channel)


def _by_channel(chosen: ColumnElement[bool]) -> Select[Any]:
    count, error = func.count().label("rows"), func.max(notifications.c.error).label("error")
    return select(notifications.c.channel, count, error).where(chosen).group_by(notifications.c.channel)


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


def lacking(
    connection: Connection, *, batch_ids: Sequence[str], channel: Channel, occasions: Collection[str]
) -> set[str]:
    """Those of these batches of whose last event one of these occasions is not in the outbox."""
    if not batch_ids or not occasions:
        return set()
    its_events = select(func.max(events_table.c.sequence)).where(events_table.c.batch_id == batches.c.id)
    last = its_events.correlate(batches).scalar_subquery()
    found = select(batches.c.id).where(batches.c.id.in_(batch_ids))
    queued = [
        exists().where(
            notifications.c.batch_id == batches.c.id,
            notifications.c.channel == channel,
            notifications.c.occasion == occasion,
            notifications.c.sequence == last,
        )
        for occasion in sorted(occasions)
    ]
    return set(connection.execute(found.where(~and_(*queued))).scalars())
