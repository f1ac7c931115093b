"""Seals anew, with the first key and each for its place, what the store holds sealed: after a change of keys, and after
an upgrade from a version that bound nothing to its place; while the system runs.

A row is changed only where it still holds what was read. Many rows are changed in one transaction as long as nobody
else has them; one that somebody has is waited for alone, with no other lock held, so that no deadlock can come of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, bindparam, func, select, text, update

from leadcast.core.errors import SettingsError
from leadcast.store.batches import waiting
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries, oauth_tokens
from leadcast.store.sealing import Purpose, Sealer, callback_url_of, credentials_of, tokens_of

CHUNK_ROWS = 500
LOOKED_AT_ROWS = 1000
"""Of each place, to see whether seals open at all. Keys of deliveries and batches are random, so these are any."""
LONGEST_WAIT_S = 100
"""A token's row is held while its service is asked for a new pair, which may take over a minute."""


@dataclass(frozen=True)
class Place:
    """Where the store holds sealed texts: the table's key, their column, and what each is sealed for."""

    name: str
    key: Column[Any]
    column: Column[Any]
    for_: Callable[[str], Purpose]


PLACES = (
    Place("credentials of deliveries", deliveries.c.id, deliveries.c.credentials_sealed, credentials_of),
    Place("callback URLs of batches", batches.c.id, batches.c.callback_url_sealed, callback_url_of),
    Place("OAuth tokens", oauth_tokens.c.account, oauth_tokens.c.sealed, tokens_of),
)

Advance = Callable[[int], None]
"""Told how many more rows are done."""


@dataclass
class Tally:
    """What came of one place. `lost`: no key that we have opens them, or they are sealed for another place."""

    place: str
    resealed: int = 0
    already: int = 0
    lost: int = 0

    def note(self, sealer: Sealer, sealed: str, *, for_: Purpose) -> str | None:
        """Counts one text. Returns it sealed anew, or None where it stays as it is."""
        try:
            anew = sealer.resealed(sealed, for_=for_)
        except SettingsError:
            self.lost += 1
            return None
        if anew is None:
            self.already += 1
        else:
            self.resealed += 1
        return anew

    def add(self, other: Tally) -> None:
        """Counts what was counted elsewhere."""
        self.resealed += other.resealed
        self.already += other.already
        self.lost += other.lost


def count(store: Store) -> int:
    """How many sealed texts the store holds."""
    with store.begin() as connection:
        return sum(connection.execute(_sealed(place, func.count())).scalar_one() for place in PLACES)


def look(store: Store) -> tuple[int, int]:
    """Of some rows of each place, and some deliveries that wait: how many seals there are, and how many of them do not
    open here. Changes nothing.

    Raises:
        StoreError: the store could not be used.
    """
    found: dict[tuple[str, Callable[[str], Purpose]], str] = {}
    with store.begin() as connection:
        waits = waiting.sealed_credentials(connection, at_most=LOOKED_AT_ROWS)
        found |= {(delivery_id, credentials_of): sealed for delivery_id, _, sealed in waits}
        for place in PLACES:
            # without a condition: where few rows hold a seal, one would walk the whole table
            some = select(place.key, place.column).order_by(place.key).limit(LOOKED_AT_ROWS)
            found |= {(key, place.for_): sealed for key, sealed in connection.execute(some) if sealed}
    tally = Tally("looked at")
    for (key, for_), sealed in found.items():
        tally.note(store.sealer, sealed, for_=for_(key))
    return len(found), tally.lost


def reseal(store: Store, *, advance: Advance) -> list[Tally]:
    """Brings every sealed text of the store under the first key, bound to its place. May be run again at any time.

    Raises:
        StoreError: the store could not be used; what was done until then stays done.
    """
    return [_reseal(store, place, advance) for place in PLACES]


def _reseal(store: Store, place: Place, advance: Advance) -> Tally:
    tally = Tally(place.name)
    for rows in _chunks(store, place):
        seen = Tally(place.name)
        found = [(row.key, row.sealed, seen.note(store.sealer, row.sealed, for_=place.for_(row.key))) for row in rows]
        stale = [(key, sealed, anew) for key, sealed, anew in found if anew]
        done = _replace_free(store, place, stale)
        seen.resealed = len(done)
        tally.add(seen)
        for row_key, _, _ in stale:
            if row_key not in done:
                _replace_one(store, place, tally, row_key)
        advance(len(rows))
    return tally


def _chunks(store: Store, place: Place) -> Iterator[Sequence[Row[Any]]]:
    last = ""
    while True:
        with store.begin() as connection:
            page = _sealed(place, place.key.label("key"), place.column.label("sealed"))
            rows = connection.execute(page.where(place.key > last).order_by(place.key).limit(CHUNK_ROWS)).all()
        if not rows:
            return
        yield rows
        last = rows[-1].key


def _replace_free(store: Store, place: Place, stale: Sequence[tuple[str, str, str]]) -> set[str]:
    """Replaces those that nobody else holds and nobody has changed. Returns their keys."""
    if not stale:
        return set()
    key, column = place.key, place.column
    with store.begin() as connection:
        found = select(key, column).where(key.in_([item[0] for item in stale])).with_for_update(skip_locked=True)
        there = {row[0]: row[1] for row in connection.execute(found)}
        free = [item for item in stale if there.get(item[0]) == item[1]]
        if free:
            statement = update(key.table).where(key == bindparam("row_key")).values({column: bindparam("anew")})
            connection.execute(statement, [{"row_key": item[0], "anew": item[2]} for item in free])
    return {item[0] for item in free}


def _replace_one(store: Store, place: Place, tally: Tally, row_key: str) -> None:
    with store.begin() as connection:
        _wait_long(connection)
        is_it = place.key == row_key
        sealed = connection.execute(select(place.column).where(is_it).with_for_update()).scalar()
        anew = tally.note(store.sealer, sealed, for_=place.for_(row_key)) if sealed else None
        if anew:
            connection.execute(update(place.key.table).where(is_it).values({place.column: anew}))


def _wait_long(connection: Connection) -> None:
    for setting in ("lock_timeout", "statement_timeout"):
        connection.execute(text(f"SET LOCAL {setting} = '{LONGEST_WAIT_S}s'"))


def _sealed(place: Place, *wanted: ColumnElement[Any]) -> Select[Any]:
    # a token's row is empty while its first pair is being fetched
    return select(*wanted).where(place.column.is_not(None), place.column != "")
