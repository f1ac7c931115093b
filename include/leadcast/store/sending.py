"""The outbox as those have it who send: what is due is taken for a time, by receiver, and then marked.

Whoever takes a row has it alone for longer than sending it can take, and holds no lock meanwhile. One who dies leaves
it to others. A receiver that does not answer is left alone for a while by all processes; how many rows wait for it
costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    literal_column,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy import Row as Found
from sqlalchemy.sql.selectable import LateralFromClause

from leadcast.store import receivers
from leadcast.store.outbox import OutboxState
from leadcast.store.paces import PACES, Channel
from leadcast.store.schema import notifications, places

_LOOKED_AT = 50
"""So many rows of each host are looked at, those that have been due for longest."""
# as the index has it, not as a parameter that the planner may know nothing of
_IS_PENDING = notifications.c.state == literal_column(f"'{OutboxState.PENDING}'")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing to be told, taken.

    attempts: with the one that it was taken for.
    host, place: its receiver's (`store.receivers`).
    has_failed, host_has_failed: it was left alone before.
    """

    id: int
    key: str
    batch_id: str | None
    channel: Channel
    host: str
    place: str
    occasion: str
    sequence: int | None
    reason: str
    attempts: int
    has_failed: bool = False
    host_has_failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a look into the outbox has brought.

    rows: taken; their attempt is counted.
    given_up: no attempt was left, since the last one was never ended.
    """

    rows: list[Row]
    given_up: list[Row]

    def __bool__(self) -> bool:
        return bool(self.rows or self.given_up)


def take(
    connection: Connection, channel: Channel, *, now: datetime, busy: Collection[str], limit: int, try_s: float
) -> Taken:
    """Takes what is due in a channel: for each receiver the first row, those that were queued first first.

    The attempts are counted before they are made: whatever becomes of the process, no row is at once due again.

    Args:
        busy: places and hosts that get nothing now.
        limit: how many rows at most.
        try_s: how long the sending of one may take.

    Returns:
        Nothing only where nothing is due.
    """
    taken = Taken(rows=[], given_up=[])
    while not taken:
        found = connection.execute(_due(channel, now=now, busy=busy).limit(limit)).all()
        if not found:
            break
        # what another has taken since is looked for no more, but what came after it is
        for row in (_row(each) for each in found):
            if _begin(connection, row, now=now, try_s=try_s):
                (taken.rows if _has_attempt(row) else taken.given_up).append(row)
    return taken


def _has_attempt(row: Row) -> bool:
    return row.attempts <= PACES[row.channel].max_attempts


def _begin(connection: Connection, row: Row, *, now: datetime, try_s: float) -> bool:
    """Whether it is ours: of two who count the same attempt, only one does."""
    values: dict[str, Any]
    if _has_attempt(row):
        lease = timedelta(seconds=PACES[row.channel].lease_s(row.attempts, try_s=try_s))
        values = {"attempts": row.attempts, "next_attempt_at": now + lease}
    else:
        values = {**_given_up(now), "error": "The process that sent it died, the last time as well."}
    its_own = and_(notifications.c.id == row.id, notifications.c.attempts == row.attempts - 1, _IS_PENDING)
    return connection.execute(update(notifications).where(its_own).values(values)).rowcount > 0


def _due(channel: Channel, *, now: datetime, busy: Collection[str]) -> Select[Any]:
    hosts, at_host = _hosts(channel), places.alias("at_host")
    host = hosts.c.host
    due = _due_at(hosts, channel, now=now, busy=busy)
    is_tried = at_host.c.failures.is_not(None)
    # one row only tries whether a host is back
    turn = case((is_tried, host), else_=due.c.place)
    first = (
        select(
            func.min(due.c.id).label("id"),
            func.bool_or(due.c.has_failed).label("has_failed"),
            func.bool_or(is_tried).label("host_has_failed"),
        )
        .select_from(hosts)
        .outerjoin(at_host, and_(at_host.c.channel == channel, at_host.c.place == host))
        .join(due, true())
        .where(host.is_not(None), host.not_in(busy), receivers.rests(at_host, channel, now=now).is_not(True))
        .group_by(host, turn)
        .subquery()
    )
    chosen = notifications.join(first, first.c.id == notifications.c.id)
    found = select(notifications, first.c.has_failed, first.c.host_has_failed)
    return found.select_from(chosen).order_by(notifications.c.id)


def _hosts(channel: Channel) -> CTE:
    """The hosts of all that waits, found one after the other in the index, however much waits for each."""
    waits = and_(_IS_PENDING, notifications.c.channel == channel)
    hosts = select(func.min(notifications.c.host).label("host")).where(waits).cte("hosts", recursive=True)
    next_one = select(func.min(notifications.c.host)).where(waits, notifications.c.host > hosts.c.host)
    return hosts.union_all(select(next_one.scalar_subquery()).where(hosts.c.host.is_not(None)))


def _due_at(hosts: CTE, channel: Channel, *, now: datetime, busy: Collection[str]) -> LateralFromClause:
    """What is due at a host, for those there who are not left alone. One is due, too, that is to wait for longer than
    any pause of its channel: the clock has been put back since."""
    next_at, longest = notifications.c.next_attempt_at, timedelta(seconds=PACES[channel].longest_pause_s)
    at_place = places.alias("at_place")
    its_place = and_(at_place.c.channel == channel, at_place.c.place == notifications.c.place)
    has_failed = at_place.c.failures.is_not(None).label("has_failed")
    found = select(notifications.c.id, notifications.c.place, has_failed)
    found = found.select_from(notifications.outerjoin(at_place, its_place)).where(
        _IS_PENDING,
        notifications.c.channel == channel,
        notifications.c.host == hosts.c.host,
        notifications.c.place.not_in(busy),
        receivers.rests(at_place, channel, now=now).is_not(True),
    )

    def among(is_due: ColumnElement[bool]) -> Select[Any]:
        first = found.where(is_due).order_by(next_at, notifications.c.id).limit(_LOOKED_AT)
        return select(first.correlate(hosts).subquery())

    due = union_all(among(next_at <= now), among(next_at > now + longest)).subquery()
    return select(due).lateral("due")


def _row(found: Found[Any]) -> Row:
    return Row(
        id=found.id,
        key=found.key,
        batch_id=found.batch_id,
        channel=Channel(found.channel),
        host=found.host,
        place=found.place,
        occasion=found.occasion,
        sequence=found.sequence,
        reason=found.payload.get("reason", ""),
        attempts=found.attempts + 1,
        has_failed=found.has_failed,
        host_has_failed=found.host_has_failed,
    )


def sent(connection: Connection, row: Row, *, now: datetime) -> None:
    """Marks the row as sent: nobody sends it again."""
    _mark(connection, notifications.c.id == row.id, {"state": OutboxState.SENT, "sent_at": now, "error": None})


def not_sent(connection: Connection, row: Row, *, error: str, next_at: datetime | None, now: datetime) -> None:
    """The row could not go out. `next_at`: when it is tried again; None: it is given up."""
    values = {"next_attempt_at": next_at} if next_at is not None else _given_up(now)
    # one who was held up for so long that another has taken it since has nothing to say of it
    its_own = and_(notifications.c.id == row.id, notifications.c.attempts == row.attempts)
    _mark(connection, its_own, {**values, "error": error[:500]})


def _given_up(now: datetime) -> dict[str, Any]:
    # there is no next attempt: since when there is none
    return {"state": OutboxState.DEAD, "next_attempt_at": now}


def _mark(connection: Connection, chosen: ColumnElement[bool], values: dict[str, Any]) -> None:
    connection.execute(update(notifications).where(chosen, _IS_PENDING).values(values))
