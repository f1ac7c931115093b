"""Indexes of tables that may be large: made beside traffic, after the tables themselves, and each by itself.

PostgreSQL makes an index without holding up who writes only outside a transaction, so an upgrade that breaks off here
leaves some of them unmade, or one half made. Whoever upgrades next finds that and makes them. What they take the place
of is dropped when they are there, and not before: until then the store is as fast as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import DBAPIError

from leadcast.core.errors import IndexesUnmade

WAITS_FOR_OTHERS_S = 120
"""How long an index waits for transactions that were open before it was begun. Nobody waits for it meanwhile."""
WAITS_ONCE_MORE_S = 5
"""And how long each of the others does, once one of them could not be made: they wait for the same, most likely."""
ANOTHER_BUILDS_FOR_S = 3600
"""How long to wait for another process that makes them."""
_PAUSE_S = 0.5
_LOCK = 0x1EADCA58
_LOCKED = "55P03"


@dataclass(frozen=True)
class Wanted:
    """Which indexes there shall be.

    made: name → what it is on: table, columns and condition, as they stand behind `ON`.
    replaced: name of one that there shall be no longer → the one that takes its place.
    """

    made: Mapping[str, str]
    replaced: Mapping[str, str] = field(default_factory=dict)


def make(engine: Engine, wanted: Wanted) -> None:
    """Makes those that are missing, as many as can be, and drops what they replace. Two processes at once: the second
    waits, then finds it done.

    Raises:
        IndexesUnmade: some could not be made, or dropped; all others were. Or another process is at it, for very long.
    """
    with engine.connect() as connection:
        found = _found(connection, wanted)
    if not _to_make(wanted, found) and not _to_drop(wanted, found):
        return
    with _alone(engine) as connection:
        failed = _each(connection, _to_make(wanted, _found(connection, wanted)))
        if not connection.invalidated:
            failed |= _each(connection, _to_drop(wanted, _found(connection, wanted)))
    if failed:
        raise IndexesUnmade(_complaint(failed))


def unmade(engine: Engine, wanted: Wanted) -> list[str]:
    """Names of those that are not there, or only half."""
    with engine.connect() as connection:
        return list(_to_make(wanted, _found(connection, wanted)))


Steps = Mapping[str, Sequence[str]]
"""Name of an index → the statements that bring it to where it should be."""


def _to_make(wanted: Wanted, found: Mapping[str, bool]) -> Steps:
    # what an interrupted one has left is written to, and never read
    return {
        name: [*([_dropping(name)] if name in found else []), f"CREATE INDEX CONCURRENTLY {name} ON {on}"]
        for name, on in wanted.made.items()
        if not found.get(name)
    }


def _to_drop(wanted: Wanted, found: Mapping[str, bool]) -> Steps:
    return {old: [_dropping(old)] for old, new in wanted.replaced.items() if old in found and found.get(new)}


def _dropping(name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {name}"


def _found(connection: Connection, wanted: Wanted) -> dict[str, bool]:
    """Those that are there → whether they are whole."""
    rows = connection.execute(
        text(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE c.relname = ANY(:names) AND pg_table_is_visible(c.oid)"
        ),
        {"names": [*wanted.made, *wanted.replaced]},
    )
    return {row.relname: row.indisvalid for row in rows}


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A session of its own in which statements are no transactions, while no other process makes indexes."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.detach()  # it ends with this block: what is set in it is for nobody else
        connection.execute(text("SET statement_timeout = 0"))
        _wait_for_others(connection, WAITS_FOR_OTHERS_S)
        until = time.monotonic() + ANOTHER_BUILDS_FOR_S
        # never waits within a statement: the other process would wait for that to end, and both for ever
        while not connection.execute(select(func.pg_try_advisory_lock(_LOCK))).scalar():
            if time.monotonic() > until:
                raise IndexesUnmade(
                    f"Another process has been making the store's indexes for {ANOTHER_BUILDS_FOR_S / 60:.0f} minutes. "
                    "The store works without them. To see to the rest later: leadcast upgrade"
                )
            time.sleep(_PAUSE_S)
        yield connection


def _wait_for_others(connection: Connection, seconds: float) -> None:
    connection.execute(text(f"SET lock_timeout = '{seconds * 1000:.0f}ms'"))


def _each(connection: Connection, steps: Steps) -> dict[str, str]:
    """Goes all of these steps that can be gone. Those that cannot → PostgreSQL's words."""
    failed: dict[str, str] = {}
    for name, statements in steps.items():
        try:
            for statement in statements:
                connection.execute(text(statement))
        except DBAPIError as error:
            failed[name] = _words(error)
            if connection.invalidated:
                break
            _wait_for_others(connection, WAITS_ONCE_MORE_S)
    return failed


def _words(error: DBAPIError) -> str:
    codes = {getattr(error.orig, name, None) for name in ("sqlstate", "pgcode")}  # psycopg's name, and psycopg2's
    held_up = f" (a transaction that stays open for more than {WAITS_FOR_OTHERS_S} s, say of a backup, holds it up)"
    return (str(error.orig).splitlines() or ["nothing"])[0] + (held_up if _LOCKED in codes else "")


def _complaint(failed: Mapping[str, str]) -> str:
    by_words: dict[str, list[str]] = {}
    for name, words in failed.items():
        by_words.setdefault(words, []).append(name)
    said = "; ".join(f"{', '.join(names)}: PostgreSQL says: {words}" for words, names in by_words.items())
    return (
        "Some indexes of the store could not be made, or dropped where others have taken their place. "
        f"{said}. The store works, only slower the more it holds. When that is mended, and while leads go out: "
        "leadcast upgrade"
    )
