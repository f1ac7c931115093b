"""The tables: up, down, up, and as the schema says."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError

from leadcast.core.errors import IndexesUnmade
from leadcast.core.settings import Settings
from leadcast.engine.settings import config
from leadcast.engine.setup import doctor, init
from leadcast.flow.inbox import Inbox
from leadcast.store.database import Store, open_engine
from leadcast.store.schema import metadata
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import late_indexes, migrate

pytestmark = pytest.mark.store


@pytest.fixture
def empty(postgres_url: str) -> Iterator[Engine]:
    """A database with nothing in it."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrations WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE migrations"))
    engine = open_engine(make_url(postgres_url).set(database="migrations").render_as_string(hide_password=False))
    yield engine
    engine.dispose()
    admin.dispose()


def test_up_down_up_leaves_the_tables_as_the_schema_says(empty: Engine) -> None:
    migrate.upgrade(empty)
    migrate.downgrade(empty)
    assert set(inspect(empty).get_table_names()) == {migrate.VERSION_TABLE}
    migrate.upgrade(empty)
    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        differences = [
            change for change in compare_metadata(context, metadata) if migrate.VERSION_TABLE not in str(change)
        ]
        assert differences == []
        assert migrate.current(connection) == migrate.newest()


def test_an_upgrade_that_is_done_again_changes_nothing(empty: Engine) -> None:
    migrate.upgrade(empty)
    migrate.upgrade(empty)
    with empty.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM inbox")).scalar() == 1


def test_several_processes_may_upgrade_at_once(empty: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate.upgrade(empty), range(4)))
    with empty.connect() as connection:
        assert migrate.current(connection) == migrate.newest()


@pytest.fixture
def large_tables(empty: Engine) -> Engine:
    """A store whose tables were made before the indexes that are made beside traffic."""
    migrate.upgrade(empty, revision="0004")
    return empty


def indexes(engine: Engine) -> dict[str, bool]:
    """Index → whether it is whole."""
    query = (
        "SELECT indexrelid::regclass::text, indisvalid FROM pg_index "
        "WHERE indrelid IN ('batches'::regclass, 'deliveries'::regclass)"
    )
    with engine.connect() as connection:
        return dict(connection.execute(text(query)).tuples().all())


def test_indexes_are_as_the_schema_says_in_their_conditions_too(empty: Engine) -> None:
    def defined(schema: str) -> dict[str, str]:
        with empty.connect() as connection:
            query = text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = :schema")
            found = connection.execute(query, {"schema": schema}).all()
        return {name: definition.replace(f" {schema}.", " ") for name, definition in found}

    migrate.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("CREATE SCHEMA fresh"))
        metadata.create_all(connection.execution_options(schema_translate_map={None: "fresh"}))
    made = {name: on for name, on in defined("public").items() if migrate.VERSION_TABLE not in name}
    assert made == defined("fresh")


def test_an_index_that_an_interrupted_upgrade_has_left_half_made_is_made_again(large_tables: Engine) -> None:
    """A long transaction, then no patience: that is how PostgreSQL leaves one behind."""
    with large_tables.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()
        connection.execute(text("SET lock_timeout = '100ms'"))
        with large_tables.begin() as long_one:
            long_one.execute(text("LOCK TABLE batches IN ROW EXCLUSIVE MODE"))
            with pytest.raises(OperationalError):
                connection.execute(text("CREATE INDEX CONCURRENTLY ix_batches_status_accepted_at_id ON batches (id)"))
    assert indexes(large_tables)["ix_batches_status_accepted_at_id"] is False
    migrate.upgrade(large_tables)
    assert all(indexes(large_tables).values())
    assert migrate.unmade_indexes(large_tables) == []


REPLACED = {"ix_batches_waiting", "ix_notifications_due"}
"""Indexes of the older tables that others take the place of."""


def there(engine: Engine, names: set[str]) -> set[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT indexname FROM pg_indexes WHERE indexname = ANY(:names)"), {"names": [*names]}
        )
        return set(found.scalars())


def test_beside_a_transaction_that_stays_open_all_are_tried_and_what_they_replace_stays(
    large_tables: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup is one."""
    with monkeypatch.context() as impatient:
        impatient.setattr(late_indexes, "WAITS_FOR_OTHERS_S", 1)
        impatient.setattr(late_indexes, "WAITS_ONCE_MORE_S", 0.1)
        with large_tables.connect() as long_one:
            # what it has seen is nothing that a table's change waits for
            long_one.execution_options(isolation_level="REPEATABLE READ").execute(text("SELECT 1"))
            with pytest.raises(
                IndexesUnmade, match=r"ix_batches_status_accepted_at_id.*ix_notifications_waiting.*leadcast upgrade"
            ):
                migrate.upgrade(large_tables)
    with large_tables.connect() as connection:
        assert migrate.current(connection) == migrate.newest(), "the tables are those of this version"
    assert {"ix_batches_status_accepted_at_id", "ix_notifications_waiting"} <= set(migrate.unmade_indexes(large_tables))
    assert there(large_tables, REPLACED) == REPLACED
    migrate.upgrade(large_tables)
    assert migrate.unmade_indexes(large_tables) == []
    assert all(indexes(large_tables).values())
    assert there(large_tables, REPLACED) == set()


def test_indexes_of_what_waits_stay_until_that_of_the_lanes_has_been_made(large_tables: Engine) -> None:
    """A version that still claims goes by them."""
    of_claims = {"ix_batches_let_go", "ix_batches_open"}
    with large_tables.begin() as connection:
        for name in of_claims:
            connection.execute(text(f"CREATE INDEX {name} ON batches (id)"))
        connection.execute(text("CREATE TABLE ix_deliveries_lane ()"))
    with pytest.raises(IndexesUnmade, match="ix_deliveries_lane"):
        migrate.upgrade(large_tables)
    assert there(large_tables, of_claims) == of_claims
    with large_tables.begin() as connection:
        connection.execute(text("DROP TABLE ix_deliveries_lane"))
    migrate.upgrade(large_tables)
    assert there(large_tables, of_claims) == set()
    assert indexes(large_tables)["ix_deliveries_lane"]


def test_an_older_version_finds_what_is_open_where_it_looks(empty: Engine, fernet_key: str) -> None:
    """It claims what is pending and no wave's. What waits for something waits on."""
    migrate.upgrade(empty)
    inbox = Inbox(Store(empty, Sealer(fernet_key)), Settings())
    body = {"lead_id": "1", "lead": {}, "integrations": [{"type": "email"}, {"type": "telegram"}]}
    begun, ended = (inbox.accept(body).batch_id for _ in range(2))
    with empty.begin() as connection:
        connection.execute(text("UPDATE batches SET status = 'processing', wave_id = 'w'"))
        connection.execute(text("UPDATE deliveries SET state = 'retrying', next_attempt_at = now()"))
        connection.execute(text("UPDATE deliveries SET waits_for = 'circuit' WHERE type = 'telegram'"))
        connection.execute(text(f"UPDATE batches SET status = 'completed' WHERE id = '{ended}'"))
        connection.execute(text(f"UPDATE deliveries SET state = 'delivered' WHERE batch_id = '{ended}'"))
    migrate.downgrade(empty, revision="0015")
    with empty.begin() as connection:
        stands = connection.execute(text("SELECT id, status, wave_id FROM batches")).tuples().all()
        of_begun = text(f"SELECT type, state FROM deliveries WHERE batch_id = '{begun}'")
        states = connection.execute(of_begun).tuples().all()
    assert set(stands) == {(begun, "pending", None), (ended, "completed", "w")}
    assert dict(states) == {"email": "pending", "telegram": "retrying"}


def test_one_index_that_cannot_be_made_keeps_no_other_from_being_made(large_tables: Engine) -> None:
    with large_tables.begin() as connection:
        connection.execute(text("CREATE TABLE ix_batches_status_accepted_at_id ()"))
    with pytest.raises(IndexesUnmade, match=r"ix_batches_status_accepted_at_id: .*already exists.*leadcast upgrade"):
        migrate.upgrade(large_tables)
    assert migrate.unmade_indexes(large_tables) == ["ix_batches_status_accepted_at_id"]
    assert there(large_tables, REPLACED) == {"ix_batches_waiting"}, "what has a successor by now is gone"


def test_init_and_upgrade_go_on_without_an_index_and_say_how_to_make_it(
    large_tables: Engine, fernet_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow may be started: the store works."""
    monkeypatch.setattr(config, "store", lambda *_: Store(large_tables, Sealer(fernet_key)))
    with large_tables.begin() as connection:
        connection.execute(text("CREATE TABLE ix_batches_status_accepted_at_id ()"))
    at, lacks = init._migrate()
    assert at == f"store: at revision {migrate.newest()} (was 0004)"
    assert lacks.startswith("store: ")
    assert "ix_batches_status_accepted_at_id" in lacks
    assert "leadcast upgrade" in lacks
    (warning,) = [finding for finding in doctor._store() if finding.level == "warn"]
    assert "ix_batches_status_accepted_at_id" in warning.what
    assert "leadcast upgrade" in warning.mend


def test_what_was_replaced_and_could_not_be_dropped_goes_with_the_next_upgrade(large_tables: Engine) -> None:
    migrate.upgrade(large_tables)
    with large_tables.begin() as connection:
        connection.execute(text("CREATE INDEX ix_batches_waiting ON batches (priority)"))
    migrate.upgrade(large_tables)
    assert there(large_tables, REPLACED) == set()


def test_several_processes_may_make_the_indexes_at_once(large_tables: Engine) -> None:
    """None waits for the other in a way that PostgreSQL would have to end."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate.upgrade(large_tables), range(4)))
    assert migrate.unmade_indexes(large_tables) == []
    assert all(indexes(large_tables).values())
