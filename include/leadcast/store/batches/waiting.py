"""What waits without a run: when it is due, whose turn it is, and when it has waited for long enough."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, literal_column, or_, select, true, update

from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.model import WAITING, BatchStatus
from leadcast.store.schema import attempts, batches, circuits, deliveries


def begun_at() -> ColumnElement[datetime | None]:
    """When the first attempt of a delivery's round has begun. None has of one that was only put off so far."""
    since = deliveries.c.round_at
    first = select(func.min(attempts.c.started_at)).where(
        attempts.c.delivery_id == deliveries.c.id, attempts.c.started_at >= since
    )
    return case((deliveries.c.attempts > 0, first.scalar_subquery()))


def is_left_alone(now: datetime) -> ColumnElement[bool]:
    """Whether a delivery waits for its account, which is to be left alone."""
    left_alone = select(circuits.c.account).where(circuits.c.open_until > now)
    return and_(_WAITS_FOR_CIRCUIT, deliveries.c.account.in_(left_alone)).is_(True)


def has_turn() -> ColumnElement[bool]:
    """Of those that wait for one account, the one that has waited longest goes ahead.

    If it gets through, the others are due at once; if not, it is another's turn.
    """
    other = deliveries.alias()
    first = (
        select(other.c.id)
        .where(other.c.account == deliveries.c.account, other.c.waits_for == WAITS_FOR_CIRCUIT)
        .order_by(other.c.next_attempt_at, other.c.listed_at, other.c.id)
        .limit(1)
        .scalar_subquery()
    )
    tried = select(circuits.c.account).where(circuits.c.open_until.is_not(None))
    must_wait = and_(_WAITS_FOR_CIRCUIT, deliveries.c.account.in_(tried))
    return or_(must_wait.is_not(True), deliveries.c.id == first)


_WAITS_FOR_CIRCUIT = deliveries.c.waits_for == literal_column(f"'{WAITS_FOR_CIRCUIT}'")


def end_waiting(connection: Connection, *, begun_before: datetime, older_than: datetime | None) -> None:
    """Those that have waited for their account for long enough wait no longer: whoever takes them next ends them.

    Args:
        begun_before: who has been tried before then.
        older_than: those accepted before then, begun or not, that no person has wanted sent since; None: their age
            does not matter.
    """
    is_too_old: ColumnElement[bool] = false()
    if older_than:
        is_open = batches.c.status.in_([BatchStatus.PENDING, BatchStatus.PROCESSING])
        old = select(batches.c.id).where(is_open, batches.c.accepted_at < older_than)
        is_too_old = and_(deliveries.c.batch_id.in_(old), func.coalesce(deliveries.c.asked_at < older_than, true()))
    # locked by their ids, as all do who lock several
    waits = _WAITS_FOR_CIRCUIT, or_(begun_at() < begun_before, is_too_old)
    in_order = select(deliveries.c.id).where(*waits).order_by(deliveries.c.id).with_for_update()
    connection.execute(update(deliveries).where(deliveries.c.id.in_(in_order)).values(waits_for="service"))


def sealed_credentials(connection: Connection, *, at_most: int) -> list[tuple[str, str, str]]:
    """Of deliveries that are still to be sent and have brought credentials: id, type, and these, sealed."""
    is_open = batches.c.status.in_([BatchStatus.PENDING, BatchStatus.PROCESSING])
    is_waiting = deliveries.c.state.in_(WAITING)
    found = connection.execute(
        select(deliveries.c.id, deliveries.c.type, deliveries.c.credentials_sealed)
        .join(batches, batches.c.id == deliveries.c.batch_id)
        .where(is_open, is_waiting, deliveries.c.credentials_sealed.is_not(None))
        .limit(at_most)
    )
    return [(row.id, row.type, row.credentials_sealed) for row in found]
