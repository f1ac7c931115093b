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
    delete,
    false,
    func,
    literal_column,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy import Row as Found
from sqlalchemy.dialects.postgresql import insert

from leadcast.store.outbox import OutboxState
from leadcast.store.paces import PACES, Channel
from leadcast.store.schema import notifications, places

FIRST_REST_S = 30.0
LONGEST_REST_S = 300.0
"""How long a receiver is left alone that has not answered: twice as long each time, up to this."""
_LOOKED_AT = 50
"""Of so many that have been due for longest, a receiver gets the one that was queued first."""
# as the index has it, not as a parameter that the planner may know nothing of
_IS_PENDING = notifications.c.state == literal_column(f"'{OutboxState.PENDING}'")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing to be told, taken.

    attempts: with the one that it was taken for.
    has_failed: its receiver was left alone before.
    """

    id: int
    key: str
    batch_id: str | None
    channel: Channel
    place: str
    occasion: str
    sequence: int | None
    reason: str
    attempts: int
    has_failed: bool = False


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
        busy: receivers that get nothing now.
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
        values = {"state": OutboxState.DEAD, "error": "The process that sent it died, the last time as well."}
    its_own = and_(notifications.c.id == row.id, notifications.c.attempts == row.attempts - 1, _IS_PENDING)
    return connection.execute(update(notifications).where(its_own).values(values)).rowcount > 0


def _due(channel: Channel, *, now: datetime, busy: Collection[str]) -> Select[Any]:
    known = _known(channel)
    first = _first_of(known, channel, now=now).lateral("first")
    longest = timedelta(seconds=LONGEST_REST_S)
    rests = and_(places.c.rests_until > now, places.c.rests_until <= now + longest)
    its_place = and_(places.c.channel == channel, places.c.place == known.c.place)
    return (
        select(notifications, func.coalesce(places.c.failures > 0, false()).label("has_failed"))
        .select_from(known)
        .outerjoin(places, its_place)
        .join(first, true())
        .join(notifications, notifications.c.id == first.c.id)
        .where(known.c.place.is_not(None), known.c.place.not_in(busy), rests.is_not(True))
        .order_by(notifications.c.id)
    )


def _known(channel: Channel) -> CTE:
    """The receivers of all that waits, found one after the other in the index, however much waits for each."""
    waits = and_(_IS_PENDING, notifications.c.channel == channel)
    known = select(func.min(notifications.c.place).label("place")).where(waits).cte("known", recursive=True)
    next_one = select(func.min(notifications.c.place)).where(waits, notifications.c.place > known.c.place)
    return known.union_all(select(next_one.scalar_subquery()).where(known.c.place.is_not(None)))


def _first_of(known: CTE, channel: Channel, *, now: datetime) -> Select[Any]:
    """The row that is one receiver's turn. One is due, too, that is to wait for longer than any pause of its channel:
    the clock has been put back since."""
    longest = timedelta(seconds=PACES[channel].longest_pause_s)

    def among(is_due: ColumnElement[bool]) -> Select[Any]:
        waits = and_(_IS_PENDING, notifications.c.channel == channel, notifications.c.place == known.c.place)
        order = (notifications.c.next_attempt_at, notifications.c.id)
        found = select(notifications.c.id).where(waits, is_due).order_by(*order).limit(_LOOKED_AT)
        return select(found.correlate(known).subquery().c.id)

    next_at = notifications.c.next_attempt_at
    due = union_all(among(next_at <= now), among(next_at > now + longest)).subquery()
    return select(due.c.id).order_by(due.c.id).limit(1)


def _row(found: Found[Any]) -> Row:
    return Row(
        id=found.id,
        key=found.key,
        batch_id=found.batch_id,
        channel=Channel(found.channel),
        place=found.place,
        occasion=found.occasion,
        sequence=found.sequence,
        reason=found.payload.get("reason", ""),
        attempts=found.attempts + 1,
        has_failed=found.has_failed,
    )


def sent(connection: Connection, row: Row, *, now: datetime) -> None:
    """The row went out."""
    _mark(connection, notifications.c.id == row.id, {"state": OutboxState.SENT, "sent_at": now, "error": None})


def not_sent(connection: Connection, row: Row, *, error: str, next_at: datetime | None) -> None:
    """The row could not go out. `next_at`: when it is tried again; None: it is given up."""
    values: dict[str, Any] = {"error": error[:500]}
    values |= {"state": OutboxState.DEAD} if next_at is None else {"next_attempt_at": next_at}
    # one who was held up for so long that another has taken it since has nothing to say of it
    _mark(connection, and_(notifications.c.id == row.id, notifications.c.attempts == row.attempts), values)


def _mark(connection: Connection, chosen: ColumnElement[bool], values: dict[str, Any]) -> None:
    connection.execute(update(notifications).where(chosen, _IS_PENDING).values(values))


def leave_alone(connection: Connection, row: Row, *, now: datetime) -> None:
    """The row's receiver has not answered. Others who find the same at the same time make it no longer."""
    first = {"failures": 1, "rests_until": now + timedelta(seconds=FIRST_REST_S)}
    rest_s = func.least(FIRST_REST_S * func.power(2, func.least(places.c.failures, 16)), LONGEST_REST_S)
    again = {
        "failures": places.c.failures + 1,
        "rests_until": now + func.make_interval(0, 0, 0, 0, 0, 0, rest_s),
    }
    rests = and_(places.c.rests_until > now, places.c.rests_until <= now + timedelta(seconds=LONGEST_REST_S))
    connection.execute(
        insert(places)
        .values(channel=row.channel, place=row.place, **first)
        .on_conflict_do_update(index_elements=[places.c.channel, places.c.place], set_=again, where=~rests)
    )


def has_answered(connection: Connection, row: Row) -> None:
    """The row's receiver is back."""
    connection.execute(delete(places).where(places.c.channel == row.channel, places.c.place == row.place))


def forget_places(connection: Connection, *, before: datetime) -> None:
    """Drops what is known of receivers that could have been asked again before then, and were not: nothing is left for
    them."""
    connection.execute(delete(places).where(places.c.rests_until < before))
