"""An attempt is written down before it goes out, and how far it is while it is at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from leadcast.core.model import AttemptOutcome, DeliveryState, Lead, ManualAction
from leadcast.store.batches import rounds
from leadcast.store.batches.leads import from_data
from leadcast.store.batches.ledger.due_deliveries import Due, has_ended_since
from leadcast.store.batches.ledger.rows import free_row, mark_died, round_of
from leadcast.store.lease import Lease
from leadcast.store.schema import attempts, batches, deliveries


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A delivery whose attempt is written down and may now go out. `tries`: attempts that count, this one included."""

    delivery_id: str
    batch_id: str
    type: str
    lead: Lead
    settings: Mapping[str, Any]
    credentials_sealed: str | None
    accepted_at: datetime
    attempt: int
    attempt_id: int
    epoch: int
    """Its fencing token."""
    worker_id: int
    """Whose lease holds it."""
    tries: int
    round_at: datetime
    before: DeliveryState
    in_doubt: bool
    kept: Mapping[str, Any]
    is_erased: bool = False
    """The lead's data is gone, or about to go: nothing is to be sent."""
    in_doubt_since: datetime | None = None
    """When the last attempt may have sent it whose outcome nobody saw."""
    was_refused: bool = False
    """An earlier attempt ended with a refusal."""


def begin(
    connection: Connection,
    delivery_id: str,
    *,
    lease: Lease,
    now: datetime,
    seen: Due | None = None,
    account: str | None = None,
    action: ManualAction | None = None,
) -> Begun | None:
    """Marks the delivery `sending` and writes a new attempt. None: it is delivered or cancelled, nothing is to be sent.

    Args:
        lease: of the process that is to send it. Begun here, too.
        seen: as it was looked at before. None also where it has ended since.
        action: a person wants this attempt. Which one it was is kept, so that it counts once; none: the last one is
            still known.

    Raises:
        HeldByAnother: somebody else is sending it, or has begun it since.
        StoreError: there is no such delivery.
    """
    row = free_row(connection, delivery_id)
    before = DeliveryState(row.state)
    if not before.may_become(DeliveryState.SENDING) or (seen is not None and has_ended_since(row, seen)):
        return None
    if before is DeliveryState.SENDING:
        mark_died(connection, delivery_id, now=now)
    if action is not None and action.which:
        rounds.count_manual_action(connection, batch_id=row.batch_id)
    in_doubt_since = _in_doubt_since(connection, delivery_id) if row.in_doubt else None
    number = row.attempts + 1
    was_refused = number > 1 and _was_refused(connection, delivery_id)
    worker_id = lease.take(connection)
    tries_before, round_at = round_of(row, now=now)
    tries = tries_before + 1
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(
            state=DeliveryState.SENDING,
            attempts=number,
            epoch=row.epoch + 1,
            worker_id=worker_id,
            tries=tries,
            round_at=round_at,
            in_doubt=True,
            account=account,
            asked=(action.which if action else "") or row.asked,
            asked_at=action.at if action else row.asked_at,
            waits_for=None,
            next_attempt_at=None,
            finished_at=None,
            started_at=row.started_at or now,
        )
    )
    attempt_id = connection.execute(
        insert(attempts)
        .values(
            delivery_id=delivery_id, number=number, outcome=AttemptOutcome.RUNNING, worker=lease.name, started_at=now
        )
        .returning(attempts.c.id)
    ).scalar_one()
    # with the delivery's lock held: whoever erases waits for it, and what was read with it may be older
    batch = connection.execute(select(batches.c.lead, batches.c.erased_at).where(batches.c.id == row.batch_id)).one()
    return Begun(
        delivery_id=delivery_id,
        batch_id=row.batch_id,
        type=row.type,
        lead=from_data(row.lead_id, batch.lead),
        is_erased=batch.erased_at is not None,
        settings=row.settings,
        credentials_sealed=row.credentials_sealed,
        accepted_at=row.accepted_at,
        attempt=number,
        attempt_id=attempt_id,
        epoch=row.epoch + 1,
        worker_id=worker_id,
        tries=tries,
        round_at=round_at,
        before=before,
        in_doubt=row.in_doubt,
        kept=row.kept or {},
        in_doubt_since=in_doubt_since,
        was_refused=was_refused,
    )


def _in_doubt_since(connection: Connection, delivery_id: str) -> datetime | None:
    # a dead attempt may have sent until it was found: it may have been slow, and its beginning proves nothing
    since: datetime | None = connection.execute(
        select(func.max(attempts.c.finished_at))
        .where(attempts.c.delivery_id == delivery_id)
        .where(attempts.c.outcome.in_([AttemptOutcome.UNKNOWN, AttemptOutcome.DIED]))
    ).scalar()
    return since


def _was_refused(connection: Connection, delivery_id: str) -> bool:
    refusals = [AttemptOutcome.REJECTED, AttemptOutcome.CREDENTIALS]
    found = connection.execute(
        select(attempts.c.id).where(attempts.c.delivery_id == delivery_id, attempts.c.outcome.in_(refusals)).limit(1)
    )
    return found.scalar() is not None


def keep(connection: Connection, begun: Begun, progress: Mapping[str, Any]) -> None:
    """Writes down how far the attempt is, for the next one. Of one that was given up for dead, nothing is written."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == begun.delivery_id, deliveries.c.state == DeliveryState.SENDING)
        .where(deliveries.c.epoch == begun.epoch, deliveries.c.worker_id == begun.worker_id)
        .values(kept=dict(progress))
    )
