"""A PgBouncer between us and PostgreSQL: where it takes our locks away, doctor says so, and says the mend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL, text

from leadcast.core.errors import StoreError
from leadcast.engine.settings import config
from leadcast.engine.setup import doctor
from leadcast.engine.setup.finding import Level
from leadcast.store.database import Store, open_engine
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep.pooler import not_in_force, shares_sessions
from tests.store.pgbouncer import pgbouncer
from tests.support.own_postgres import OwnPostgres, own_postgres

pytestmark = pytest.mark.store

TIMEOUTS = ["idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout"]


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    with own_postgres() as running:
        yield running


def store_at(url: URL, fernet_key: str) -> Store:
    return Store(open_engine(url.render_as_string(hide_password=False)), Sealer(fernet_key))


def findings(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Level, str]]:
    monkeypatch.setattr(config, "store", lambda: store)
    return [(found.level, f"{found.what} → {found.mend}") for found in doctor._sessions()]


def test_without_one_there_is_nothing_to_say(
    server: OwnPostgres, fernet_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(server.url, fernet_key)
    assert (shares_sessions(store), not_in_force(store)) == (False, [])
    assert findings(store, monkeypatch) == []


def test_in_transaction_mode_locks_hold_nothing_and_doctor_says_so(
    server: OwnPostgres, fernet_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(server, mode="transaction", ignores="options") as url:
        store = store_at(url, fernet_key)
        with store.lock("delivery:1") as mine, store.lock("delivery:1") as also_mine:
            assert mine
            assert also_mine, "what doctor warns of"
        assert shares_sessions(store)
        level, said = findings(store, monkeypatch)[0]
        store.engine.dispose()
    assert level is Level.FAIL
    assert "twice" in said
    assert "docs/running.md" in said


def test_in_session_mode_locks_hold_and_time_outs_come_from_the_role(
    server: OwnPostgres, fernet_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(server, mode="session", ignores="options") as url:
        store = store_at(url, fernet_key)
        with store.lock("delivery:1") as mine, store.lock("delivery:1") as also_mine:
            assert (mine, also_mine) == (True, False)
        assert not shares_sessions(store)
        [(level, said)] = findings(store, monkeypatch)
        assert level is Level.WARN
        assert ", ".join(TIMEOUTS) in said
        with store.begin() as connection:  # as docs/running.md says
            for name, value in (("statement", "60s"), ("lock", "30s"), ("idle_in_transaction_session", "90s")):
                connection.execute(text(f"ALTER ROLE {url.username} SET {name}_timeout = '{value}'"))
        store.engine.dispose()
    with pgbouncer(server, mode="session", ignores="options") as url:
        store = store_at(url, fernet_key)
        assert findings(store, monkeypatch) == []
        with store.begin() as connection:
            connection.execute(text(f"ALTER ROLE {url.username} RESET ALL"))
        store.engine.dispose()


def test_one_that_refuses_us_is_named(server: OwnPostgres, fernet_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pgbouncer(server, mode="session") as url:
        store = store_at(url, fernet_key)
        with pytest.raises(StoreError, match=r"PgBouncer.*docs/running\.md"):
            store.ping()
        [(level, said)] = findings(store, monkeypatch)
        store.engine.dispose()
    assert level is Level.FAIL
    assert "PgBouncer" in said
