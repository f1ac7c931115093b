"""How an attempt ended is written, and what its delivery is from then on; also where nobody is at work any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from leadcast.core.errors import DeliveryError
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt, cancelled_state, is_heard
from leadcast.store.batches import claims
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


def end(connection: Connection, begun: Begun, ended: Ended, *, now: datetime, run_id: str = "") -> DeliveryState:
    """Writes how the attempt ended. Returns what the delivery is now: in a batch that was cancelled meanwhile, nothing
    follows; of an attempt that was given up for dead, only its success counts.

    Args:
        run_id: the attempt's. If its batch has ended meanwhile, this run has to settle it anew.
    """
    # the delivery's lock comes first: whoever cancels or takes over holds it, and what he wrote is then seen
    row = locked_row(connection, begun.delivery_id)
    state = DeliveryState(row.state)
    error = None if ended.error is None else error_as_json(ended.error)
    is_ours = is_of(row, begun)
    _end_attempt(connection, begun, ended.outcome, error, now=now)
    if not is_heard(is_running=is_ours, state=state, is_delivered=ended.state is DeliveryState.DELIVERED):
        return state
    if not is_ours:
        claims.reopen(connection, batch_id=begun.batch_id, run_id=run_id)
    if ended.state is DeliveryState.RETRYING and _is_cancelled(connection, begun):
        state = cancelled_state(in_doubt=ended.in_doubt)
        ended = replace(ended, state=state, next_attempt_at=None, waits_for="")
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == begun.delivery_id)
        .values(
            state=ended.state,
            in_doubt=ended.in_doubt,
            receipt=None if ended.receipt is None else asdict(ended.receipt),
            error=error,
            worker_id=None,
            tries=begun.tries if ended.counts else begun.tries - 1,
            waits_for=ended.waits_for or None,
            next_attempt_at=ended.next_attempt_at,
            finished_at=now if ended.state.is_final else None,
        )
    )
    return ended.state


def is_of(row: Any, begun: Begun) -> bool:
    """Whether a delivery, as its row stands, is still this attempt's. The number alone does not say so: a failover may
    have lost the commit that gave it."""
    return bool((row.state, row.epoch, row.worker_id) == (DeliveryState.SENDING, begun.epoch, begun.worker_id))


def _end_attempt(
    connection: Connection, begun: Begun, outcome: AttemptOutcome, error: Mapping[str, Any] | None, *, now: datetime
) -> None:
    """Writes the attempt's outcome, also where it was given up for dead meanwhile: that is what people look for."""
    connection.execute(
        update(attempts)
        .where(attempts.c.id == begun.attempt_id)
        .values(
            outcome=outcome,
            code=error["code"] if error else None,
            message=error["message"] if error else None,
            finished_at=now,
        )
    )


def _is_cancelled(connection: Connection, begun: Begun) -> bool:
    at = connection.execute(select(batches.c.cancelled_at).where(batches.c.id == begun.batch_id)).scalar()
    return at is not None


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
        mark_died(connection, delivery_id, now=now)
    values: dict[str, Any] = {
        "state": state, "finished_at": now, "next_attempt_at": None, "waits_for": None, "worker_id": None,
    }  # fmt: skip
    if error is not None:
        values["error"] = error_as_json(error)
    connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))
