"""The ledger: what is known of every delivery. Written before a call goes out and after it came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from leadcast.core.errors import DeliveryError, StoreError
from leadcast.core.model import AttemptOutcome, DeliveryState, Lead, Receipt, cancelled_state, is_heard
from leadcast.store.batches import claims, rounds
from leadcast.store.batches.leads import from_data
from leadcast.store.batches.waiting import begun_at
from leadcast.store.schema import attempts, batches, deliveries


@dataclass(frozen=True, kw_only=True)
class Due:
    """A delivery that is to be sent. `tries`: attempts that count, before this one."""

    delivery_id: str
    type: str
    state: DeliveryState
    credentials_sealed: str | None
    settings: Mapping[str, Any]
    tries: int
    round_at: datetime
    batch_id: str
    error_code: str
    waits_for: str
    next_attempt_at: datetime | None
    attempts: int
    asked: str
    wanted_at: datetime
    """When a person last wanted it sent: when it was accepted, or asked for again."""
    is_erased: bool
    is_cancelled: bool
    begun_at: datetime | None
    """When the first attempt of its round has begun. None has of one that was only put off so far."""


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


def due(connection: Connection, delivery_id: str, *, now: datetime) -> Due | None:
    """The delivery as it stands. None: it is delivered or cancelled, nothing is to be sent.

    Raises:
        StoreError: there is no such delivery.
    """
    row = _locked(connection, delivery_id)
    state = DeliveryState(row.state)
    if not state.may_become(DeliveryState.SENDING):
        return None
    tries, round_at = _round(row, now=now)
    return Due(
        delivery_id=delivery_id,
        type=row.type,
        state=state,
        credentials_sealed=row.credentials_sealed,
        settings=row.settings,
        tries=tries,
        round_at=round_at,
        batch_id=row.batch_id,
        error_code=(row.error or {}).get("code", ""),
        waits_for=row.waits_for or "",
        next_attempt_at=row.next_attempt_at,
        attempts=row.attempts,
        asked=row.asked or "",
        wanted_at=row.asked_at or row.accepted_at,
        is_erased=row.erased_at is not None,
        is_cancelled=row.cancelled_at is not None,
        begun_at=None if _begins_round(state) else row.begun_at,
    )


def _round(row: Row[Any], *, now: datetime) -> tuple[int, datetime]:
    """How many tries this round has had, and since when it goes. The first attempt begins one, and so does a person who
    starts again what has ended."""
    if _begins_round(DeliveryState(row.state)):
        return 0, now
    return row.tries, row.round_at or now


def _begins_round(state: DeliveryState) -> bool:
    return state in (DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.UNKNOWN)


def wake(connection: Connection, delivery_id: str) -> None:
    """It waits no longer: somebody is at work on it, and its batch must not be parked meanwhile."""
    connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(waits_for=None))


def postpone(
    connection: Connection,
    item: Due,
    *,
    account: str,
    error: DeliveryError,
    waits_for: str,
    until: datetime,
    decided: bool,
    now: datetime,
    asked_at: datetime | None = None,
) -> bool:
    """Lets a delivery wait before an attempt has begun. False: it has ended meanwhile.

    Args:
        waits_for: empty: its own run comes back to it.
        decided: a person has started again what was `unknown`, and the service cannot be asked: it may be sent.
        asked_at: when a person has asked for this attempt; none else: whoever sends it does so for him.
    """
    row = _locked(connection, item.delivery_id)
    if not DeliveryState(row.state).may_become(DeliveryState.RETRYING) or _has_ended_since(row, item):
        return False
    if item.state is DeliveryState.SENDING:
        _bury(connection, item.delivery_id, now=now)
    values: dict[str, Any] = {
        "state": DeliveryState.RETRYING,
        "tries": item.tries,
        "round_at": item.round_at,
        "account": account,
        "waits_for": waits_for or None,
        "next_attempt_at": until,
        "finished_at": None,
        "error": error_as_json(error),
    }
    if asked_at is not None:
        values["asked_at"] = asked_at
        rounds.ask(connection, batch_id=item.batch_id)
    if decided:
        values["in_doubt"] = False
    connection.execute(update(deliveries).where(deliveries.c.id == item.delivery_id).values(**values))
    return True


def keep(connection: Connection, begun: Begun, progress: Mapping[str, Any]) -> None:
    """Writes down how far the attempt is, for the next one."""
    connection.execute(update(deliveries).where(deliveries.c.id == begun.delivery_id).values(kept=dict(progress)))


def begin(
    connection: Connection,
    delivery_id: str,
    *,
    worker: str,
    now: datetime,
    seen: Due | None = None,
    account: str | None = None,
    asked: str = "",
    asked_at: datetime | None = None,
) -> Begun | None:
    """Marks the delivery `sending` and writes a new attempt. None: it is delivered or cancelled, nothing is to be sent.

    Args:
        seen: as it was looked at before. None also where it has ended since.
        asked: which clear of its task a person has asked by; empty: none, and the last one is still known.
        asked_at: when, if it is this attempt that was asked for.

    Raises:
        StoreError: there is no such delivery.
    """
    row = _locked(connection, delivery_id)
    before = DeliveryState(row.state)
    if not before.may_become(DeliveryState.SENDING) or (seen is not None and _has_ended_since(row, seen)):
        return None
    if before is DeliveryState.SENDING:
        _bury(connection, delivery_id, now=now)
    if asked:
        rounds.ask(connection, batch_id=row.batch_id)
    in_doubt_since = _in_doubt_since(connection, delivery_id) if row.in_doubt else None
    number = row.attempts + 1
    was_refused = number > 1 and _was_refused(connection, delivery_id)
    tries_before, round_at = _round(row, now=now)
    tries = tries_before + 1
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(
            state=DeliveryState.SENDING,
            attempts=number,
            tries=tries,
            round_at=round_at,
            in_doubt=True,
            account=account,
            asked=asked or row.asked,
            asked_at=asked_at or row.asked_at,
            waits_for=None,
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
        tries=tries,
        round_at=round_at,
        before=before,
        in_doubt=row.in_doubt,
        kept=row.kept or {},
        in_doubt_since=in_doubt_since,
        was_refused=was_refused,
    )


def _has_ended_since(row: Row[Any], seen: Due) -> bool:
    """Whether somebody has ended it, or cancelled its batch, since it was looked at. It may be `unknown` now, and
    a new attempt would begin a new round that nobody has asked for."""
    state = DeliveryState(row.state)
    has_ended = state in (DeliveryState.FAILED, DeliveryState.UNKNOWN) and state is not seen.state
    return has_ended or (row.cancelled_at is not None and not seen.is_cancelled)


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


def end(connection: Connection, begun: Begun, ended: Ended, *, now: datetime, run_id: str = "") -> DeliveryState:
    """Writes how the attempt ended. Returns what the delivery is now: in a batch that was cancelled meanwhile, nothing
    follows; of an attempt that was given up for dead, only its success counts, and only where none has followed.

    Args:
        run_id: the attempt's. If its batch has ended meanwhile, this run has to settle it anew.
    """
    # the delivery's lock comes first: whoever cancels or takes over holds it, and what he wrote is then seen
    state = DeliveryState(_locked(connection, begun.delivery_id).state)
    error = None if ended.error is None else error_as_json(ended.error)
    is_ours = _end_attempt(connection, begun, ended.outcome, error, now=now)
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
            tries=begun.tries if ended.counts else begun.tries - 1,
            waits_for=ended.waits_for or None,
            next_attempt_at=ended.next_attempt_at,
            finished_at=now if ended.state.is_final else None,
        )
    )
    return ended.state


def _end_attempt(
    connection: Connection, begun: Begun, outcome: AttemptOutcome, error: Mapping[str, Any] | None, *, now: datetime
) -> bool:
    """Writes the attempt's outcome. False: its lock was lost with the database's session, and it was buried since."""
    this_one = attempts.c.id == begun.attempt_id
    before = connection.execute(select(attempts.c.outcome).where(this_one)).scalar()
    connection.execute(
        update(attempts)
        .where(this_one)
        .values(
            outcome=outcome,
            code=error["code"] if error else None,
            message=error["message"] if error else None,
            finished_at=now,
        )
    )
    return before == AttemptOutcome.RUNNING


def _is_cancelled(connection: Connection, begun: Begun) -> bool:
    at = connection.execute(select(batches.c.cancelled_at).where(batches.c.id == begun.batch_id)).scalar()
    return at is not None


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
    values: dict[str, Any] = {"state": state, "finished_at": now, "next_attempt_at": None, "waits_for": None}
    if error is not None:
        values["error"] = error_as_json(error)
    connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))


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
        select(
            deliveries,
            batches.c.lead_id,
            batches.c.lead,
            batches.c.accepted_at,
            batches.c.erased_at,
            batches.c.cancelled_at,
            begun_at().label("begun_at"),
        )
        .join(batches, deliveries.c.batch_id == batches.c.id)
        .where(deliveries.c.id == delivery_id)
        .with_for_update(of=deliveries)
    ).one_or_none()
    if row is None:
        raise StoreError(f"The ledger has no delivery {delivery_id!r}.")
    return row
