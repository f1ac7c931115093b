"""Brings the store's tables up to date, or back, with alembic. No ini file: all it needs is the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Text, column, func, select, table, text

from leadcast.core.errors import StoreError

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "leadcast_version"
_LOCK = 0x1EADCA57


def upgrade(engine: Engine, *, revision: str = "head") -> None:
    """Brings the store to `revision`. Two processes at once: the second waits, then finds it done.

    Raises:
        StoreError: a newer version of Leadcast has made the store.
    """
    with _alone(engine) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, *, revision: str = "base") -> None:
    """Brings the store back to `revision`. What later tables held is gone.

    Raises:
        StoreError: a newer version of Leadcast has made the store.
    """
    with _alone(engine) as connection:
        command.downgrade(_config(connection), revision)


def remove(engine: Engine) -> None:
    """Drops every table of the store, with all leads and batches.

    Raises:
        StoreError: a newer version of Leadcast has made the store.
    """
    with _alone(engine) as connection:
        if current(connection) is not None:
            command.downgrade(_config(connection), "base")
        connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))


def current(connection: Connection) -> str | None:
    """The revision that the store is at; None: it has no tables yet. Asked for every few seconds by `/health`."""
    # not alembic's MigrationContext, which logs two lines each time
    if connection.execute(select(func.to_regclass(VERSION_TABLE))).scalar() is None:
        return None
    return connection.execute(select(column("version_num", Text)).select_from(table(VERSION_TABLE))).scalar()


def newest() -> str:
    """The revision that this code was written for."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """One transaction on a store that this code knows; no other process migrates it meanwhile."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        refuse_newer(current(connection))
        yield connection


def refuse_newer(revision: str | None) -> None:
    """Lets a store of this revision pass if this code knows it.

    Raises:
        StoreError: it does not.
    """
    if revision is not None and revision not in {step.revision for step in _scripts().walk_revisions()}:
        raise StoreError(
            f"The store is at revision {revision}, which this version of Leadcast does not know: a newer one has made "
            "it. Install that version again (pip install --upgrade leadcast), or restore the store from a backup."
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
