"""A PgBouncer between us and PostgreSQL: it harms no lead, and doctor says what it takes away, and the mend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import URL, text

from leadcast.core.errors import AttemptFailed, StoreError
from leadcast.core.settings import Settings
from leadcast.engine.settings import config
from leadcast.engine.setup import doctor
from leadcast.engine.setup.finding import Level
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.integrations.base import Account
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.database import Store, open_engine
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import migrate
from leadcast.store.upkeep.pooler import not_in_force, shares_sessions
from tests.store.conftest import OneSecret, Service
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


def test_in_transaction_mode_a_lead_is_sent_once_and_doctor_says_what_is_not_to_be_done_there(
    server: OwnPostgres, fernet_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(server_engine := open_engine(server.url.render_as_string(hide_password=False)))
    server_engine.dispose()
    service = Service()
    with pgbouncer(server, mode="transaction", ignores="options") as url:
        store, other = store_at(url, fernet_key), store_at(url, fernet_key)
        batch = Inbox(store, Settings()).accept(
            {"lead_id": 1, "lead": {"name": "Анна"}, "integrations": [{"type": "telegram"}]}
        )
        delivery_id = f"{batch.batch_id}-0"

        def meanwhile() -> None:
            with pytest.raises(AttemptFailed, match="still on its way"):
                deliverer(other).deliver(delivery_id, integration=Service(), last_in_run=True)

        service.while_sending = meanwhile
        assert deliverer(store).deliver(delivery_id, integration=service, last_in_run=False) is not None
        assert shares_sessions(store)
        level, said = findings(store, monkeypatch)[0]
        for each in (store, other):
            each.engine.dispose()
    assert len(service.got) == 1
    assert level is Level.OK
    assert "leadcast init and upgrade cannot" in said


def deliverer(store: Store) -> Deliverer:
    return Deliverer(
        store=store,
        settings=Settings(),
        accounts=lambda integration, inline: Account(credentials=OneSecret()),
        tokens=StoredTokens(store),
        hide=lambda secret: None,
    )


def test_in_session_mode_time_outs_come_from_the_role(
    server: OwnPostgres, fernet_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(server, mode="session", ignores="options") as url:
        store = store_at(url, fernet_key)
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
