"""Which runs the sweep asks Airflow for: those that it has not asked for for longest, and so all in their turn."""

from __future__ import annotations

from datetime import timedelta

import pytest

from leadcast.core.clock import utc_now
from leadcast.store.batches import run_requests
from leadcast.store.database import Store

pytestmark = pytest.mark.store
NOW = utc_now()


def due(store: Store, *, after_s: float) -> list[str]:
    now = NOW + timedelta(seconds=after_s)
    with store.begin() as connection:
        return sorted(run_requests.due(connection, before=now - timedelta(seconds=60), now=now, limit=2))


def test_all_have_their_turn(store: Store) -> None:
    with store.begin() as connection:
        for number in range(4):
            run_requests.note(connection, run_id=f"r{number}", now=NOW + timedelta(seconds=number))
    assert due(store, after_s=60) == [], "it has just come"
    assert due(store, after_s=70) == ["r0", "r1"]
    assert due(store, after_s=71) == ["r2", "r3"]
    assert due(store, after_s=72) == []
    with store.begin() as connection:
        run_requests.forget(connection, run_id="r1")
        run_requests.note(connection, run_id="r0", now=NOW + timedelta(seconds=100))
    assert due(store, after_s=132) == ["r2", "r3"], "that one was cleared meanwhile"
    assert "r0" in due(store, after_s=200)
