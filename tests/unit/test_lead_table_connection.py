"""The user's lead table through an Airflow connection: which address, which driver, and what if it never answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, LeadTableError
from leadcast.core.lead_mapping import LeadMapping
from leadcast.engine.settings import lead_table
from leadcast.engine.settings.lead_table import ConnectedLeadTable, url_of
from leadcast.integrations.connection import ConnectionFields

MAPPING = LeadMapping(conn_id="crm", table="people", columns={"name": "name"})


def connection(conn_type: str, *, extra: Mapping[str, Any] | None = None, **more: Any) -> ConnectionFields:
    fields: dict[str, Any] = {"host": "db", "login": "u", "password": SecretStr("p@ss/word"), "schema": "shop"} | more
    return ConnectionFields(conn_id="crm", conn_type=conn_type, extra=extra or {}, **fields)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (connection("mysql", port=3307), "mysql+pymysql://u:p%40ss%2Fword@db:3307/shop"),
        (connection("mariadb"), "mysql+pymysql://u:p%40ss%2Fword@db/shop"),
        (connection("postgres", port=5432), "postgresql+psycopg2://u:p%40ss%2Fword@db:5432/shop"),
        (connection("mssql"), "mssql+pymssql://u:p%40ss%2Fword@db/shop"),
        (connection("firebird"), "firebird://u:p%40ss%2Fword@db/shop"),
        (
            connection("mysql", extra={"sqlalchemy_scheme": "mysql+mysqldb"}),
            "mysql+mysqldb://u:p%40ss%2Fword@db/shop",
        ),
        (connection("sqlite", host="/var/crm.db", schema=""), "sqlite:///file%3A/var/crm.db?mode=rw&uri=true"),
        (connection("sqlite", host="", schema="var/crm.db"), "sqlite:///file%3A/var/crm.db?mode=rw&uri=true"),
    ],
)
def test_the_address_is_made_of_the_connections_fields(given: ConnectionFields, url: str) -> None:
    assert url_of(given).render_as_string(hide_password=False) == url


def test_a_type_that_airflow_has_made_generic_is_said_with_the_mend() -> None:
    assert url_of(connection("generic", extra={"sqlalchemy_scheme": "mysql+pymysql"})).drivername == "mysql+pymysql"
    with pytest.raises(LeadTableError, match="of the type generic") as caught:
        url_of(connection("generic"))
    assert "sqlalchemy_scheme" in str(caught.value)


def test_the_drivers_own_settings_come_from_extra_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def open_table(url: object, mapping: object, *, connect_args: Mapping[str, Any]) -> None:
        seen.update(connect_args)
        raise LeadTableError("enough")

    monkeypatch.setattr("leadcast.lead_table.table.LeadTable", open_table)
    extra = {"ssl": '{"ca": "/etc/ca.pem"}', "charset": "utf8mb4", "sqlalchemy_scheme": "x", "note": "of ours"}
    table = ConnectedLeadTable(MAPPING, find_connection=lambda _: connection("mysql", extra=extra))
    with pytest.raises(LeadTableError, match="enough"):
        table.find("1")
    assert seen == {"ssl": {"ca": "/etc/ca.pem"}, "charset": "utf8mb4"}


def test_airflows_hook_would_drop_what_the_connection_says_of_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it does not make our engine: docs/decisions/lead-table-connection.md. Where this fails, look again."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    extra = {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem"}
    given = {"conn_type": "postgres", "host": "db", "schema": "shop", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(given))
    hook = PostgresHook("crm")
    assert hook.connection_extra == extra
    engine = hook.get_sqlalchemy_engine()
    _, arguments = engine.dialect.create_connect_args(engine.url)
    assert arguments["host"] == "db"
    assert not extra.keys() & arguments.keys()


def test_a_connection_that_is_not_there_is_said() -> None:
    def none(conn_id: str) -> ConnectionFields:
        raise CredentialsError(f"There is no Airflow connection {conn_id!r}.")

    with pytest.raises(LeadTableError, match="There is no Airflow connection 'crm'"):
        ConnectedLeadTable(MAPPING, find_connection=none).find("1")


def test_after_a_failure_the_connection_is_read_anew(tmp_path: Any) -> None:
    asked: list[str] = []

    def find(conn_id: str) -> ConnectionFields:
        asked.append(conn_id)
        return connection("sqlite", host=str(tmp_path / "empty.db"))

    (tmp_path / "empty.db").touch()
    table = ConnectedLeadTable(MAPPING, find_connection=find)
    for _ in range(2):
        with pytest.raises(LeadTableError) as caught:
            table.find("1")
        assert "people" in caught.value.detail
    assert asked == ["crm", "crm"]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Any) -> None:
    there = tmp_path / "gone.db"
    table = ConnectedLeadTable(MAPPING, find_connection=lambda _: connection("sqlite", host=str(there)))
    with pytest.raises(LeadTableError, match="cannot be reached"):
        table.find("1")
    assert not there.exists()


def test_a_database_that_was_away_is_left_alone_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def away(conn_id: str) -> ConnectionFields:
        asked.append(conn_id)
        raise CredentialsError("none")

    monkeypatch.setattr(lead_table, "REST_S", 3600.0)
    table = ConnectedLeadTable(MAPPING, find_connection=away)
    for _ in range(3):
        with pytest.raises(LeadTableError) as caught:
            table.find("1")
        assert caught.value.is_away
    assert asked == ["crm"]


def test_a_database_that_hangs_holds_only_so_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, entered = threading.Event(), threading.Semaphore(0)

    def hang(conn_id: str) -> ConnectionFields:
        entered.release()
        answers.wait(60)
        raise CredentialsError("too late")

    monkeypatch.setattr(lead_table, "LONGEST_IN_LINE_S", 0.1)
    table = ConnectedLeadTable(MAPPING, find_connection=hang)

    def ask() -> None:
        with pytest.raises(LeadTableError):
            table.find("1")

    stuck = [threading.Thread(target=ask) for _ in range(lead_table.AT_ONCE)]
    for thread in stuck:
        thread.start()
    for _ in stuck:
        assert entered.acquire(timeout=30)
    ask()
    assert all(thread.is_alive() for thread in stuck), "the one more was refused while they still wait"
    answers.set()
    for thread in stuck:
        thread.join(30)


@pytest.mark.parametrize("extra", [{"ssl": "true"}, {"ssl": "{"}, {"sqlalchemy_scheme": "//"}])
def test_an_extra_that_makes_no_sense_is_said(extra: Mapping[str, Any]) -> None:
    table = ConnectedLeadTable(MAPPING, find_connection=lambda _: connection("mysql", host="127.0.0.1", extra=extra))
    with pytest.raises(LeadTableError):
        table.find("1")


def test_a_database_that_never_answers_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hang(conn_id: str) -> ConnectionFields:
        answers.wait(60)
        raise CredentialsError("too late")

    monkeypatch.setattr(lead_table, "LONGEST_S", 0.1)
    try:
        with pytest.raises(LeadTableError, match=r"no answer within 0\.1 s"):
            ConnectedLeadTable(MAPPING, find_connection=hang).find("1")
    finally:
        answers.set()
