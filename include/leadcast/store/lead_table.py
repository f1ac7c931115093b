"""The user's own lead table: one lead is read from it, and one status written back into it.

Any database that SQLAlchemy reaches. Ids are compared as text after reading: MySQL takes '12x' for 12, and some
collations take 'ABC' for 'abc', but another lead must never be sent or marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    URL,
    BindParameter,
    ColumnClause,
    Connection,
    DateTime,
    Executable,
    Row,
    TableClause,
    bindparam,
    column,
    create_engine,
    false,
    inspect,
    null,
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, DataError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.types import NullType, TypeEngine

from leadcast.core.errors import LeadTableError
from leadcast.core.lead_mapping import LeadMapping, lead_data
from leadcast.core.model import BatchStatus

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10
_TIMEOUTS: Mapping[str, Mapping[str, int]] = {
    "psycopg2": {"connect_timeout": CONNECT_TIMEOUT_S},
    "psycopg": {"connect_timeout": CONNECT_TIMEOUT_S},
    "pymysql": {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": STATEMENT_TIMEOUT_S,
        "write_timeout": STATEMENT_TIMEOUT_S,
    },
    "mysqldb": {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": STATEMENT_TIMEOUT_S,
        "write_timeout": STATEMENT_TIMEOUT_S,
    },
    "pysqlite": {"timeout": CONNECT_TIMEOUT_S},
    "pymssql": {"login_timeout": CONNECT_TIMEOUT_S, "timeout": STATEMENT_TIMEOUT_S},
    "pyodbc": {"timeout": CONNECT_TIMEOUT_S},
    "oracledb": {"tcp_connect_timeout": CONNECT_TIMEOUT_S},
}
"""What each driver calls its time-outs, in seconds. PostgreSQL's statements are bounded by a setting instead."""


class LeadTable:
    """The table, opened at first use.

    Args:
        url: of its database.
        connect_args: further arguments for the driver, say for TLS.

    Raises:
        LeadTableError: SQLAlchemy has no driver for this URL.
    """

    def __init__(self, url: URL, mapping: LeadMapping, *, connect_args: Mapping[str, Any] | None = None) -> None:
        self.mapping = mapping
        try:
            timeouts = _TIMEOUTS.get(url.get_dialect()().driver, {})
            self.engine = create_engine(
                url,
                pool_size=5,
                max_overflow=15,
                pool_timeout=STATEMENT_TIMEOUT_S,
                pool_pre_ping=True,
                pool_recycle=1800,
                hide_parameters=True,
                connect_args={**timeouts, **(connect_args or {})},
            )
        except (ArgumentError, NoSuchModuleError, ImportError, TypeError) as error:
            what = f"SQLAlchemy cannot open {url.drivername!r} ({type(error).__name__})"
            raise LeadTableError(
                f"The lead table cannot be used: {what}. Install its driver, or name another in the connection's "
                'extra: {"sqlalchemy_scheme": "mysql+pymysql"}.'
            ) from None

    def find(self, lead_id: str) -> dict[str, Any] | None:
        """A lead in the shape that a request's `lead` has, or None where the table has none of this id.

        Raises:
            LeadTableError: the table could not be read.
        """
        with self.begin() as connection:
            row = self._by_query(connection, lead_id) if self.mapping.query else self._by_key(connection, lead_id)
        return None if row is None else lead_data(row)

    def write_status(self, lead_id: str, status: BatchStatus, *, at: datetime) -> bool:
        """Writes a status into the lead's row. One that stands there already is not written again.

        Returns:
            Whether the table has such a row.

        Raises:
            LeadTableError: the table could not be written.
        """
        mapping, users = self.mapping, self._table()
        key, state = users.c[mapping.key], users.c[mapping.status_column]
        values: dict[str, Any] = {mapping.status_column: mapping.status_value(status)}
        if mapping.status_time_column:
            # as UTC is written where no zone is kept; whole seconds, since MySQL would round up
            values[mapping.status_time_column] = at.astimezone(UTC).replace(tzinfo=None, microsecond=0)
        with self.begin() as connection:
            row = _one(connection, select(key, state).where(key == _lead_id()), lead_id)
            found, current = row or (None, None)
            if str(found) != lead_id:
                return False
            if current is None or str(current) != str(values[mapping.status_column]):
                connection.execute(update(users).where(key == found).values(values))
        return True

    def any_id(self) -> str | None:
        """The id of some lead, or None where the table is empty or only a query is known."""
        if not self.mapping.table:
            return None
        with self.begin() as connection:
            found = connection.execute(select(self._table().c[self.mapping.key]).limit(1)).scalar()
        return None if found is None else str(found)

    def columns(self) -> dict[str, TypeEngine[Any]]:
        """The table's columns and their types, as the database has them.

        Raises:
            LeadTableError: there is no such table, or it cannot be looked at.
        """
        schema, name = self.mapping.schema_and_table
        with self.begin() as connection:
            return {each["name"]: each["type"] for each in inspect(connection).get_columns(name, schema=schema)}

    def has_unique_key(self) -> bool:
        """Whether no two rows can be the same lead."""
        schema, name = self.mapping.schema_and_table
        with self.begin() as connection:
            seen = inspect(connection)
            unique: list[list[str | None]] = [[*seen.get_pk_constraint(name, schema=schema)["constrained_columns"]]]
            unique += [[*each["column_names"]] for each in seen.get_unique_constraints(name, schema=schema)]
            unique += [each["column_names"] for each in seen.get_indexes(name, schema=schema) if each["unique"]]
        return [self.mapping.key] in unique

    def refuses_writing(self) -> str:
        """What the database says against writing a status; empty: nothing. No row is touched."""
        users = self._table()
        nothing = update(users).where(false()).values({self.mapping.status_column: null()})
        try:
            with self.begin() as connection:
                connection.execute(nothing)
        except LeadTableError as error:
            return str(error)
        return ""

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction in the user's database.

        Raises:
            LeadTableError: with what the driver said, which holds no parameters.
        """
        try:
            with self.engine.begin() as connection:
                if self.engine.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
                    # a time without a zone is UTC, whichever kind its column is
                    connection.execute(text("SET LOCAL timezone = 'UTC'"))
                yield connection
        except SQLAlchemyError as error:
            raise LeadTableError(f"The lead table could not be used: {_cause(error)}") from None

    def close(self) -> None:
        """Closes its connections."""
        self.engine.dispose()

    def _by_query(self, connection: Connection, lead_id: str) -> dict[str, Any] | None:
        row = _one(connection, text(self.mapping.query).bindparams(_lead_id()), lead_id)
        if row is None:
            return None
        found = dict(row._mapping)
        if self.mapping.key not in found:
            raise LeadTableError(f"leads_query: its result has no column {self.mapping.key!r}, which leads_key names.")
        return found if str(found.pop(self.mapping.key)) == lead_id else None

    def _by_key(self, connection: Connection, lead_id: str) -> dict[str, Any] | None:
        users, columns = self._table(), self.mapping.columns
        key = users.c[self.mapping.key]
        wanted = select(key, *(users.c[name] for name in columns.values())).where(key == _lead_id())
        row = _one(connection, wanted, lead_id)
        if row is None:
            return None
        found, values = row[0], row[1:]
        return None if str(found) != lead_id else dict(zip(columns, values, strict=True))

    def _table(self) -> TableClause:
        mapping = self.mapping
        schema, name = mapping.schema_and_table
        names = {mapping.key, *mapping.columns.values(), mapping.status_column} - {"", mapping.status_time_column}
        columns: list[ColumnClause[Any]] = [column(each) for each in sorted(names)]
        if mapping.status_time_column:
            columns.append(column(mapping.status_time_column, DateTime()))
        return table(name, *columns, schema=schema)


def _lead_id() -> BindParameter[Any]:
    # without a type: the server takes it for whatever the key is
    return bindparam("lead_id", type_=NullType())


def _one(connection: Connection, statement: Executable, lead_id: str) -> Row[*tuple[Any, ...]] | None:
    try:
        return connection.execute(statement, {"lead_id": lead_id}).first()
    except DataError:
        # a key of another kind: PostgreSQL does not compare a number with such an id
        return None


def _cause(error: SQLAlchemyError) -> str:
    lines = str(getattr(error, "orig", None) or "").strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no further words'}"
