"""docker-compose.yaml: which secret reaches which service, and which account of PostgreSQL which database.

Who writes a DAG can read what the workers and the dag-processor hold, so that must not make an administrator of him.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from tests.support import compose
from tests.support.servers import POSTGRES, require

ENV = {
    **compose.read_env(compose.EXAMPLE.read_text(encoding="utf-8")),
    **{
        name: f"NEEDLE-{name}"
        for name in re.findall(r"^(\w+)=$", compose.EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    },
    "SANDBOX_TOKEN": "NEEDLE-SANDBOX_TOKEN",
    "BROKER_URL": "redis://:NEEDLE-BROKER_PASSWORD@redis:6379/0",
}
FILES = {
    "settings.env": "AIRFLOW__LEADCAST__LANGUAGE=ru\n",
    "connections.env": "AIRFLOW_CONN_SMTP_DEFAULT=NEEDLE-CONNECTIONS\n",
}
SERVICES = compose.read(ENV, FILES)

SENDS = {"FERNET_KEY", "STORE_DB_PASSWORD", "CONNECTIONS"}
WORKER = SENDS | {"API_SECRET_KEY", "BROKER_PASSWORD", "RESULTS_DB_PASSWORD"}
WHO_HOLDS_WHAT = {
    "postgres": {"POSTGRES_PASSWORD"},
    "databases": {"POSTGRES_PASSWORD", "AIRFLOW_DB_PASSWORD", "STORE_DB_PASSWORD", "RESULTS_DB_PASSWORD"},
    "redis": {"BROKER_PASSWORD"},
    "rabbitmq": {"BROKER_PASSWORD"},
    "init": SENDS | {"AIRFLOW_DB_PASSWORD"},
    "api-server": SENDS
    | {"AIRFLOW_DB_PASSWORD", "API_SECRET_KEY", "JWT_SECRET"}
    | {"ADMIN_PASSWORD", "SENDER_PASSWORD", "VIEWER_PASSWORD"},
    "scheduler": {"FERNET_KEY", "JWT_SECRET", "AIRFLOW_DB_PASSWORD", "BROKER_PASSWORD", "RESULTS_DB_PASSWORD"},
    "dag-processor": SENDS | {"AIRFLOW_DB_PASSWORD"},
    "triggerer": {"FERNET_KEY", "AIRFLOW_DB_PASSWORD", "API_SECRET_KEY"},
    "worker": WORKER | {"SENDER_PASSWORD"},
    "worker-notifications": WORKER | {"SENDER_PASSWORD"},
    **{f"worker-{name}": WORKER for name in ("email", "amocrm", "telegram", "bitrix24", "webhooks")},
    "flower": {"FLOWER_PASSWORD", "BROKER_PASSWORD"},
    "sandbox": {"SANDBOX_TOKEN"},
}
"""Every service, with all that it holds. Another line here is a decision."""


def held(service: compose.Service) -> set[str]:
    return set(re.findall(r"NEEDLE-(\w+)", " ".join([*service.environment.values(), *service.command])))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_holds_what_it_needs_and_no_more(name: str) -> None:
    assert held(SERVICES[name]) == WHO_HOLDS_WHAT[name]


def test_the_table_names_every_service_and_every_secret() -> None:
    assert WHO_HOLDS_WHAT.keys() == SERVICES.keys()
    needles = set(re.findall(r"NEEDLE-(\w+)", " ".join([*ENV.values(), *FILES.values()])))
    assert set().union(*WHO_HOLDS_WHAT.values()) == needles - {"EXTRA_REQUIREMENTS"}


def test_who_runs_the_code_of_dags_is_no_administrator_and_signs_no_tokens() -> None:
    runs_dags = [name for name in SERVICES if name.startswith("worker") or name == "dag-processor"]
    assert len(runs_dags) == 8
    for name in runs_dags:
        assert not held(SERVICES[name]) & {"ADMIN_PASSWORD", "VIEWER_PASSWORD", "JWT_SECRET", "POSTGRES_PASSWORD"}
    assert not [
        name for name in SERVICES if name.startswith("worker") and "AIRFLOW_DB_PASSWORD" in held(SERVICES[name])
    ]


def test_no_service_gets_a_file_whole_but_the_two_that_say_what_they_are_for() -> None:
    named = {(name, file) for name, item in compose.written().items() for file in item.get("env_file", [])}
    assert {file for _, file in named} == {"settings.env", "connections.env"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_an_argument(name: str) -> None:
    service = SERVICES[name]
    words = " ".join([*service.command, *service.health_check])
    assert "NEEDLE" not in words
    # nor becomes one: what a shell puts in stands in the list of processes
    secret_variables = [key for key, value in service.environment.items() if "NEEDLE" in value]
    for line in words.splitlines():
        if any(f"${key}" in line for key in secret_variables):
            assert re.match(r"made \w+ \w+ ", line) or line.startswith("requirepass "), line


@pytest.mark.parametrize("more", ["", ",anna:op,boris:user"])
def test_each_user_gets_a_password_of_his_own_from_a_variable_of_his_own(tmp_path: Path, more: str) -> None:
    service = SERVICES["api-server"]
    script, _, last = service.command[-1].strip().rpartition("\n")
    assert last.startswith("exec airflow api-server")
    file = tmp_path / "passwords.json"
    environment = service.environment | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": service.environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"]
        + more,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(file),
        "ANNA_PASSWORD": "hers",
    }
    command = ["bash", "-c", f"{script}\ntrue"]
    without = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ("BORIS_PASSWORD" in without.stderr) == (without.returncode != 0) == bool(more)

    subprocess.run(command, env=environment | {"BORIS_PASSWORD": "his"}, check=True)

    found = json.loads(file.read_text(encoding="utf-8"))
    assert found == {name: f"NEEDLE-{name.upper()}_PASSWORD" for name in ("admin", "sender", "viewer")} | (
        {"anna": "hers", "boris": "his"} if more else {}
    )
    assert file.stat().st_mode & 0o077 == 0


NEW = ("AIRFLOW_DB_PASSWORD", "STORE_DB_PASSWORD", "RESULTS_DB_PASSWORD", "FLOWER_PASSWORD")


@pytest.mark.parametrize("kept", [(), NEW[:1], NEW[:2], NEW[:3]])
def test_who_comes_with_the_env_of_an_older_version_is_told_what_to_do(kept: tuple[str, ...]) -> None:
    older = {name: value for name, value in ENV.items() if name not in NEW or name in kept}
    with pytest.raises(LookupError, match=r"^set \w+ in \.env; if yours is of an older version, see Upgrading"):
        compose.read(older, FILES)
    assert "\n**Upgrading" in (compose.ROOT / "docs" / "running.md").read_text(encoding="utf-8")


ACCOUNTS = {"airflow": "airflow", "leadcast": "leadcast_store", "celery_results": "celery_results"}
"""Database → the account that it belongs to."""

OLDER = """
    CREATE TYPE colour AS ENUM ('red');
    CREATE TABLE kept (id serial PRIMARY KEY, number int GENERATED ALWAYS AS IDENTITY, of colour);
    CREATE SEQUENCE counter;
    CREATE VIEW seen AS SELECT id FROM kept;
    CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
    INSERT INTO kept (of) VALUES ('red')
"""


def at(database: str) -> Engine:
    return create_engine(POSTGRES.set(database=database), isolation_level="AUTOCOMMIT")


def ask(database: str, statement: str) -> list[tuple[object, ...]]:
    engine = at(database)
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


@pytest.fixture
def tag() -> Iterator[str]:
    """What the names of this test's superuser, databases and accounts begin with, as an older version has made them."""
    require("PostgreSQL", port=5432)
    tag = f"leadcast_{secrets.token_hex(4)}_"
    ask("postgres", f"CREATE ROLE {tag}super LOGIN SUPERUSER")
    try:
        for database in ("airflow", "leadcast"):
            ask("postgres", f"CREATE DATABASE {tag}{database} OWNER {tag}super")
            engine = create_engine(POSTGRES.set(username=f"{tag}super", database=tag + database))
            with engine.begin() as connection:
                connection.execute(text(OLDER))
            engine.dispose()
        yield tag
    finally:
        for database in ACCOUNTS:
            ask("postgres", f"DROP DATABASE IF EXISTS {tag}{database} WITH (FORCE)")
        for role in {"super", *ACCOUNTS.values()}:
            ask("postgres", f"DROP ROLE IF EXISTS {tag}{role}")


def make_databases(tag: str) -> subprocess.CompletedProcess[str]:
    """The command of the service `databases`, with names of this test's own."""
    service = SERVICES["databases"]
    script = re.sub(r"^made (\w+) (\w+) ", rf"made {tag}\1 {tag}\2 ", service.command[-1], flags=re.MULTILINE)
    return subprocess.run(
        [*service.command[:-1], script],
        env={**os.environ, **service.environment, "PGHOST": "127.0.0.1", "PGUSER": f"{tag}super"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_each_database_gets_an_account_of_its_own_also_where_an_older_version_has_made_it(tag: str) -> None:
    for _ in range(2):
        done = make_databases(tag)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    names = ", ".join(f"'{tag}{name}'" for name in ACCOUNTS.values())
    rights = ask("postgres", f"SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname IN ({names})")
    assert rights == [(False, False, False)] * 3
    passwords = ask("postgres", f"SELECT rolpassword FROM pg_authid WHERE rolname IN ({names})")
    assert all(str(password).startswith("SCRAM-SHA-256$") for (password,) in passwords)
    for database, owner in ACCOUNTS.items():
        for account in ACCOUNTS.values():
            ((may,),) = ask(
                "postgres", f"SELECT has_database_privilege('{tag}{account}', '{tag}{database}', 'CONNECT')"
            )
            assert may is (account == owner), (account, database)
    for database in ("airflow", "leadcast"):
        found = ask(
            tag + database,
            "SELECT relname, relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'v', 'S')"
            " UNION ALL SELECT typname, typowner::regrole::text FROM pg_type WHERE typname = 'colour'"
            " UNION ALL SELECT proname, proowner::regrole::text FROM pg_proc WHERE proname = 'one'",
        )
        assert {owner for _, owner in found} == {tag + ACCOUNTS[database]}
        assert {name for name, _ in found} == {
            "kept",
            "kept_id_seq",
            "kept_number_seq",
            "counter",
            "seen",
            "colour",
            "one",
        }
        engine = create_engine(POSTGRES.set(username=tag + ACCOUNTS[database], database=tag + database))
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE kept ADD COLUMN more int"))
            connection.execute(text("INSERT INTO kept (of) VALUES ('red')"))
            connection.execute(text("CREATE TABLE another (id int)"))
        engine.dispose()


def test_a_password_with_quotes_is_a_password_and_nothing_else(tag: str) -> None:
    bad = "x'; DROP DATABASE postgres; --\\"
    service = SERVICES["databases"]
    environment = {**service.environment, "STORE_DB_PASSWORD": bad}
    SERVICES["databases"] = replace(service, environment=environment)
    try:
        done = make_databases(tag)
    finally:
        SERVICES["databases"] = service
    assert (done.returncode, done.stderr) == (0, "")
