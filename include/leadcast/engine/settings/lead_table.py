"""The user's own lead table, reached through an Airflow connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import BoundedSemaphore
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from leadcast.core.bounded import NotInTime, within
from leadcast.core.errors import DeliveryError, LeadTableError
from leadcast.core.lead_mapping import LeadMapping
from leadcast.core.model import BatchStatus
from leadcast.engine.settings import connections

if TYPE_CHECKING:
    from sqlalchemy import URL

    from leadcast.integrations.connection import ConnectionFields
    from leadcast.lead_table.table import LeadTable

T = TypeVar("T")
LONGEST_S = 20.0
"""How long one thing done with the table may take, connecting included."""
AT_ONCE = 8
"""How many of a process's threads may use the table at once."""
LONGEST_IN_LINE_S = 2.0
"""How long another one waits for its turn."""
REST_S = 3.0
"""How long a database that was away is not asked again."""
_SCHEMES = {
    "postgres": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mssql": "mssql+pymssql",
    "oracle": "oracle+oracledb",
}
"""Airflow's connection type → what SQLAlchemy calls it, with the driver that we take. Others are called the same."""
_FOR_THE_DRIVER = ("sslmode", "sslrootcert", "sslcert", "sslkey", "ssl", "ssl_ca", "charset")
"""Keys of a connection's `extra` that are the driver's own, as Airflow's hooks for these databases have them."""


class ConnectedLeadTable:
    """The lead table, opened at first use; after a failure the connection is read anew, for it may have changed.

    Args:
        find_connection: the Airflow connection of this id; raises DeliveryError where there is none.
    """

    def __init__(
        self, mapping: LeadMapping, *, find_connection: Callable[[str], ConnectionFields] = connections.fields
    ) -> None:
        self.mapping = mapping
        self._find_connection = find_connection
        self._table: LeadTable | None = None
        # Not `core.bounded.Turns`, where one that was given up keeps its turn until its thread ends: a driver may hang
        # for as long as the machine's TCP does, and the database be there again long before that.
        self._slots = BoundedSemaphore(AT_ONCE)
        self._away_until = 0.0

    def find(self, lead_id: str) -> Mapping[str, Any] | None:
        """The lead in the shape that a request's `lead` has, or None where the table has none of this id.

        Raises:
            LeadTableError: the table could not be read.
        """
        return self.use(lambda table: table.find(lead_id))

    def write_status(self, lead_id: str, status: BatchStatus, *, at: datetime) -> bool:
        """Writes a status into the lead's row; False: there is none.

        Raises:
            LeadTableError: the table could not be written.
        """
        return self.use(lambda table: table.write_status(lead_id, status, at=at))

    def use(self, action: Callable[[LeadTable], T]) -> T:
        """Does something with the open table.

        Raises:
            LeadTableError: it could not be done.
        """
        # so that a database that hangs takes only so many of a server's threads
        if monotonic() < self._away_until or not self._slots.acquire(timeout=LONGEST_IN_LINE_S):
            raise LeadTableError("The lead table's database does not answer just now.", is_away=True)
        try:
            # In a thread of its own: not every driver has a time-out for a server that takes a question and never
            # answers. And Airflow's database session belongs to a thread; ours may be in the midst of writing a run.
            return _in_time(lambda: action(self._opened()))
        except LeadTableError as error:
            if error.is_away:
                self._away_until = monotonic() + REST_S
            table, self._table = self._table, None
            if table is not None:
                table.close()
            raise
        finally:
            self._slots.release()

    def _opened(self) -> LeadTable:
        if self._table is None:
            self._table = self._open()
        return self._table

    def _open(self) -> LeadTable:
        from leadcast.lead_table.table import LeadTable

        try:
            found = self._find_connection(self.mapping.conn_id)
        except DeliveryError as error:
            raise LeadTableError(f"The lead table cannot be used: {error.message}", is_away=True) from None
        try:
            return LeadTable(url_of(found), self.mapping, connect_args=_driver_arguments(found))
        except (ValueError, TypeError, AttributeError) as error:
            what = f"connection {self.mapping.conn_id!r} does not make an address ({type(error).__name__})"
            raise LeadTableError(f"The lead table cannot be used: {what}. Look at its extra.", is_away=True) from None


def _in_time(work: Callable[[], T]) -> T:
    try:
        return within(LONGEST_S, work, name="lead-table")
    except NotInTime:
        what = f"The lead table could not be used: no answer within {LONGEST_S:g} s"
        raise LeadTableError(what, is_away=True) from None


def url_of(connection: ConnectionFields) -> URL:
    """SQLAlchemy's URL for an Airflow connection. Its `extra` may name another driver: `sqlalchemy_scheme`.

    For SQLite the path is the connection's host, as Airflow's own hook has it.

    Raises:
        LeadTableError: the connection does not say which database it is.
    """
    from sqlalchemy import URL

    kind = connection.conn_type
    scheme = str(connection.extra.get("sqlalchemy_scheme") or _SCHEMES.get(kind, kind))
    if scheme == "generic":
        raise LeadTableError(
            f"Connection {connection.conn_id!r} is of the type generic, which Airflow's command line makes of a type "
            "that it has no provider for. Say in its extra which database it is, as in "
            '{"sqlalchemy_scheme": "mysql+pymysql"}.',
            is_away=True,
        )
    if scheme.partition("+")[0] == "sqlite":
        # not made where it is not there, as SQLite otherwise does
        path = quote(connection.host or f"/{connection.schema}")
        return URL.create(scheme, database=f"file:{path}", query={"mode": "rw", "uri": "true"})
    return URL.create(
        scheme,
        username=connection.login or None,
        password=connection.password.get_secret_value() or None,
        host=connection.host or None,
        port=connection.port,
        database=connection.schema or None,
    )


def _driver_arguments(connection: ConnectionFields) -> dict[str, Any]:
    given = {key: connection.extra[key] for key in _FOR_THE_DRIVER if key in connection.extra}
    # Airflow's form for MySQL keeps this one as JSON in a text
    if isinstance(given.get("ssl"), str):
        given["ssl"] = json.loads(given["ssl"])
    return given
