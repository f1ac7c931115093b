"""An attempt is written down before it goes out, and how far it is while it is at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Integer, Row, Text, case, func, insert, literal, select, update

from leadcast.core.model import AttemptOutcome, DeliveryState, Lead, ManualAction
from leadcast.store.arrays import table_of
from leadcast.store.batches import rounds
from leadcast.store.batches.leads import from_data
from leadcast.store.batches.ledger.due_deliveries import Due, has_ended_since
from leadcast.store.batches.ledger.rows import HeldByAnother, ensure_free, locked_rows, mark_died, round_of
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


@dataclass(frozen=True, kw_only=True)
class ToBegin:
    """An attempt that is to be written down.

    seen: the delivery as it was looked at before. Where it has ended since, nothing is begun.
    action: a person wants this attempt. Which one it was is kept, so that it counts once; none: the last one is still
        known.
    """

    delivery_id: str
    seen: Due | None = None
    account: str | None = None
    action: ManualAction | None = None


def begin(connection: Connection, delivery_id: str, *, lease: Lease, now: datetime, **more: Any) -> Begun | None:
    """Marks one delivery `sending` and writes a new attempt. None: it is delivered or cancelled, nothing is to be sent.

    Args:
        more: as `ToBegin` has it.

    Raises:
        HeldByAnother: somebody else is sending it, or has begun it since.
        StoreError: there is no such delivery.
    """
    (begun,) = begin_all(connection, [ToBegin(delivery_id=delivery_id, **more)], lease=lease, now=now)
    if isinstance(begun, HeldByAnother):
        raise begun
    return begun


def begin_all(
    connection: Connection, wanted: Sequence[ToBegin], *, lease: Lease, now: datetime
) -> list[Begun | HeldByAnother | None]:
    """Marks deliveries `sending`, and writes a new attempt of each. Of each in turn: None, it is delivered or
    cancelled; or that somebody else is sending it, or has begun it since.

    Args:
        lease: of the process that is to send them. Begun here, if it is not the process's.

    Raises:
        StoreError: there is no such delivery.
    """
    rows = locked_rows(connection, [each.delivery_id for each in wanted])
    answers: dict[str, Begun | HeldByAnother | None] = {}
    free: dict[str, tuple[ToBegin, Row[Any]]] = {}
    for each in wanted:
        row = rows[each.delivery_id]
        try:
            if _may_begin(connection, row, each.seen, worker_id=lease.worker_id):
                free[each.delivery_id] = each, row
            else:
                answers[each.delivery_id] = None
        except HeldByAnother as held:
            answers[each.delivery_id] = held
    if free:
        answers |= _begun(connection, free, lease=lease, now=now)
    return [answers[each.delivery_id] for each in wanted]


def _may_begin(connection: Connection, row: Row[Any], seen: Due | None, *, worker_id: int | None) -> bool:
    ensure_free(connection, row, worker_id=worker_id)
    may_begin = DeliveryState(row.state).may_become(DeliveryState.SENDING)
    return may_begin and (seen is None or not has_ended_since(row, seen))


def _begun(
    connection: Connection, free: Mapping[str, tuple[ToBegin, Row[Any]]], *, lease: Lease, now: datetime
) -> dict[str, Begun]:
    rows = [row for _, row in free.values()]
    if died := [row.id for row in rows if row.state == DeliveryState.SENDING]:
        mark_died(connection, died, now=now)
    for each, row in free.values():
        if each.action is not None and each.action.which:
            rounds.count_manual_action(connection, batch_id=row.batch_id)
    in_doubt_since = _in_doubt_since(connection, [row.id for row in rows if row.in_doubt])
    were_refused = _were_refused(connection, [row.id for row in rows if row.attempts])
    worker_id = lease.take(connection)
    in_round = {row.id: round_of(row, now=now) for row in rows}
    _mark_sending(connection, free, in_round, worker_id=worker_id, now=now)
    attempt_ids = _write_attempts(connection, rows, worker=lease.name, now=now)
    # with the deliveries' locks held: whoever erases waits for them, and what was read with them may be older
    query = select(batches.c.id, batches.c.lead, batches.c.erased_at)
    found = connection.execute(query.where(batches.c.id.in_({row.batch_id for row in rows})))
    its_batch = {batch.id: batch for batch in found}
    return {
        row.id: Begun(
            delivery_id=row.id,
            batch_id=row.batch_id,
            type=row.type,
            lead=from_data(row.lead_id, its_batch[row.batch_id].lead),
            is_erased=its_batch[row.batch_id].erased_at is not None,
            settings=row.settings,
            credentials_sealed=row.credentials_sealed,
            accepted_at=row.accepted_at,
            attempt=row.attempts + 1,
            attempt_id=attempt_ids[row.id],
            epoch=row.epoch + 1,
            worker_id=worker_id,
            tries=in_round[row.id][0] + 1,
            round_at=in_round[row.id][1],
            before=DeliveryState(row.state),
            in_doubt=row.in_doubt,
            kept=row.kept or {},
            in_doubt_since=in_doubt_since.get(row.id),
            was_refused=row.id in were_refused,
        )
        for row in rows
    }


def _mark_sending(
    connection: Connection,
    free: Mapping[str, tuple[ToBegin, Row[Any]]],
    in_round: Mapping[str, tuple[int, datetime]],
    *,
    worker_id: int,
    now: datetime,
) -> None:
    wanted = [each for each, _ in free.values()]
    new = table_of(
        id=(Text, [each.delivery_id for each in wanted]),
        tries=(Integer, [in_round[each.delivery_id][0] + 1 for each in wanted]),
        round_at=(DateTime(timezone=True), [in_round[each.delivery_id][1] for each in wanted]),
        account=(Text, [each.account for each in wanted]),
        asked=(Text, [(each.action.which if each.action else "") or None for each in wanted]),
        asked_at=(DateTime(timezone=True), [each.action.at if each.action else None for each in wanted]),
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == new.c.id)
        .values(
            state=DeliveryState.SENDING,
            attempts=deliveries.c.attempts + 1,
            epoch=deliveries.c.epoch + 1,
            worker_id=worker_id,
            tries=new.c.tries,
            round_at=new.c.round_at,
            in_doubt=True,
            losses=case((deliveries.c.state.in_(_ENDED), 0), else_=deliveries.c.losses),
            account=new.c.account,
            asked=func.coalesce(new.c.asked, deliveries.c.asked),
            asked_at=func.coalesce(new.c.asked_at, deliveries.c.asked_at),
            waits_for=None,
            next_attempt_at=None,
            finished_at=None,
            started_at=func.coalesce(deliveries.c.started_at, now),
        )
    )


_ENDED = (DeliveryState.FAILED, DeliveryState.UNKNOWN)


def _write_attempts(connection: Connection, rows: Sequence[Row[Any]], *, worker: str, now: datetime) -> dict[str, int]:
    new = table_of(id=(Text, [row.id for row in rows]), number=(Integer, [row.attempts + 1 for row in rows]))
    values = select(new.c.id, new.c.number, literal(AttemptOutcome.RUNNING.value), literal(worker), literal(now))
    columns = ["delivery_id", "number", "outcome", "worker", "started_at"]
    written = insert(attempts).from_select(columns, values).returning(attempts.c.delivery_id, attempts.c.id)
    return {row.delivery_id: row.id for row in connection.execute(written)}


def _in_doubt_since(connection: Connection, delivery_ids: Sequence[str]) -> dict[str, datetime]:
    if not delivery_ids:
        return {}
    # a dead attempt may have sent until it was found: it may have been slow, and its beginning proves nothing
    found = connection.execute(
        select(attempts.c.delivery_id, func.max(attempts.c.finished_at))
        .where(attempts.c.delivery_id.in_(delivery_ids))
        .where(attempts.c.outcome.in_([AttemptOutcome.UNKNOWN, AttemptOutcome.DIED]))
        .group_by(attempts.c.delivery_id)
    )
    return {row[0]: row[1] for row in found}


def _were_refused(connection: Connection, delivery_ids: Sequence[str]) -> set[str]:
    if not delivery_ids:
        return set()
    refusals = [AttemptOutcome.REJECTED, AttemptOutcome.CREDENTIALS]
    found = select(attempts.c.delivery_id).where(attempts.c.delivery_id.in_(delivery_ids))
    return set(connection.execute(found.where(attempts.c.outcome.in_(refusals))).scalars())


def keep(connection: Connection, begun: Begun, progress: Mapping[str, Any]) -> None:
    """Writes down how far the attempt is, for the next one. Of one that was given up for dead, nothing is written."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == begun.delivery_id, deliveries.c.state == DeliveryState.SENDING)
        .where(deliveries.c.epoch == begun.epoch, deliveries.c.worker_id == begun.worker_id)
        .values(kept=dict(progress))
    )
