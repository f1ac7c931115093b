"""The user's lead table through an Airflow connection: which address, which driver, and what if it never answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, LeadTableError
from leadcast.core.lead_mapping import LeadMapping
from leadcast.engine import lead_table
from leadcast.engine.lead_table import ConnectedLeadTable, url_of
from leadcast.integrations.base import ConnectionFields

MAPPING = LeadMapping(conn_id="crm", table="people", columns={"name": "name"})


def connection(conn_type: str, *, extra: Mapping[str, Any] | None = None, **more: Any) -> ConnectionFields:
    fields = {"host": "db", "login": "u", "password": SecretStr("p@ss/word"), "schema": "shop"} | more
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
        (connection("sqlite", host="/var/crm.db", schema=""), "sqlite:////var/crm.db"),
        (connection("sqlite", host="", schema="var/crm.db"), "sqlite:////var/crm.db"),
    ],
)
def test_the_address_is_made_of_the_connections_fields(given: ConnectionFields, url: str) -> None:
    assert url_of(given).render_as_string(hide_password=False) == url


def test_the_drivers_own_settings_come_from_extra_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def open_table(url: object, mapping: object, *, connect_args: Mapping[str, Any]) -> None:
        seen.update(connect_args)
        raise LeadTableError("enough")

    monkeypatch.setattr("leadcast.store.lead_table.LeadTable", open_table)
    extra = {"ssl": '{"ca": "/etc/ca.pem"}', "charset": "utf8mb4", "sqlalchemy_scheme": "x", "note": "of ours"}
    table = ConnectedLeadTable(MAPPING, find_connection=lambda _: connection("mysql", extra=extra))
    with pytest.raises(LeadTableError, match="enough"):
        table.find("1")
    assert seen == {"ssl": {"ca": "/etc/ca.pem"}, "charset": "utf8mb4"}


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

    table = ConnectedLeadTable(MAPPING, find_connection=find)
    for _ in range(2):
        with pytest.raises(LeadTableError, match="people"):
            table.find("1")
    assert asked == ["crm", "crm"]


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
