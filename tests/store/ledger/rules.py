"""What must be true of the ledger at any moment, and what once all is calm. A trigger writes down every change."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Row, select, text

from leadcast.core.model import AttemptOutcome, BatchStatus, Counters, DeliveryState, status_of
from leadcast.core.setting_choices import OnUnknown
from leadcast.store.database import Store
from leadcast.store.outbox import OutboxState
from leadcast.store.schema import attempts, batches, deliveries, events, notifications

from .world import NEITHER, REPEATABLE, World

D, S = DeliveryState, BatchStatus
_WATCH = """
CREATE TABLE seen (n bigserial, id text, was text, is_now text);
CREATE FUNCTION see_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen (id, was, is_now) VALUES (new.id, old.state, new.state);
    RETURN new;
END $$;
CREATE TRIGGER see_delivery AFTER UPDATE ON deliveries FOR EACH ROW WHEN (old.state <> new.state)
    EXECUTE FUNCTION see_delivery();
"""
_UNWATCH = """
DROP TRIGGER see_delivery ON deliveries;
DROP FUNCTION see_delivery;
DROP TABLE seen;
"""
_TABLES = (
    "notifications events places attempts deliveries workers lanes batches leads oauth_tokens limits circuits memory "
    "erasures seen"
)
# few rows are deleted much faster than tables are truncated
_EMPTY = "; ".join(f"DELETE FROM {table}" for table in _TABLES.split())
_FRESH_BELL = "UPDATE inbox SET waiting_run_id = NULL, rung_at = NULL"


@contextmanager
def watched(store: Store) -> Iterator[None]:
    """While it lasts, every change of a delivery's state is kept."""
    with store.begin() as connection:
        connection.execute(text(_WATCH))
    try:
        yield
    finally:
        with store.begin() as connection:
            connection.execute(text(_UNWATCH))


def empty(store: Store) -> None:
    """Nothing is in the store any more."""
    with store.begin() as connection:
        connection.execute(text(f"{_EMPTY}; {_FRESH_BELL}"))


def check(world: World) -> None:
    """What is true at any moment at which nobody is at work.

    Raises:
        AssertionError: it is not.
    """
    assert not world.violations, world.violations
    with world.store.begin() as connection:
        changes = connection.execute(text("DELETE FROM seen RETURNING id, was, is_now")).all()
        its_deliveries: dict[str, list[Row[Any]]] = defaultdict(list)
        for row in connection.execute(select(deliveries).order_by(deliveries.c.index)):
            its_deliveries[row.batch_id].append(row)
        its_attempts: dict[str, list[Row[Any]]] = defaultdict(list)
        for row in connection.execute(select(attempts).order_by(attempts.c.id)):
            its_attempts[row.delivery_id].append(row)
        all_batches = connection.execute(select(batches)).all()
    for change in changes:
        assert D(change.was).may_become(D(change.is_now)), change
    assert world.accepted <= {batch.id for batch in all_batches}, "what was accepted is lost"
    for batch in all_batches:
        _check_batch(batch, its_deliveries[batch.id])
        for row in its_deliveries[batch.id]:
            _check_delivery(row, its_attempts[row.id], world, asks=batch.asks)


def _check_batch(batch: Row[Any], rows: list[Row[Any]]) -> None:
    assert (batch.finished_at is not None) == S(batch.status).is_final, batch
    if batch.status == S.PENDING:
        assert all(row.state != D.SENDING for row in rows), (batch, rows)
    if batch.status == S.PROCESSING:
        assert batch.wave_id is not None, batch


def _check_delivery(row: Row[Any], made: list[Row[Any]], world: World, *, asks: int) -> None:
    assert [item.number for item in made] == list(range(1, row.attempts + 1)), (row, made)
    running = [item for item in made if item.outcome == AttemptOutcome.RUNNING]
    assert len(running) == (row.state == D.SENDING), (row, made)
    assert (row.finished_at is not None) == D(row.state).is_final, row
    if row.waits_for is not None:
        assert row.state == D.RETRYING, row
        assert row.next_attempt_at is not None, row
    executed = world.executed[row.id]
    is_decided = row.type == NEITHER and (asks > 0 or row.asked_at is not None)
    if row.type != REPEATABLE and not (row.type == NEITHER and world.settings.on_unknown is OnUnknown.RESEND):
        assert executed <= 1 or is_decided, f"the service has it {executed} times: {row}"
    if row.state == D.DELIVERED:
        assert executed, f"the service does not have it: {row}"
        assert row.receipt, row
        assert not row.in_doubt, row
    if row.state == D.CANCELLED or (row.state == D.FAILED and row.type != REPEATABLE):
        assert not executed or is_decided, f"the service has it: {row}, {made}"
    if row.state == D.UNKNOWN:
        assert row.in_doubt, row
    if D(row.state).is_final:
        assert row.worker_id is None, row
    if row.state == D.FAILED and (row.error or {})["code"] == "not_begun":
        assert row.losses >= world.settings.max_claims, f"never begun, and failed: {row}"


def is_calm(world: World) -> bool:
    """Whether nobody has anything left to do."""
    is_open = deliveries.c.state.not_in([state for state in D if state.is_final])
    with world.store.begin() as connection:
        left = connection.execute(select(is_open.label("is_open")).where(is_open).limit(1)).scalar()
        held = connection.execute(select(batches.c.id).where(batches.c.finished_at.is_(None)).limit(1)).scalar()
        untold = connection.execute(
            select(notifications.c.id).where(notifications.c.state == OutboxState.PENDING).limit(1)
        ).scalar()
    return all(run.is_over for run in world.runs.values()) and not (left or held or untold)


def check_calm(world: World) -> None:
    """What is true once nothing more happens by itself.

    Raises:
        AssertionError: it is not.
    """
    check(world)
    with world.store.begin() as connection:
        rows = connection.execute(select(deliveries).order_by(deliveries.c.index)).all()
        told = connection.execute(select(notifications)).all()
        all_batches = connection.execute(select(batches)).all()
        all_events = connection.execute(select(events).order_by(events.c.sequence)).all()
    assert all(row.state == OutboxState.SENT for row in told), told
    for item in told:
        assert 1 <= world.told[item.key] <= 1 + world.died_telling[item.key], item.key
    # how often the outcome had changed by then is at the end
    keys = {re.sub(r":turn[0-9]+$", "", item.key) for item in told}
    last_word = {event.batch_id: event.snapshot for event in all_events}
    for batch in all_batches:
        states = [D(row.state) for row in rows if row.batch_id == batch.id]
        assert _outcome(last_word[batch.id]) == (batch.status, states), (batch, last_word[batch.id])
        assert all(state.is_final for state in states), (batch, states)
        assert status_of(Counters.of(states)) == batch.status, (batch, states)
        end = f":{batch.status}" + (f":{batch.asks}" if batch.asks else "")
        for occasion in ("then", "finally"):
            assert f"{batch.id}:hook:{occasion}{end}" in keys, (batch, keys)
        occasions = {batch.status, "critical"}
        for channel, prefix in (("email", ""), ("callback_url", "batch.")):
            if batch.status == S.CANCELLED or (channel == "callback_url" and not batch.callback_url_sealed):
                continue
            wanted = {f"{batch.id}:{channel}:{prefix}{occasion}{end}" for occasion in occasions}
            assert wanted & keys, (wanted, keys)


def _outcome(snapshot: Mapping[str, Any]) -> tuple[str, list[str]]:
    return snapshot["status"], [item["state"] for item in snapshot["deliveries"]]
