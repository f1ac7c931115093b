"""Brings the store's tables up to date, or back, with alembic. No ini file: all it needs is the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Text, column, func, select, table, text
from sqlalchemy.exc import OperationalError
from tenacity import RetryError, Retrying, retry_if_exception, stop_after_delay, wait_random

from leadcast.core.errors import StoreError
from leadcast.store.schema import metadata
from leadcast.store.upkeep import late_indexes, late_values

MIGRATIONS = Path(__file__).parents[1] / "migrations"
VERSION_TABLE = "leadcast_version"
TAKES_TURNS_FOR_S = 120
"""How long an upgrade tries to get its tables between those who use them."""
LOCK_TIMEOUT_MS = 200
"""How long it waits for one table. All who come after it wait behind it; and it gives way long before PostgreSQL would
look for a deadlock (1 s), which might break off the others' work instead."""
_LOCK = 0x1EADCA57
_LOCKED, _DEADLOCKED = "55P03", "40P01"


def upgrade(engine: Engine, *, revision: str = "head") -> None:
    """Brings the store to `revision`, all of it or nothing, and then fills in values and makes indexes that are missing
    in large tables. Others may use it meanwhile. Two processes at once: the second waits, then finds it done.

    Raises:
        StoreError: a newer version of Leadcast has made the store, or it is in use all the time.
        IndexesUnmade: it is at that revision, and works; some indexes could not be made.
    """
    _alone(engine, lambda connection: _go(connection, revision, command.upgrade))
    late_values.fill(engine, _declared(engine, "LATE_VALUES"))
    late_indexes.make(engine, _late_indexes(engine))


def unmade_indexes(engine: Engine) -> list[str]:
    """Names of the indexes that the store should have at its revision and has not: an upgrade broke off."""
    return late_indexes.unmade(engine, _late_indexes(engine))


def _late_indexes(engine: Engine) -> late_indexes.Wanted:
    return late_indexes.Wanted(_declared(engine, "LATE_INDEXES"), _declared(engine, "REPLACED_INDEXES"))


def _declared(engine: Engine, name: str) -> dict[str, Any]:
    """What the migrations have declared under this name, up to the revision that the store is at."""
    with engine.connect() as connection:
        at = current(connection)
    steps = reversed([step.module for step in _scripts().iterate_revisions(at or "base", "base")])
    return {key: value for step in steps for key, value in getattr(step, name, {}).items()}


def downgrade(engine: Engine, *, revision: str = "base") -> None:
    """Brings the store back to `revision`. What later tables held is gone.

    Raises:
        StoreError: a newer version of Leadcast has made the store, or it is in use all the time.
    """
    _alone(engine, lambda connection: _go(connection, revision, command.downgrade))


def remove(engine: Engine) -> None:
    """Drops every table of the store, with all leads and batches.

    Raises:
        StoreError: a newer version of Leadcast has made the store, or it is in use all the time.
    """

    def drop(connection: Connection) -> None:
        if current(connection) is not None:
            _go(connection, "base", command.downgrade)
        connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))

    _alone(engine, drop)


def current(connection: Connection) -> str | None:
    """The revision that the store is at; None: it has no tables yet. Asked for every few seconds by `/health`."""
    # not alembic's MigrationContext, which logs two lines each time
    if connection.execute(select(func.to_regclass(VERSION_TABLE))).scalar() is None:
        return None
    return connection.execute(select(column("version_num", Text)).select_from(table(VERSION_TABLE))).scalar()


def _revision(name: str) -> str | None:
    """Its number: of `head`, of `base` (none), or of itself."""
    return None if name == "base" else newest() if name == "head" else name


def newest() -> str:
    """The revision that this code was written for."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def _alone(engine: Engine, work: Callable[[Connection], None]) -> None:
    """Does it in one transaction on a store that this code knows, while no other process migrates it."""
    turns = Retrying(
        retry=retry_if_exception(_is_in_use), stop=stop_after_delay(TAKES_TURNS_FOR_S), wait=wait_random(0.05, 0.5)
    )
    try:
        turns(_one_turn, engine, work)
    except RetryError:
        raise StoreError(
            f"The store's tables were in use all the time for {TAKES_TURNS_FOR_S} s, so they are as they were. "
            "Try again, or stop Airflow meanwhile."
        ) from None


def _one_turn(engine: Engine, work: Callable[[Connection], None]) -> None:
    with engine.begin() as connection:
        # rewriting a large table takes as long as it takes, and so does another process that is at it
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
        refuse_newer(current(connection))
        work(connection)


def _go(connection: Connection, revision: str, way: Callable[[Config, str], None]) -> None:
    # tables that are as they should be are not taken from their users: `init` runs at each start
    if current(connection) != _revision(revision):
        _take_tables(connection)
        way(_config(connection), revision)


def _take_tables(connection: Connection) -> None:
    """Takes all tables for this transaction, before it changes the first. Whoever has one of them and comes for another
    meanwhile waits for this transaction, which waits for them, so that this turn is in vain: between the first table
    and the last there must be no more than a moment, however many steps there are to do."""
    present = select(func.unnest([each.name for each in metadata.sorted_tables]).label("name")).subquery()
    names = connection.execute(select(present.c.name).where(func.to_regclass(present.c.name).is_not(None))).scalars()
    if taken := ", ".join(names):
        connection.execute(text(f"LOCK TABLE {taken} IN ACCESS EXCLUSIVE MODE"))


def _is_in_use(error: BaseException) -> bool:
    if not isinstance(error, OperationalError):
        return False
    # psycopg2 and psycopg name it differently
    state = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None)
    return state in (_LOCKED, _DEADLOCKED)


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
