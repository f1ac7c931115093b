"""Values of new columns in tables that may be large: filled in beside traffic, after the tables have been changed.

In one statement it would hold every row to its end, and who works on one would wait for that. So it goes through the
table in small steps, each by itself, and steps over what others hold; whoever upgrades next fills in the rest. Whoever
reads such a column has to do without its value until then.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import (
    Connection,
    Engine,
    TableClause,
    Text,
    column,
    exists,
    func,
    literal_column,
    select,
    table,
    text,
    update,
)

STEP = 2000
"""Rows at once: a few hundredths of a second's work, in which nobody else can change them."""

Definitions = Mapping[str, tuple[str, str]]
"""Table, with a primary key `id` → the column of it that is null, and the query for its value."""


def fill(engine: Engine, wanted: Definitions) -> None:
    """Fills in what is null. Two processes at once do no harm, nor does breaking off: the next goes on."""
    for name, (lacking, value) in wanted.items():
        rows = table(name, column("id", Text), column(lacking))
        if not _lacks_any(engine, rows, lacking):
            continue
        after: str | None = ""
        while after is not None:
            with engine.begin() as connection:
                after = _step(connection, rows, lacking, value, after=after)
        with engine.begin() as connection:
            connection.execute(text(f"ANALYZE (SKIP_LOCKED) {name} ({lacking})"))  # else it counts as empty still


def _lacks_any(engine: Engine, rows: TableClause, lacking: str) -> bool:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        return bool(connection.execute(select(exists().where(rows.c[lacking].is_(None)))).scalar())


def _step(connection: Connection, rows: TableClause, lacking: str, value: str, *, after: str) -> str | None:
    """Fills in the next rows. Returns the id of the last of them; None: there were no more."""
    ahead = select(rows.c.id).where(rows.c.id > after).order_by(rows.c.id)
    last = connection.execute(select(func.max(ahead.limit(STEP).subquery().c.id))).scalar()
    if last is not None:
        free = ahead.where(rows.c.id <= last, rows.c[lacking].is_(None)).with_for_update(
            key_share=True, skip_locked=True
        )
        connection.execute(update(rows).where(rows.c.id.in_(free)).values({lacking: literal_column(f"({value})")}))
    return last
