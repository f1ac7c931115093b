"""How an attempt ended is written, and what its delivery is from then on; also where nobody is at work any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, DateTime, Integer, Row, Text, cast, select, update
from sqlalchemy.dialects.postgresql import JSONB

from leadcast.core.errors import DeliveryError
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt, cancelled_state, is_heard
from leadcast.core.plain import as_json
from leadcast.store.arrays import table_of
from leadcast.store.batches import opening
from leadcast.store.batches.ledger.begun_attempts import Begun
from leadcast.store.batches.ledger.rows import error_as_json, locked_row, mark_died
from leadcast.store.schema import attempts, batches, deliveries


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended. `state`: what the delivery is now; `in_doubt`: whether it may have been executed.

    counts: whether it used up a try.
    waits_for: what it waits for without a run; empty: its own run goes on with it, or nothing does.
    """

    state: DeliveryState
    outcome: AttemptOutcome
    receipt: Receipt | None = None
    error: DeliveryError | None = None
    in_doubt: bool = False
    next_attempt_at: datetime | None = None
    counts: bool = True
    waits_for: str = ""


@dataclass(frozen=True)
class ToEnd:
    """An attempt that has ended, and how. `run_id`: if its batch has ended meanwhile, this run settles it anew."""

    begun: Begun
    ended: Ended
    run_id: str = ""


def end(connection: Connection, begun: Begun, ended: Ended, *, now: datetime, run_id: str = "") -> DeliveryState:
    """Writes how one attempt ended. Returns what the delivery is now."""
    (state,) = end_all(connection, [ToEnd(begun, ended, run_id)], now=now)
    return state


def end_all(connection: Connection, to_end: Sequence[ToEnd], *, now: datetime) -> list[DeliveryState]:
    """Writes how attempts ended. Returns what each delivery is now: in a batch that was cancelled meanwhile, nothing
    follows; of an attempt that was given up for dead, only its success counts."""
    # the deliveries' locks come first: whoever cancels or takes over holds them, and what he wrote is then seen
    rows = _locked(connection, [each.begun.delivery_id for each in to_end])
    _end_attempts(connection, to_end, now=now)
    states: dict[str, DeliveryState] = {}
    written: list[tuple[Begun, Ended]] = []
    retried = [each.begun.batch_id for each in to_end if each.ended.state is DeliveryState.RETRYING]
    cancelled = _cancelled(connection, retried)
    for each in to_end:
        begun, ended, row = each.begun, each.ended, rows[each.begun.delivery_id]
        state, is_ours = DeliveryState(row.state), is_of(row, begun)
        states[begun.delivery_id] = state
        if not is_heard(is_running=is_ours, state=state, is_delivered=ended.state is DeliveryState.DELIVERED):
            continue
        if not is_ours:
            opening.reopen(connection, batch_id=begun.batch_id, run_id=each.run_id)
        if ended.state is DeliveryState.RETRYING and begun.batch_id in cancelled:
            state = cancelled_state(in_doubt=ended.in_doubt)
            ended = replace(ended, state=state, next_attempt_at=None, waits_for="")
        states[begun.delivery_id] = ended.state
        written.append((begun, ended))
    if written:
        _write(connection, written, now=now)
    return [states[each.begun.delivery_id] for each in to_end]


def _locked(connection: Connection, delivery_ids: Sequence[str]) -> dict[str, Row[str, str, int, int | None]]:
    known = select(deliveries.c.id, deliveries.c.state, deliveries.c.epoch, deliveries.c.worker_id)
    these = known.where(deliveries.c.id.in_(delivery_ids)).order_by(deliveries.c.id)
    return {row.id: row for row in connection.execute(these.with_for_update())}


def _write(connection: Connection, written: Sequence[tuple[Begun, Ended]], *, now: datetime) -> None:
    new = table_of(
        id=(Text, [begun.delivery_id for begun, _ in written]),
        state=(Text, [ended.state.value for _, ended in written]),
        in_doubt=(Boolean, [ended.in_doubt for _, ended in written]),
        receipt=(Text, [None if ended.receipt is None else as_json(asdict(ended.receipt)) for _, ended in written]),
        error=(Text, [None if ended.error is None else as_json(error_as_json(ended.error)) for _, ended in written]),
        tries=(Integer, [begun.tries if ended.counts else begun.tries - 1 for begun, ended in written]),
        waits_for=(Text, [ended.waits_for or None for _, ended in written]),
        next_attempt_at=(DateTime(timezone=True), [ended.next_attempt_at for _, ended in written]),
        finished_at=(DateTime(timezone=True), [now if ended.state.is_final else None for _, ended in written]),
    )
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == new.c.id)
        .values(
            state=new.c.state,
            in_doubt=new.c.in_doubt,
            receipt=cast(new.c.receipt, JSONB),
            error=cast(new.c.error, JSONB),
            worker_id=None,
            losses=0,
            tries=new.c.tries,
            waits_for=new.c.waits_for,
            next_attempt_at=new.c.next_attempt_at,
            finished_at=new.c.finished_at,
        )
    )


def is_of(row: Any, begun: Begun) -> bool:
    """Whether a delivery, as its row stands, is still this attempt's. The number alone does not say so: a failover may
    have lost the commit that gave it."""
    return bool((row.state, row.epoch, row.worker_id) == (DeliveryState.SENDING, begun.epoch, begun.worker_id))


def lose(connection: Connection, rows: Collection[Row[Any]], *, now: datetime) -> None:
    """The processes have died that had taken these locked deliveries, or were sending them: others may go on, with
    those that may have arrived as with any that are in doubt."""
    sending = [row.id for row in rows if row.state == DeliveryState.SENDING]
    if sending:
        mark_died(connection, sending, now=now)
        again = update(deliveries).where(deliveries.c.id.in_(sending))
        connection.execute(again.values(state=DeliveryState.RETRYING, next_attempt_at=now))
    lost = update(deliveries).where(deliveries.c.id.in_([row.id for row in rows]))
    connection.execute(lost.values(worker_id=None, losses=deliveries.c.losses + 1))


def _end_attempts(connection: Connection, to_end: Sequence[ToEnd], *, now: datetime) -> None:
    """Writes the attempts' outcomes, also of those that were given up for dead: that is what people look for."""
    errors = [None if each.ended.error is None else error_as_json(each.ended.error) for each in to_end]
    new = table_of(
        id=(BigInteger, [each.begun.attempt_id for each in to_end]),
        outcome=(Text, [each.ended.outcome.value for each in to_end]),
        code=(Text, [error["code"] if error else None for error in errors]),
        message=(Text, [error["message"] if error else None for error in errors]),
    )
    connection.execute(
        update(attempts)
        .where(attempts.c.id == new.c.id)
        .values(outcome=new.c.outcome, code=new.c.code, message=new.c.message, finished_at=now)
    )


def _cancelled(connection: Connection, batch_ids: Sequence[str]) -> set[str]:
    """Those of these batches that a person has cancelled."""
    if not batch_ids:
        return set()
    is_cancelled = batches.c.id.in_(batch_ids), batches.c.cancelled_at.is_not(None)
    return set(connection.execute(select(batches.c.id).where(*is_cancelled)).scalars())


def close(
    connection: Connection, *, delivery_id: str, state: DeliveryState, error: DeliveryError | None, now: datetime
) -> None:
    """Ends a delivery that nobody works on any more; one that somebody has begun since is left alone. `error` None: the
    last attempt's error stays."""
    row = locked_row(connection, delivery_id)
    before = DeliveryState(row.state)
    if not before.may_become(state) or (row.held_s or 0) > 0:
        return
    if before is DeliveryState.SENDING:
        mark_died(connection, [delivery_id], now=now)
    values: dict[str, Any] = {
        "state": state, "finished_at": now, "next_attempt_at": None, "waits_for": None, "worker_id": None,
    }  # fmt: skip
    if error is not None:
        values["error"] = error_as_json(error)
    connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))
