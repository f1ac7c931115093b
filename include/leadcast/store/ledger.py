"""The ledger: what is known of every delivery. Written before a call goes out and after it came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, case, func, insert, select, update

from leadcast.core.errors import DeliveryError, StoreError
from leadcast.core.model import AttemptOutcome, DeliveryState, Lead, Receipt
from leadcast.store.leads import from_data
from leadcast.store.schema import attempts, batches, deliveries


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A delivery whose attempt is written down and may now go out."""

    delivery_id: str
    batch_id: str
    type: str
    lead: Lead
    settings: Mapping[str, Any]
    credentials_sealed: str | None
    accepted_at: datetime
    attempt: int
    attempt_id: int
    before: DeliveryState
    in_doubt: bool
    in_doubt_since: datetime | None = None
    """When the last attempt may have sent it whose outcome nobody saw."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended. `state`: what the delivery is now; `in_doubt`: whether it may have been executed."""

    state: DeliveryState
    outcome: AttemptOutcome
    receipt: Receipt | None = None
    error: DeliveryError | None = None
    in_doubt: bool = False
    next_attempt_at: datetime | None = None


def begin(connection: Connection, delivery_id: str, *, worker: str, now: datetime) -> Begun | None:
    """Marks the delivery `sending` and writes a new attempt. None: it is delivered or cancelled, nothing is to be sent.

    Raises:
        StoreError: there is no such delivery.
    """
    row = _locked(connection, delivery_id)
    before = DeliveryState(row.state)
    if not before.may_become(DeliveryState.SENDING):
        return None
    if before is DeliveryState.SENDING:
        _bury(connection, delivery_id, now=now)
    in_doubt_since = _in_doubt_since(connection, delivery_id) if row.in_doubt else None
    number = row.attempts + 1
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(
            state=DeliveryState.SENDING,
            attempts=number,
            in_doubt=True,
            next_attempt_at=None,
            finished_at=None,
            started_at=row.started_at or now,
        )
    )
    attempt_id = connection.execute(
        insert(attempts)
        .values(delivery_id=delivery_id, number=number, outcome=AttemptOutcome.RUNNING, worker=worker, started_at=now)
        .returning(attempts.c.id)
    ).scalar_one()
    return Begun(
        delivery_id=delivery_id,
        batch_id=row.batch_id,
        type=row.type,
        lead=from_data(row.lead_id, row.lead),
        settings=row.settings,
        credentials_sealed=row.credentials_sealed,
        accepted_at=row.accepted_at,
        attempt=number,
        attempt_id=attempt_id,
        before=before,
        in_doubt=row.in_doubt,
        in_doubt_since=in_doubt_since,
    )


def _in_doubt_since(connection: Connection, delivery_id: str) -> datetime | None:
    # a dead attempt's end was written when it was found, which says nothing of when it sent
    sent_at = case((attempts.c.outcome == AttemptOutcome.DIED, attempts.c.started_at), else_=attempts.c.finished_at)
    since: datetime | None = connection.execute(
        select(func.max(sent_at))
        .where(attempts.c.delivery_id == delivery_id)
        .where(attempts.c.outcome.in_([AttemptOutcome.UNKNOWN, AttemptOutcome.DIED]))
    ).scalar()
    return since


def end(connection: Connection, begun: Begun, ended: Ended, *, now: datetime) -> None:
    """Writes how the attempt ended."""
    error = None if ended.error is None else error_as_json(ended.error)
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == begun.delivery_id)
        .values(
            state=ended.state,
            in_doubt=ended.in_doubt,
            receipt=None if ended.receipt is None else asdict(ended.receipt),
            error=error,
            next_attempt_at=ended.next_attempt_at,
            finished_at=now if ended.state.is_final else None,
        )
    )
    connection.execute(
        update(attempts)
        .where(attempts.c.id == begun.attempt_id)
        .values(
            outcome=ended.outcome,
            code=error["code"] if error else None,
            message=error["message"] if error else None,
            finished_at=now,
        )
    )


def error_as_json(error: DeliveryError) -> dict[str, Any]:
    """An error as the ledger keeps it and the API shows it."""
    return {
        "class": type(error).__name__,
        "code": error.code,
        "message": error.message,
        "detail": error.detail,
        "may_pass": error.may_pass,
    }


def close(
    connection: Connection, *, delivery_id: str, state: DeliveryState, error: DeliveryError | None, now: datetime
) -> None:
    """Ends a delivery that nobody works on any more. `error` None: the last attempt's error stays."""
    before = DeliveryState(_locked(connection, delivery_id).state)
    if not before.may_become(state):
        return
    if before is DeliveryState.SENDING:
        _bury(connection, delivery_id, now=now)
    values: dict[str, Any] = {"state": state, "finished_at": now, "next_attempt_at": None}
    if error is not None:
        values["error"] = error_as_json(error)
    connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))


@dataclass(frozen=True)
class Standing:
    """Where one delivery stands."""

    id: str
    type: str
    state: DeliveryState
    attempts: int
    in_doubt: bool


def standing(connection: Connection, *, batch_id: str) -> list[Standing]:
    """Where a batch's deliveries stand, in order."""
    rows = connection.execute(_STANDING.where(deliveries.c.batch_id == batch_id).order_by(deliveries.c.index))
    return [_standing(row) for row in rows]


def standing_of(connection: Connection, *, delivery_id: str) -> Standing:
    """Where one delivery stands."""
    return _standing(connection.execute(_STANDING.where(deliveries.c.id == delivery_id)).one())


_STANDING: Select[Any] = select(
    deliveries.c.id, deliveries.c.type, deliveries.c.state, deliveries.c.attempts, deliveries.c.in_doubt
)


def _standing(row: Row[Any]) -> Standing:
    return Standing(row.id, row.type, DeliveryState(row.state), row.attempts, row.in_doubt)


def _bury(connection: Connection, delivery_id: str, *, now: datetime) -> None:
    """Writes down that the attempt which was running has died."""
    connection.execute(
        update(attempts)
        .where(attempts.c.delivery_id == delivery_id, attempts.c.outcome == AttemptOutcome.RUNNING)
        .values(
            outcome=AttemptOutcome.DIED, message="The process ended before the outcome was written.", finished_at=now
        )
    )


def _locked(connection: Connection, delivery_id: str) -> Row[Any]:
    row = connection.execute(
        select(deliveries, batches.c.lead_id, batches.c.lead, batches.c.accepted_at)
        .join(batches, deliveries.c.batch_id == batches.c.id)
        .where(deliveries.c.id == delivery_id)
        .with_for_update(of=deliveries)
    ).one_or_none()
    if row is None:
        raise StoreError(f"The ledger has no delivery {delivery_id!r}.")
    return row
