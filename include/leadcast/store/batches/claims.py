"""Which wave has which batch: claimed, parked while its deliveries wait, requeued into the inbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, func, or_, select, update

from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.store.batches import room
from leadcast.store.batches.batches import is_of_wave
from leadcast.store.batches.waiting import has_turn, is_due
from leadcast.store.schema import batches, deliveries


@dataclass(frozen=True)
class Ref:
    """What plan hands on of a delivery, through Airflow: small, and neither secret nor personal."""

    delivery_id: str
    batch_id: str
    lead_id: str
    type: str
    claims: int = 1
    """How many waves have claimed its batch and may have died of it, this one included."""


def claimable(now: datetime, *, planned: str = "", full: Collection[str] = ()) -> ColumnElement[bool]:
    """Which batches a wave may claim: those that are new, and those that are parked, as soon as one of their deliveries
    is due.

    Args:
        planned: a run that is about to try what it has claimed; meanwhile no account gets a second probe.
        full: integrations that have no room. A batch is claimed for what there is room for: one that stands still
            keeps none of the others waiting.
    """
    waits = select(deliveries.c.batch_id).where(
        deliveries.c.waits_for.is_not(None), is_due(now), has_turn(now, planned)
    )
    is_new = _IS_NEW
    if full:
        waits = waits.where(deliveries.c.type.not_in(full))
        is_new = and_(_IS_NEW, room.is_wanted_beside(full, now=now))
    is_parked = and_(batches.c.status == BatchStatus.PROCESSING, batches.c.let_go, batches.c.id.in_(waits))
    return or_(is_new, is_parked)


_IS_NEW = and_(batches.c.status == BatchStatus.PENDING, batches.c.wave_id.is_(None))


def claim(
    connection: Connection,
    *,
    run_id: str,
    own_batch_id: str | None,
    limit: int,
    now: datetime,
    bounds: Mapping[str, int] | None = None,
) -> set[str]:
    """Claims batches for a wave: its own first, then by priority and age. Others' claims are stepped over.

    Args:
        own_batch_id: the batch that it was triggered with, claimed whether there is room or not.
        bounds: integration type → how many of its deliveries the waves may have claimed and not begun. A batch that has
            none with room stays in the inbox.

    Returns:
        Ids of those that it has claimed now.
    """
    left = room.left(connection, bounds or {}, now=now)
    claimed: set[str] = set()
    for _ in range(len(left) + 1):  # who is passed over had room when the round began: each fills up one more
        waiting = _waiting(own_batch_id, now, full=[kind for kind, count in left.items() if count <= 0])
        locked = list(connection.execute(waiting.limit(limit - len(claimed))).scalars())
        fitting = [*_with_room(locked, room.needed(connection, locked, now=now), left, own_batch_id=own_batch_id)]
        claimed |= _claim_all(connection, fitting, run_id=run_id, now=now)
        if len(fitting) == len(locked):
            break
    return claimed


def _waiting(own_batch_id: str | None, now: datetime, *, full: Collection[str]) -> Select[Any]:
    wanted = claimable(now, full=full)
    if own_batch_id is not None:
        wanted = or_(wanted, and_(batches.c.id == own_batch_id, _IS_NEW))
    return (
        select(batches.c.id)
        .where(wanted)
        .order_by(
            case((batches.c.id == own_batch_id, 0), else_=1),
            batches.c.priority,
            batches.c.rounds,  # what the schedule sends again holds up nobody who comes first
            batches.c.accepted_at,
        )
        .with_for_update(skip_locked=True)
    )


def _claim_all(connection: Connection, batch_ids: Collection[str], *, run_id: str, now: datetime) -> set[str]:
    rows = connection.execute(
        update(batches)
        .where(batches.c.id.in_(batch_ids))
        .values(
            status=BatchStatus.PROCESSING,
            wave_id=run_id,
            let_go=False,
            claims=batches.c.claims + 1,
            started_at=func.coalesce(batches.c.started_at, now),
        )
        .returning(batches.c.id)
    )
    return set(rows.scalars())


def _with_room(
    batch_ids: Sequence[str], needed: Mapping[str, Counter[str]], left: Counter[str], *, own_batch_id: str | None
) -> Iterator[str]:
    """Those for which there is room, in turn. `left` goes down with each; what is not in it has no bound."""
    for batch_id in batch_ids:
        needs = needed[batch_id]
        if batch_id == own_batch_id or not needs or any(left.get(kind, 1) > 0 for kind in needs):
            left.subtract({kind: count for kind, count in needs.items() if kind in left})
            yield batch_id


def open_refs(connection: Connection, *, run_id: str, now: datetime, since: datetime | None = None) -> list[Ref]:
    """The wave's deliveries that are to be sent and need not wait, urgent batches first.

    What has failed, or is unknown, is sent again only in a batch that has ended: a person has started its plan again.

    Args:
        since: when its run was made. What had ended before is none of its.
    """
    has_ended = batches.c.status != BatchStatus.PROCESSING
    rows = connection.execute(
        select(deliveries.c.id, batches.c.id.label("batch_id"), batches.c.lead_id, deliveries.c.type, batches.c.claims)
        .join(batches, deliveries.c.batch_id == batches.c.id)
        .where(is_of_wave(run_id, since))
        .where(deliveries.c.state.not_in([DeliveryState.DELIVERED, DeliveryState.CANCELLED]))
        .where(or_(deliveries.c.state.not_in([DeliveryState.FAILED, DeliveryState.UNKNOWN]), has_ended))
        .where(or_(deliveries.c.waits_for.is_(None), is_due(now)))
        .order_by(batches.c.priority, batches.c.accepted_at, deliveries.c.index)
    )
    return [Ref(row.id, row.batch_id, row.lead_id, row.type, row.claims) for row in rows]


def requeue_not_begun(connection: Connection, *, batch_ids: Collection[str]) -> None:
    """Undoes the claim of those of these batches in which nothing has begun: what is to be sent goes back to the inbox,
    what waits is parked again, and another wave carries it.

    What has nothing to be sent stays: it needs a status, and this wave's settling gives it one.

    Args:
        batch_ids: of batches that a wave has claimed in this transaction.
    """
    is_claimed = and_(batches.c.id.in_(batch_ids), batches.c.status == BatchStatus.PROCESSING)
    not_begun = update(batches).where(is_claimed, ~_AT_WORK)
    counted = {"claims": batches.c.claims - 1}
    connection.execute(not_begun.where(_TO_BEGIN).values(**_IN_INBOX, **counted))
    connection.execute(not_begun.where(_WAITS).values(let_go=True, **counted))


_IN_INBOX = {"status": BatchStatus.PENDING, "wave_id": None, "let_go": False, "started_at": None}


def _has(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(deliveries.c.batch_id == batches.c.id, *which)


_WAITS = _has(deliveries.c.waits_for.is_not(None))
_TO_BEGIN = _has(deliveries.c.state == DeliveryState.PENDING)
# what has ended, it has ended in a round before
_AT_WORK = _has(
    deliveries.c.state.in_([DeliveryState.SENDING, DeliveryState.RETRYING]), deliveries.c.waits_for.is_(None)
)


@dataclass(frozen=True)
class OpenWave:
    """A wave with batches that are not settled. `begun_at`: when it claimed the first of them."""

    run_id: str
    begun_at: datetime


def open_waves(connection: Connection, *, limit: int) -> list[OpenWave]:
    """Waves that have not settled all their batches, the oldest first."""
    begun_at = func.min(batches.c.started_at)
    rows = connection.execute(
        select(batches.c.wave_id, begun_at)
        .where(batches.c.status == BatchStatus.PROCESSING, batches.c.wave_id.is_not(None), ~batches.c.let_go)
        .group_by(batches.c.wave_id)
        .order_by(begun_at)
        .limit(limit)
    )
    return [OpenWave(wave_id, at) for wave_id, at in rows]


def park(connection: Connection, *, batch_id: str) -> None:
    """Lets the batch wait on without a wave: a later one claims it when one of its deliveries is due.

    The wave that had it has done its work: it is none of those which died of it, so they are counted anew.
    """
    connection.execute(update(batches).where(batches.c.id == batch_id).values(let_go=True, claims=0))


@dataclass(frozen=True)
class Holder:
    """Who has a batch, as its locked row stands."""

    batch_id: str
    wave_id: str | None
    status: str
    let_go: bool

    def is_another(self, run_id: str) -> bool:
        """Whether another run than this one works on it, and is not through with it."""
        return self.status == BatchStatus.PROCESSING and not self.let_go and self.wave_id != run_id

    def is_nobody(self) -> bool:
        """Whether no run works on it."""
        return self.status != BatchStatus.PROCESSING or self.let_go


def lock_batches_of(connection: Connection, *, delivery_ids: Collection[str]) -> dict[str, Holder]:
    """Locks the rows of deliveries' batches until the transaction ends, one after the other by their ids. Batch → who
    has it. Of deliveries that are not there, nothing is locked."""
    their_batches = select(deliveries.c.batch_id).where(deliveries.c.id.in_(delivery_ids))
    return _lock(connection, batches.c.id.in_(their_batches))


def ensure_claim(connection: Connection, *, batch_id: str, run_id: str) -> bool:
    """Makes sure that this run has the batch while it works on it: a person may have cleared a task of an old run. A
    batch that had ended is open again, so that the sweep sees to it.

    Returns:
        False: another run has claimed it, and is not through with it.
    """
    holder = _lock(connection, batches.c.id == batch_id)[batch_id]
    if holder.is_another(run_id):
        return False
    ensure_claim_locked(connection, holder, run_id=run_id)
    return True


def ensure_claim_locked(connection: Connection, holder: Holder, *, run_id: str) -> None:
    """The same of a batch that is locked, and that no other run works on."""
    if holder.is_nobody():
        _claim_locked(connection, holder, run_id=run_id)


def reopen(connection: Connection, *, batch_id: str, run_id: str) -> None:
    """Opens a batch that has ended, or waits: a delivery's outcome has changed since, and whoever settles its wave sees
    that.

    Args:
        run_id: the run that has changed it.
    """
    holder = _lock(connection, batches.c.id == batch_id)[batch_id]
    its_run = run_id or holder.wave_id
    if its_run and (BatchStatus(holder.status).is_final or holder.let_go):
        _claim_locked(connection, holder, run_id=its_run)


def _lock(connection: Connection, which: ColumnElement[bool]) -> dict[str, Holder]:
    known = select(batches.c.id, batches.c.wave_id, batches.c.status, batches.c.let_go).where(which)
    rows = connection.execute(known.order_by(batches.c.id).with_for_update())
    return {row.id: Holder(row.id, row.wave_id, row.status, row.let_go) for row in rows}


def _claim_locked(connection: Connection, holder: Holder, *, run_id: str) -> None:
    values = {
        "wave_id": run_id,
        "let_go": False,
        "status": BatchStatus.PROCESSING,
        "started_at": func.coalesce(batches.c.started_at, func.now()),
        "finished_at": None,
    }
    if BatchStatus(holder.status).is_final:
        values["critical"] = None
    connection.execute(update(batches).where(batches.c.id == holder.batch_id).values(values))


def requeue(connection: Connection, *, batch_id: str, counts: bool, now: datetime) -> None:
    """Puts a batch that nobody works on back into the inbox, with what is open in it. What was to be tried again waits
    until its time has come, and a batch in which all wait is parked.

    Args:
        counts: the wave may have died of it: it is one of those which `max_claims` bounds.
    """
    is_tried_again = and_(deliveries.c.state == DeliveryState.RETRYING, deliveries.c.waits_for.is_(None))
    connection.execute(
        update(deliveries)
        .where(deliveries.c.batch_id == batch_id, is_tried_again)
        .values(waits_for="service", next_attempt_at=func.coalesce(deliveries.c.next_attempt_at, now))
    )
    this_one = batches.c.id == batch_id
    counted = {} if counts else {"claims": func.greatest(batches.c.claims - 1, 0)}
    all_wait = connection.execute(select(and_(_WAITS, ~_has(room.is_to_be_sent(now)))).where(this_one)).scalar_one()
    values: dict[str, Any] = {"let_go": True} if all_wait else _IN_INBOX
    connection.execute(update(batches).where(this_one).values(**values, **counted))


def not_begun(connection: Connection, *, run_id: str, now: datetime) -> int:
    """How many deliveries a wave has claimed and not begun, and of which nothing can be on its way."""
    found = connection.execute(
        select(func.count())
        .select_from(deliveries.join(batches, deliveries.c.batch_id == batches.c.id))
        .where(batches.c.wave_id == run_id, batches.c.status == BatchStatus.PROCESSING, ~batches.c.let_go)
        .where(room.is_not_begun(now), ~deliveries.c.in_doubt)
    )
    return found.scalar_one()
