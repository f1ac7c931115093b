"""The real servers that machines of this kind run on 127.0.0.1: PostgreSQL, MariaDB, Redis, RabbitMQ.

Where one is absent, as on a laptop, the tests that need it say so and skip; with `CI=true` they fail instead. A pytest
plugin (tests/conftest.py names it).
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

POSTGRES = make_url("postgresql+psycopg2://postgres@127.0.0.1:5432/postgres")
MARIADB = make_url("mysql+pymysql://root@127.0.0.1:3306/mysql")
REDIS_PORT = 6379
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672/"


def require(server: str, *, port: int) -> None:
    """Skips the test where nothing listens there; fails it with `CI=true`."""
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return
    missing(f"{server} on 127.0.0.1:{port}")


def missing(what: str) -> None:
    """Says that something which the test needs is not here."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"This test needs {what}, and CI must have it.")
    pytest.skip(f"needs {what}")


def _database(admin: URL, *, quote: str, options: str = "") -> Iterator[URL]:
    name = f"leadcast_test_{uuid.uuid4().hex[:8]}"
    engine = create_engine(admin, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {quote}{name}{quote}"))
    except OperationalError:
        missing(f"a server on {admin.host}:{admin.port} that lets {admin.username} in without a password")
    yield admin.set(database=name)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {quote}{name}{quote}{options}"))
    engine.dispose()


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[URL]:
    """An empty database on the machine's PostgreSQL."""
    require("PostgreSQL", port=5432)
    yield from _database(POSTGRES, quote='"', options=" WITH (FORCE)")


@pytest.fixture(scope="module")
def mariadb_server() -> Iterator[URL]:
    """An empty database on the machine's MariaDB."""
    require("MariaDB", port=3306)
    yield from _database(MARIADB, quote="`")


@pytest.fixture(scope="session")
def redis_server() -> str:
    """URL of the machine's Redis, without a database number."""
    require("Redis", port=REDIS_PORT)
    return f"redis://127.0.0.1:{REDIS_PORT}"


@pytest.fixture(scope="session")
def rabbitmq_server() -> str:
    """URL of the machine's RabbitMQ, up to its virtual host."""
    require("RabbitMQ", port=5672)
    return RABBITMQ
