"""An end to a statement in Airflow's database, which may be PostgreSQL, MySQL or SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

_LEAST_MS = 100


def bounded(session: Session, query: Select[Any], *, seconds: float | None) -> Select[Any]:
    """The query, which the database breaks off after so many seconds. On SQLite, a database for trying things out, it
    is not.

    Args:
        seconds: from now; None: it may take as long as it takes.
    """
    if seconds is None:
        return query
    from sqlalchemy import text

    milliseconds = max(_LEAST_MS, int(seconds * 1000))
    dialect = session.get_bind().dialect.name
    if dialect == "postgresql":
        # of this transaction only
        session.execute(text(f"SET LOCAL statement_timeout = {milliseconds}"))
    elif dialect in ("mysql", "mariadb"):
        return query.prefix_with(f"/*+ MAX_EXECUTION_TIME({milliseconds}) */", dialect=dialect)
    return query
