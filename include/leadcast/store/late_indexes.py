"""Indexes of tables that may be large: made beside traffic, after the tables themselves, and each by itself.

PostgreSQL makes an index without holding up who writes only outside a transaction, so an upgrade that breaks off here
leaves some of them unmade, or one half made. Whoever upgrades next finds that and makes them: the store works without
them, only slower the more it holds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import OperationalError

from leadcast.core.errors import StoreError

WAITS_FOR_OTHERS_S = 120
"""How long an index waits for transactions that were open before it was begun. Nobody waits for it meanwhile."""
ANOTHER_BUILDS_FOR_S = 3600
"""How long to wait for another process that makes them."""
_PAUSE_S = 0.5
_LOCK = 0x1EADCA58

Definitions = Mapping[str, str]
"""Name of an index → what it is on: table, columns and condition, as they stand behind `ON`."""


def make(engine: Engine, wanted: Definitions) -> None:
    """Makes those that are missing. Two processes at once: the second waits, then finds it done.

    Raises:
        StoreError: one could not be made; those before it were.
    """
    if not unmade(engine, wanted):
        return
    with _alone(engine) as connection:
        for name, valid in _found(connection, wanted).items():
            if not valid:  # what an interrupted one has left: written to, and never read
                _run(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        for name in _missing(connection, wanted):
            _run(connection, f"CREATE INDEX CONCURRENTLY {name} ON {wanted[name]}")


def unmade(engine: Engine, wanted: Definitions) -> list[str]:
    """Names of those that are not there, or only half."""
    with engine.connect() as connection:
        return _missing(connection, wanted)


def _missing(connection: Connection, wanted: Definitions) -> list[str]:
    found = _found(connection, wanted)
    return [name for name in wanted if not found.get(name)]


def _found(connection: Connection, wanted: Definitions) -> dict[str, bool]:
    """Those that are there → whether they are whole."""
    rows = connection.execute(
        text(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE c.relname = ANY(:names) AND pg_table_is_visible(c.oid)"
        ),
        {"names": list(wanted)},
    )
    return {row.relname: row.indisvalid for row in rows}


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A session of its own in which statements are no transactions, while no other process makes indexes."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()  # it ends with this block: what is set in it is for nobody else
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text(f"SET lock_timeout = '{WAITS_FOR_OTHERS_S}s'"))
        until = time.monotonic() + ANOTHER_BUILDS_FOR_S
        # never waits within a statement: the other process would wait for that to end, and both for ever
        while not connection.execute(select(func.pg_try_advisory_lock(_LOCK))).scalar():
            if time.monotonic() > until:
                raise StoreError(
                    f"Another process has been making the store's indexes for {ANOTHER_BUILDS_FOR_S / 60:.0f} minutes. "
                    "The store works without them. To see to the rest later: leadcast upgrade"
                )
            time.sleep(_PAUSE_S)
        yield connection


def _run(connection: Connection, statement: str) -> None:
    try:
        connection.execute(text(statement))
    except OperationalError as error:
        raise StoreError(
            f"{statement.partition(' ON ')[0]}: PostgreSQL says: {str(error.orig).splitlines()[0]}. A transaction that "
            f"stays open for more than {WAITS_FOR_OTHERS_S} s, say of a backup, holds it up. The store works without "
            "it, slower the more it holds. When that is over: leadcast upgrade"
        ) from None
