"""The tables: up, down, up, and as the schema says."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from leadcast.store import migrate
from leadcast.store.database import open_engine
from leadcast.store.schema import metadata

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
