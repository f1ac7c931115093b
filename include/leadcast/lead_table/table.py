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
    select,
    table,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.types import NullType

from leadcast.core.errors import LeadTableError
from leadcast.core.lead_mapping import LeadMapping, lead_data
from leadcast.core.model import BatchStatus

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10
_LIBPQ = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    # a statement is bounded by the server; these notice a server that is gone
    "keepalives_idle": CONNECT_TIMEOUT_S,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": STATEMENT_TIMEOUT_S * 1000,
}
_MYSQL = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "read_timeout": STATEMENT_TIMEOUT_S,
    "write_timeout": STATEMENT_TIMEOUT_S,
}
_TIMEOUTS: Mapping[str, Mapping[str, int]] = {
    "psycopg2": _LIBPQ,
    "psycopg": _LIBPQ,
    "pymysql": _MYSQL,
    "mysqldb": _MYSQL,
    "pysqlite": {"timeout": CONNECT_TIMEOUT_S},
    "pymssql": {"login_timeout": CONNECT_TIMEOUT_S, "timeout": STATEMENT_TIMEOUT_S},
    "pyodbc": {"timeout": CONNECT_TIMEOUT_S},
    "oracledb": {"tcp_connect_timeout": CONNECT_TIMEOUT_S},
}
"""What each driver calls its time-outs."""
_OF_A_DRIVER = (SQLAlchemyError, OSError, TypeError, ValueError, AttributeError)
"""What connecting with settings that a driver does not like may end in."""


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
            LeadTableError: the table could not be written, or the status there has changed in this very moment.
        """
        mapping, users = self.mapping, self.table()
        key, state = users.c[mapping.key], users.c[mapping.status_column]
        values: dict[str, Any] = {mapping.status_column: mapping.status_value(status)}
        if mapping.status_time_column:
            # as UTC is written where no zone is kept; whole seconds, since MySQL would round up
            values[mapping.status_time_column] = at.astimezone(UTC).replace(tzinfo=None, microsecond=0)
        with self.begin() as connection:
            row = _one(connection, select(key, state).where(key == _lead_id()), lead_id)
            found, current = row or (None, None)
            if _text(found) != lead_id:
                return False
            if current is not None and _text(current) == _text(values[mapping.status_column]):
                return True
            # a writer that was given up and wakes late must not cover what was written since
            unchanged = state.is_(None) if current is None else state == current
            if connection.execute(update(users).where(key == found, unchanged).values(values)).rowcount != 1:
                raise LeadTableError("The lead table could not be used: the row was changed meanwhile.")
        return True

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction in the user's database.

        Raises:
            LeadTableError: the database cannot be reached, or has refused a statement.
        """
        try:
            connection = self.engine.connect()
        except _OF_A_DRIVER as error:
            # of connecting a driver tells an address and a user, nothing of a lead
            what = f"{type(error).__name__}: {_words(error)}"
            raise LeadTableError(f"The lead table's database cannot be reached: {what}", is_away=True) from None
        try:
            with connection, connection.begin():
                if self.engine.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
                    # a time without a zone is UTC, whichever kind its column is
                    connection.execute(text("SET LOCAL timezone = 'UTC'"))
                yield connection
        except SQLAlchemyError as error:
            is_away = isinstance(error, DBAPIError) and error.connection_invalidated
            what = f"The lead table could not be used: {type(error).__name__}{_code(error)}"
            raise LeadTableError(what, detail=_words(error), is_away=is_away) from None

    def table(self) -> TableClause:
        """The table with the columns that the settings name."""
        mapping = self.mapping
        schema, name = mapping.schema_and_table
        names = {mapping.key, *mapping.columns.values(), mapping.status_column} - {"", mapping.status_time_column}
        columns: list[ColumnClause[Any]] = [column(each) for each in sorted(names)]
        if mapping.status_time_column:
            columns.append(column(mapping.status_time_column, DateTime()))
        return table(name, *columns, schema=schema)

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
        return found if _text(found.pop(self.mapping.key)) == lead_id else None

    def _by_key(self, connection: Connection, lead_id: str) -> dict[str, Any] | None:
        users, columns = self.table(), self.mapping.columns
        key = users.c[self.mapping.key]
        wanted = select(key, *(users.c[name] for name in columns.values())).where(key == _lead_id())
        row = _one(connection, wanted, lead_id)
        if row is None:
            return None
        found, values = row[0], row[1:]
        return None if _text(found) != lead_id else dict(zip(columns, values, strict=True))


def _lead_id() -> BindParameter[Any]:
    # without a type: the server takes it for whatever the key is
    return bindparam("lead_id", type_=NullType())


def _one(connection: Connection, statement: Executable, lead_id: str) -> Row[*tuple[Any, ...]] | None:
    try:
        return connection.execute(statement, {"lead_id": lead_id}).first()
    except DataError as error:
        # A key of another kind: such an id is none, and the server says which value it could not read. Any other value
        # is of the user's own query.
        if {f'"{lead_id}"', f"'{lead_id}'"} & set(_words(error).split()):
            return None
        raise


def _text(value: Any) -> str:
    # CHAR(n) comes filled up with blanks
    return str(value).rstrip(" ")


def _words(error: Exception) -> str:
    """The driver's own words. They may hold what a statement was about, so they are for whoever runs `doctor`."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else "no further words"


def _code(error: SQLAlchemyError) -> str:
    """The server's number for it, which tells nothing of a row."""
    orig = getattr(error, "orig", None)
    first = (getattr(orig, "args", None) or (None,))[0]
    code = getattr(orig, "pgcode", None) or getattr(orig, "sqlite_errorname", None) or first
    return f" {code}" if isinstance(code, int) or (isinstance(code, str) and " " not in code) else ""
