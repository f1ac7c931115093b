"""What waits without a run: when it is due, whose turn it is, and when it has waited for long enough."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, or_, select, true, update

from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.store.schema import attempts, batches, circuits, deliveries


def begun_at() -> ColumnElement[datetime | None]:
    """When the first attempt of a delivery's round has begun. None has of one that was only put off so far."""
    since = deliveries.c.round_at
    first = select(func.min(attempts.c.started_at)).where(
        attempts.c.delivery_id == deliveries.c.id, attempts.c.started_at >= since
    )
    return case((deliveries.c.attempts > 0, first.scalar_subquery()))


def is_due(now: datetime) -> ColumnElement[bool]:
    """Whether a delivery that waits need not wait any longer: its time has come, and its account is not left alone."""
    left_alone = select(circuits.c.account).where(circuits.c.open_until > now)
    is_left_alone = and_(deliveries.c.waits_for == WAITS_FOR_CIRCUIT, deliveries.c.account.in_(left_alone))
    return and_(deliveries.c.next_attempt_at <= now, is_left_alone.is_not(True))


def has_turn(now: datetime, planned: str) -> ColumnElement[bool]:
    """Of those that wait for one account, the one that has waited longest goes ahead.

    If it gets through, the others are due at once; if not, it is another's turn.

    Args:
        planned: a run that is about to try what it holds; meanwhile no account gets a second probe.
    """
    other, its_batch = deliveries.alias(), batches.alias()
    is_planned = and_(its_batch.c.wave_id == planned, other.c.next_attempt_at <= now)
    place = func.row_number().over(partition_by=other.c.account, order_by=(other.c.next_attempt_at, other.c.id))
    queue = (
        select(other.c.id, place.label("place"))
        .join(its_batch, its_batch.c.id == other.c.batch_id)
        .where(other.c.waits_for == WAITS_FOR_CIRCUIT, or_(its_batch.c.let_go, is_planned))
        .subquery()
    )
    first = select(queue.c.id).where(queue.c.place == 1)
    tried = select(circuits.c.account).where(circuits.c.open_until.is_not(None))
    must_wait = and_(deliveries.c.waits_for == WAITS_FOR_CIRCUIT, deliveries.c.account.in_(tried))
    return or_(must_wait.is_not(True), deliveries.c.id.in_(first))


def end_waiting(connection: Connection, *, begun_before: datetime, older_than: datetime | None) -> None:
    """Those that have waited for their account for long enough wait no longer: the next wave ends them.

    Args:
        begun_before: who has been tried before then.
        older_than: those accepted before then, begun or not, that no person has wanted sent since; None: their age
            does not matter.
    """
    is_too_old: ColumnElement[bool] = false()
    if older_than:
        # those that no wave holds: an index has them
        is_let_go = and_(batches.c.status == BatchStatus.PROCESSING, batches.c.let_go)
        old = select(batches.c.id).where(is_let_go, batches.c.accepted_at < older_than)
        is_too_old = and_(deliveries.c.batch_id.in_(old), func.coalesce(deliveries.c.asked_at < older_than, true()))
    # locked by their ids, as all do who lock several
    waits = deliveries.c.waits_for == WAITS_FOR_CIRCUIT, or_(begun_at() < begun_before, is_too_old)
    in_order = select(deliveries.c.id).where(*waits).order_by(deliveries.c.id).with_for_update()
    connection.execute(update(deliveries).where(deliveries.c.id.in_(in_order)).values(waits_for="service"))


def sealed_credentials(connection: Connection, *, at_most: int) -> list[tuple[str, str, str]]:
    """Of deliveries that are still to be sent and have brought credentials: id, type, and these, sealed."""
    is_open = batches.c.status.in_([BatchStatus.PENDING, BatchStatus.PROCESSING])
    is_waiting = deliveries.c.state.in_([DeliveryState.PENDING, DeliveryState.RETRYING])
    found = connection.execute(
        select(deliveries.c.id, deliveries.c.type, deliveries.c.credentials_sealed)
        .join(batches, batches.c.id == deliveries.c.batch_id)
        .where(is_open, is_waiting, deliveries.c.credentials_sealed.is_not(None))
        .limit(at_most)
    )
    return [(row.id, row.type, row.credentials_sealed) for row in found]
