"""Lanes: what is due of each integration, and who takes it.

A delivery that is open is in the lane of its integration, and no run holds it there: the processes that send take what
is due, the urgent first, then the oldest, and have it for as long as their lease lasts. A task that has not begun holds
nothing, so a queue that stands still keeps nobody waiting but those who want it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from leadcast.core.model import WAITING, DeliveryState
from leadcast.store.batches.waiting import has_turn, is_left_alone
from leadcast.store.lease import held_s, taken_s
from leadcast.store.schema import batches, deliveries, lanes

_PLANNED = 0x1EADCA5A
ITS_RUN_FIRST = timedelta(seconds=30)
"""For so long what a run was triggered with is left to that run: people look for it there."""


@dataclass(frozen=True)
class Ref:
    """What is handed on of a delivery, through Airflow: small, and neither secret nor personal.

    has_ended: it is in no lane, and nobody but its task sends it.
    """

    delivery_id: str
    batch_id: str
    lead_id: str
    type: str
    has_ended: bool = False


def place(priority: int, *, rounds: int = 0) -> int:
    """The place in its lane (`deliveries.priority`) of what is of this priority: what the schedule sends again holds up
    nobody who comes first."""
    return 2 * priority + min(rounds, 1)


_IS_OPEN = deliveries.c.state.in_(WAITING)
_DUE_AT = func.coalesce(deliveries.c.next_attempt_at, deliveries.c.listed_at)
_IN_TURN = (deliveries.c.priority, _DUE_AT, deliveries.c.id)


def is_due(now: datetime) -> ColumnElement[bool]:
    """Whether a delivery is to be sent now, and nobody has taken it. One that waits for nothing is, whatever the clocks
    say."""
    is_time = or_(deliveries.c.next_attempt_at.is_(None), deliveries.c.next_attempt_at <= now)
    return and_(_IS_OPEN, deliveries.c.worker_id.is_(None), is_time, ~is_left_alone(now), has_turn())


def due(connection: Connection, kind: str, *, now: datetime, limit: int) -> list[Ref]:
    """What is due in a lane, in turn."""
    which = _refs().where(deliveries.c.type == kind, is_due(now)).order_by(*_IN_TURN).limit(limit)
    return _as_refs(connection, which)


def of_run(
    connection: Connection, *, run_id: str, own_batch_id: str | None, since: datetime | None, now: datetime
) -> list[Ref]:
    """What is a run's own, whoever waits in the lane: its request; and what has failed, or is unknown, in a batch of it
    that has ended: a person has started its plan again.

    Args:
        since: when the run was made. What had ended before is none of its.
    """
    has_ended = and_(batches.c.wave_id == run_id, batches.c.finished_at.is_not(None))
    if since is not None:
        has_ended = and_(has_ended, batches.c.finished_at >= since)
    again = and_(has_ended, deliveries.c.state.in_([DeliveryState.FAILED, DeliveryState.UNKNOWN]))
    is_new = and_(deliveries.c.state == DeliveryState.PENDING, deliveries.c.worker_id.is_(None))
    own = and_(batches.c.id == own_batch_id, or_(is_new, is_due(now)))
    in_order = batches.c.accepted_at, deliveries.c.batch_id, deliveries.c.index
    return _as_refs(connection, _refs(again.label("has_ended")).where(or_(again, own)).order_by(*in_order))


def _refs(*more: ColumnElement[bool]) -> Select[Any]:
    columns = deliveries.c.id, deliveries.c.batch_id, batches.c.lead_id, deliveries.c.type
    return select(*columns, *more).join(batches, batches.c.id == deliveries.c.batch_id)


def _as_refs(connection: Connection, which: Select[Any]) -> list[Ref]:
    return [Ref(*row) for row in connection.execute(which)]


def kinds(connection: Connection) -> list[str]:
    """The integrations of which something is open. From one to the next by the index: not through all that is."""
    first = select(deliveries.c.type).where(_IS_OPEN).order_by(deliveries.c.type).limit(1)
    found = select(first.scalar_subquery().label("type")).cte("found", recursive=True)
    following = first.where(deliveries.c.type > found.c.type).scalar_subquery()
    found = found.union_all(select(following).where(found.c.type.is_not(None)))
    return list(connection.execute(select(found.c.type).where(found.c.type.is_not(None))).scalars())


def take(
    connection: Connection,
    kind: str,
    *,
    worker_id: int,
    now: datetime,
    limit: int,
    are_doubtful: bool = False,
    due_for: timedelta = timedelta(0),
) -> list[tuple[str, str]]:
    """Takes what is due, so that no other process does. Its ids, each with that of its batch.

    Args:
        worker_id: of a process whose lease runs.
        are_doubtful: those with which a process has died, and no others.
        due_for: only what has been due for so long.
    """
    is_doubtful = deliveries.c.losses > 0 if are_doubtful else deliveries.c.losses == 0
    which = select(deliveries.c.id).where(deliveries.c.type == kind, is_due(now), is_doubtful)
    if due_for:
        which = which.where(now - due_for >= _DUE_AT)
    # not as a subquery, which PostgreSQL may run twice: one that locks rows is run once
    picked = which.order_by(*_IN_TURN).limit(limit).with_for_update(skip_locked=True).cte("picked")
    taken = update(deliveries).where(deliveries.c.id == picked.c.id).values(worker_id=worker_id)
    in_turn = (deliveries.c.priority, _DUE_AT.label("due_at"))
    rows = connection.execute(taken.returning(deliveries.c.id, deliveries.c.batch_id, *in_turn)).all()
    return [(row.id, row.batch_id) for row in sorted(rows, key=_turn)]


def _turn(row: Row[Any]) -> tuple[int, float, str]:
    # of a version that knew no `listed_at`
    return row.priority, row.due_at.timestamp() if row.due_at else 0.0, row.id


def take_these(connection: Connection, delivery_ids: Collection[str], *, worker_id: int) -> None:
    """Takes deliveries that are locked, and that nobody has."""
    these = deliveries.c.id.in_(delivery_ids), _IS_OPEN, deliveries.c.worker_id.is_(None)
    connection.execute(update(deliveries).where(*these).values(worker_id=worker_id))


def drop(connection: Connection, delivery_id: str, *, worker_id: int, until: datetime) -> None:
    """Lets others have what this worker has taken and could not begin: it is due again then."""
    mine = deliveries.c.id == delivery_id, deliveries.c.worker_id == worker_id, _IS_OPEN
    later = func.greatest(deliveries.c.next_attempt_at, until)
    connection.execute(update(deliveries).where(*mine).values(worker_id=None, next_attempt_at=later))


def abandoned(connection: Connection, *, limit: int) -> list[str]:
    """Ids of the deliveries that processes have taken, or were sending, which have died."""
    is_taken = and_(_IS_OPEN, deliveries.c.worker_id.is_not(None))
    lives = func.coalesce(held_s() > 0, taken_s() > 0, False)
    which = select(deliveries.c.id).where(or_(deliveries.c.state == DeliveryState.SENDING, is_taken), ~lives)
    return list(connection.execute(which.order_by(deliveries.c.id).limit(limit)).scalars())


# who waits for what, among the tasks


@dataclass(frozen=True)
class Lanes:
    """Lanes, as they stand.

    free: no other run has tasks for them that have not begun.
    still: another has had them for so long that their queues seem to stand still.
    """

    free: frozenset[str] = frozenset()
    still: frozenset[str] = frozenset()


STILL_AFTER = timedelta(minutes=1)


def lock(connection: Connection, kinds: Sequence[str], *, run_id: str, now: datetime) -> Lanes:
    """Locks lanes until the transaction ends."""
    if not kinds:
        return Lanes()
    connection.execute(select(func.pg_advisory_xact_lock(_PLANNED)))
    new = upsert(lanes).values([{"type": kind, "run_id": run_id, "waiting": 0} for kind in sorted(kinds)])
    connection.execute(new.on_conflict_do_nothing(index_elements=[lanes.c.type]))
    found = select(lanes).where(lanes.c.type.in_(kinds)).order_by(lanes.c.type).with_for_update()
    rows = connection.execute(found).all()
    taken = {row.type: row.planned_at for row in rows if row.waiting > 0 and row.run_id != run_id}
    still = {kind for kind, planned_at in taken.items() if now - planned_at > STILL_AFTER}
    return Lanes(free=frozenset(row.type for row in rows if row.type not in taken), still=frozenset(still))


def feed(connection: Connection, tasks: Mapping[str, int], *, run_id: str, now: datetime) -> None:
    """Notes how many tasks a run is to have for lanes that are locked."""
    for kind in sorted(tasks):
        values = {"run_id": run_id, "waiting": tasks[kind], "planned_at": now}
        connection.execute(update(lanes).where(lanes.c.type == kind).values(**values))


def begin(connection: Connection, kind: str, *, run_id: str) -> None:
    """A task of this run has begun: what comes from now on may want another."""
    its = lanes.c.type == kind, lanes.c.run_id == run_id, lanes.c.waiting > 0
    connection.execute(update(lanes).where(*its).values(waiting=lanes.c.waiting - 1))


def give_up(connection: Connection, *, run_id: str, kind: str = "") -> None:
    """None of this run's tasks is to begin any more. `kind`: of those for this lane."""
    its = select(lanes.c.type).where(lanes.c.run_id == run_id, lanes.c.waiting > 0)
    # in the order in which a plan locks them
    in_order = (its.where(lanes.c.type == kind) if kind else its).order_by(lanes.c.type).with_for_update()
    connection.execute(update(lanes).where(lanes.c.type.in_(in_order)).values(waiting=0))


def waited_for(connection: Connection) -> list[tuple[str, str]]:
    """The lanes that have tasks which have not begun, each with the run that these are of."""
    found = select(lanes.c.type, lanes.c.run_id).where(lanes.c.waiting > 0).order_by(lanes.c.type)
    return [(row.type, row.run_id) for row in connection.execute(found)]


def lacks_tasks(connection: Connection, kinds: Collection[str], *, now: datetime) -> bool:
    """Whether something is due in one of these lanes for which no task waits."""
    # a plan that is about to say which tasks there are to be is waited for
    connection.execute(select(func.pg_advisory_xact_lock_shared(_PLANNED)))
    have = set(connection.execute(select(lanes.c.type).where(lanes.c.waiting > 0)).scalars())
    # lane by lane: one that stands still may be long
    return any(
        connection.execute(select(exists().where(deliveries.c.type == kind, is_due(now)))).scalar()
        for kind in sorted(set(kinds) - have)
    )
