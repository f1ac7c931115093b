"""One limiter for all processes: together they stay under what the service publishes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from leadcast.core.errors import Postponed
from leadcast.core.limits import LATENESS_S, MARGIN, Limit
from leadcast.store.accounts.limits import StoredLimits
from leadcast.store.database import Store, open_engine
from leadcast.store.schema import limits as table
from leadcast.store.schema import pauses
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import migrate
from tests.support.own_postgres import own_postgres

pytestmark = pytest.mark.store
HOUR = 3600.0
ACCOUNT = Limit(name="amocrm example.amocrm.ru", calls=3, period_s=HOUR)
CHAT = Limit(name="telegram chat", calls=1, period_s=HOUR / 2)


def test_many_at_once_get_what_the_limit_holds_and_the_others_are_told_when(store: Store) -> None:
    def take(_: int) -> float | None:
        try:
            return StoredLimits(store).take([ACCOUNT], may_wait_s=0.5)
        except Postponed:
            return None

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(take, range(16)))
    assert got.count(0.0) == 3
    assert got.count(None) == 13


def test_who_may_wait_long_enough_gets_a_slot_that_lies_ahead(store: Store) -> None:
    limiter = StoredLimits(store)
    for _ in range(3):
        limiter.take([ACCOUNT], may_wait_s=0)
    wait_s = limiter.take([ACCOUNT], may_wait_s=2 * HOUR)
    assert HOUR < wait_s <= HOUR * (1 + MARGIN) + LATENESS_S


def test_a_call_takes_a_slot_of_each_limit_or_of_none(store: Store) -> None:
    limiter = StoredLimits(store)
    limiter.take([ACCOUNT, CHAT], may_wait_s=0)
    with pytest.raises(Postponed, match="telegram chat") as early:
        limiter.take([ACCOUNT, CHAT], may_wait_s=0)
    assert 0 < early.value.wait_s <= HOUR
    # two are left for other chats: the refused one has taken none
    assert [limiter.take([ACCOUNT], may_wait_s=0) for _ in range(2)] == [0.0, 0.0]


def test_limits_of_other_names_are_other_limits(store: Store) -> None:
    limiter = StoredLimits(store)
    limiter.take([CHAT], may_wait_s=0)
    assert limiter.take([Limit(name="another chat", calls=1)], may_wait_s=0) == 0.0
    assert limiter.take([], may_wait_s=0) == 0.0


def test_a_pause_that_one_process_was_asked_for_holds_for_all(store: Store) -> None:
    StoredLimits(store).pause(ACCOUNT, pause_s=300)
    with pytest.raises(Postponed) as early:
        StoredLimits(store).take([ACCOUNT], may_wait_s=10)
    assert early.value.wait_s > 290


def test_names_are_kept_as_hashes_and_what_is_not_used_is_forgotten(store: Store) -> None:
    limiter = StoredLimits(store)
    limiter.take([ACCOUNT], may_wait_s=0)
    with store.begin() as connection:
        assert "example" not in str(connection.execute(select(table)).all())
    limiter.forget(older_than=timedelta(seconds=-1))
    with store.begin() as connection:
        assert connection.execute(select(func.count()).select_from(table)).scalar() == 0


def test_a_pause_outlives_a_crash_of_postgresql(fernet_key: str) -> None:
    """`limits` does not: PostgreSQL empties it when it recovers."""
    with own_postgres() as server:
        engine = open_engine(server.url.render_as_string(hide_password=False))
        migrate.upgrade(engine)
        store = Store(engine, Sealer(fernet_key))
        limiter = StoredLimits(store)
        limiter.take([CHAT], may_wait_s=0)
        limiter.pause(ACCOUNT, pause_s=HOUR)
        limiter.pause(ACCOUNT, pause_s=1)  # a shorter one asked for by another call shortens nothing
        server.stop()
        server.start()
        with store.begin() as connection:
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
        for _ in range(2):  # the first one writes it down again
            with pytest.raises(Postponed) as early:
                limiter.take([ACCOUNT], may_wait_s=0)
            assert HOUR - 600 < early.value.wait_s <= 2 * HOUR
        assert limiter.take([CHAT], may_wait_s=0) == 0.0
        engine.dispose()


def test_a_pause_that_is_over_is_forgotten(store: Store) -> None:
    limiter = StoredLimits(store)
    limiter.pause(ACCOUNT, pause_s=-1)
    limiter.pause(CHAT, pause_s=HOUR)
    limiter.forget(older_than=timedelta(days=1))
    with store.begin() as connection:
        assert connection.execute(select(func.count()).select_from(pauses)).scalar_one() == 1
