"""Brings the store's tables up to date, or back, with alembic. No ini file: all it needs is the engine."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Text, column, func, select, table, text

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "leadcast_version"
_LOCK = 0x1EADCA57


def upgrade(engine: Engine, *, revision: str = "head") -> None:
    """Brings the store to `revision`. Two processes at once: the second waits, then finds it done."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, *, revision: str = "base") -> None:
    """Brings the store back to `revision`. What later tables held is gone."""
    with engine.begin() as connection:
        command.downgrade(_config(connection), revision)


def current(connection: Connection) -> str | None:
    """The revision that the store is at; None: it has no tables yet. Asked for every few seconds by `/health`."""
    # not alembic's MigrationContext, which logs two lines each time
    if connection.execute(select(func.to_regclass(VERSION_TABLE))).scalar() is None:
        return None
    return connection.execute(select(column("version_num", Text)).select_from(table(VERSION_TABLE))).scalar()


def newest() -> str:
    """The revision that this code was written for."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert head is not None
    return head


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
