"""A store as an older version of Leadcast has left it, in a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, make_url, text

from leadcast.store.database import Store, open_engine
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import migrate


@contextmanager
def older_store(postgres_url: str, *, name: str, revision: str, fernet_key: str) -> Iterator[Store]:
    """A new one at this revision.

    Args:
        name: of its database; one of before is dropped.
    """
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    engine = open_engine(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
    migrate.upgrade(engine, revision=revision)
    yield Store(engine, Sealer(fernet_key, accepts_unbound=True))
    engine.dispose()
