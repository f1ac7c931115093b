"""Connections to the store: transactions, and the time-outs that each has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, make_url, select, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)

from leadcast.core.errors import SettingsError, StoreError
from leadcast.core.plain import as_json
from leadcast.core.settings import Settings
from leadcast.store import whose
from leadcast.store.sealing import Sealer

CONNECT_TIMEOUT_S = 10
_DRIVERS = ("psycopg2", "psycopg")
STATEMENT_TIMEOUT_S = 60
LOCK_TIMEOUT_S = 30
POOL_TIMEOUT_S = 5
"""How long to wait for a connection while all of the pool's are in use. A caller is better told to come again than kept
waiting: he holds a thread of the api-server meanwhile."""
SILENCE_S = 30
"""After how much silence of the network a connection counts as lost. The system's own default is hours."""
IDLE_IN_TRANSACTION_S = 90
"""How long a transaction may rest before the server ends its session. None of ours rests for longer than an exchange of
OAuth tokens takes (65 s), which is made within one."""
ASKED_OF_SERVER: Mapping[str, int] = {
    "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
    "lock_timeout": LOCK_TIMEOUT_S * 1000,
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_S * 1000,
    # the server, too, has to miss us: a machine that goes without a word holds its rows for as long as it does not
    "tcp_keepalives_idle": SILENCE_S // 2,
    "tcp_keepalives_interval": SILENCE_S // 6,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": SILENCE_S * 1000,
}
"""Settings that each of our sessions asks of PostgreSQL, in its own units. Its defaults know no time-outs, and find out
after more than two hours that a machine is gone."""


def _connect_args(**other: int) -> dict[str, Any]:
    # jit: to compile a look through 100,000 leads that wait takes longer than the look
    asked = {**ASKED_OF_SERVER, **other, "jit": 0}
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "leadcast",
        "options": " ".join(f"-c {name}={value}" for name, value in asked.items()),
        "keepalives_idle": SILENCE_S // 2,
        "keepalives_interval": SILENCE_S // 6,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENCE_S * 1000,
    }


def open_engine(
    url: str,
    *,
    pool_size: int = 5,
    lock_timeout_s: int = LOCK_TIMEOUT_S,
    statement_timeout_s: int = STATEMENT_TIMEOUT_S,
) -> Engine:
    """An engine for the store. Connects at first use.

    Args:
        lock_timeout_s: how long a statement waits for what others hold.
        statement_timeout_s: how long a statement may take, the wait included.

    Raises:
        SettingsError: the URL is missing or not PostgreSQL's; never repeats it, it may hold a password.
    """
    if not url:
        raise SettingsError(
            "[leadcast] store_url is not set. Give it a PostgreSQL database: "
            "AIRFLOW__LEADCAST__STORE_URL=postgresql+psycopg2://user:password@host/leadcast"
        )
    try:
        driver = make_url(url).get_driver_name()
        # what is prepared in a session is not there in the next one that a pooler hands out
        unprepared = {"prepare_threshold": None} if driver == "psycopg" else {}
        engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=POOL_TIMEOUT_S,
            pool_pre_ping=True,
            pool_recycle=1800,
            hide_parameters=True,
            json_serializer=as_json,
            connect_args=unprepared
            | _connect_args(lock_timeout=lock_timeout_s * 1000, statement_timeout=statement_timeout_s * 1000),
        )
    except (ArgumentError, ImportError, TypeError):
        raise SettingsError("[leadcast] store_url is not a SQLAlchemy URL of a PostgreSQL database.") from None
    if engine.dialect.name != "postgresql":
        raise SettingsError(f"[leadcast] store_url points to {engine.dialect.name}; the store needs PostgreSQL.")
    if engine.dialect.driver not in _DRIVERS:
        raise SettingsError(f"[leadcast] store_url: {engine.dialect.driver} will not do; take postgresql+psycopg2://…")
    return engine


class Store:
    """The store as the stages use it."""

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        self.engine = engine
        self.sealer = sealer

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        pool_size: int = 5,
        lock_timeout_s: int = LOCK_TIMEOUT_S,
        statement_timeout_s: int = STATEMENT_TIMEOUT_S,
    ) -> Store:
        """The store that the settings name."""
        url = settings.store_url.get_secret_value()
        engine = open_engine(
            url, pool_size=pool_size, lock_timeout_s=lock_timeout_s, statement_timeout_s=statement_timeout_s
        )
        keys = settings.fernet_key.get_secret_value()
        return cls(engine, Sealer(keys, accepts_unbound=settings.accept_unbound_seals))

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by an exception.

        Raises:
            StoreError: the database could not be used. What it says has no statement and no parameters in it.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            if isinstance(error, ProgrammingError):  # a column that is not there, too
                whose.forget(self.engine)
            raise _store_error(error) from None

    def ping(self) -> None:
        """Raises StoreError where the store is away, and everything else would fail, too."""
        with self.begin() as connection:
            connection.execute(select(1))

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A session of its own, in which a statement is no transaction: none of the pool's. For looks at the server.

        Raises:
            StoreError: as `begin` does.
        """
        try:
            with self._sessions.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _store_error(error) from None

    @cached_property
    def _sessions(self) -> Engine:
        """Each is opened for its purpose and closed after it."""
        return create_engine(
            self.engine.url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            connect_args=_connect_args(),
        )


def bound_waits(connection: Connection, seconds: float) -> None:
    """Lets each statement of this transaction wait for so long for what others hold, and not as long as usual."""
    connection.execute(text(f"SET LOCAL lock_timeout = {round(seconds * 1000)}"))


def _store_error(error: SQLAlchemyError) -> StoreError:
    words = f"The store could not be used: {type(error).__name__}: {_cause(error)}"
    is_of_what_was_asked = isinstance(error, (DataError, IntegrityError)) or (
        isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    )
    return StoreError(words, is_away=not is_of_what_was_asked)


def _cause(error: SQLAlchemyError) -> str:
    lines = str(getattr(error, "orig", None) or "").strip().splitlines()
    if any("unsupported startup parameter" in line for line in lines):
        return (
            "what answers at store_url is a PgBouncer, and takes no `options`. Let store_url point to PostgreSQL "
            'itself, or see "PgBouncer" in docs/running.md'
        )
    return lines[0] if lines else "no further words"
