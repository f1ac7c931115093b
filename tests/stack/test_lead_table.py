"""A lead that is only in a company's own MariaDB, in a table of its own kind, on a whole running stack."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from leadcast.client.api import ApiError
from leadcast.core.clock import utc_now
from leadcast.local.home import Home
from leadcast.local.ports import Ports
from tests.stack.mariadb import MariaDb
from tests.support.stack import ROOT, Stack, free_port, leadcast, stack_env, until

pytestmark = pytest.mark.system

SETTINGS = {
    "leads_conn_id": "crm",
    "leads_table": "zayavki",
    "leads_key": "nomer",
    "leads_columns": json.dumps({"name": "fio", "phone": "tel", "email": "pochta", "utm.utm_source": "istochnik"}),
    "status_column": "sostoyanie",
    "status_values": json.dumps({"completed": "otpravlena", "failed": "oshibka"}),
    "status_time_column": "izmenena",
}
TO_THREE: list[dict[str, Any]] = [{"type": "amocrm"}, {"type": "bitrix24"}, {"type": "webhook"}]


@pytest.fixture(scope="module")
def company(own_mariadb: MariaDb) -> Iterator[Stack]:
    """A stack whose leads are in that MariaDB."""
    connection = {
        "conn_type": "mysql",
        "host": "127.0.0.1",
        "port": own_mariadb.port,
        "login": "leadcast",
        "password": "made-up",
        "schema": "crm",
    }
    settings = {f"AIRFLOW__LEADCAST__{name.upper()}": value for name, value in SETTINGS.items()}
    folder = Path(tempfile.mkdtemp(prefix="leadcast-company-"))
    env = stack_env(
        folder,
        free_port(),
        AIRFLOW_CONN_CRM=json.dumps(connection),
        AIRFLOW__LEADCAST__RETRY_DELAY_S="0.4",
        **settings,
    )
    sql(
        own_mariadb,
        "CREATE TABLE zayavki (nomer INT UNSIGNED PRIMARY KEY, fio VARCHAR(200) NOT NULL, tel VARCHAR(40), "
        "pochta VARCHAR(200), istochnik VARCHAR(40), sostoyanie VARCHAR(20) NOT NULL DEFAULT 'novaya', "
        "izmenena DATETIME NULL)",
    )
    for number in (501, 502, 503):
        sql(
            own_mariadb,
            f"INSERT INTO zayavki (nomer, fio, tel, pochta, istochnik) VALUES "
            f"({number}, 'Ольга Ким {number}', '+7999000{number}', 'olga{number}@example.com', 'yandex')",
        )
    leadcast(env, "up")
    yield Stack(home=Home.find(env, cwd=ROOT), ports=Ports.from_environment(env), env=env)
    leadcast(env, "down")
    shutil.rmtree(folder, ignore_errors=True)


def sql(server: MariaDb, statement: str) -> Any:
    """Does something in the company's database, and gives the first row if there is one."""
    engine = create_engine(server.url)
    try:
        with engine.begin() as connection:
            done = connection.execute(text(statement))
            return done.one() if done.returns_rows else None
    finally:
        engine.dispose()


def row(server: MariaDb, number: int) -> tuple[str, Any]:
    return tuple(sql(server, f"SELECT sostoyanie, izmenena FROM zayavki WHERE nomer = {number}"))


def send(stack: Stack, lead_id: int, integrations: list[dict[str, Any]], **more: Any) -> str:
    body = {"lead_id": lead_id, "integrations": integrations, **more}
    return str(stack.api().call("POST", "/api/integrations/send-batch", json=body)["batch_id"])


def test_the_doctor_shows_a_lead_as_it_would_be_sent_and_nothing_that_is_personal(company: Stack) -> None:
    company.env["COLUMNS"] = "400"
    said = company.run("doctor", "--lead", "501").stdout
    assert "lead 501 as it would be sent: name О***, phone ***01, email o***@example.com, utm.utm_source y***" in said
    assert "completed → otpravlena" in said
    assert "Ольга" not in said


def test_a_lead_goes_out_from_there_and_its_row_ends_with_the_status(company: Stack, own_mariadb: MariaDb) -> None:
    batch = company.settled(send(company, 501, TO_THREE))
    assert batch["status"] == "completed"
    assert [item["state"] for item in batch["deliveries"]] == ["delivered"] * 3
    for service in ("amocrm", "bitrix24", "webhook"):
        assert "Ольга Ким 501" in json.dumps(company.received(service), ensure_ascii=False)
    state, changed = until(lambda: row(own_mariadb, 501) if row(own_mariadb, 501)[1] else None)
    assert state == "otpravlena"
    assert abs((utc_now().replace(tzinfo=None) - changed).total_seconds()) < 120
    assert row(own_mariadb, 502) == ("novaya", None)


def test_while_the_database_is_stopped_no_wave_waits_and_afterwards_the_status_arrives(
    company: Stack, own_mariadb: MariaDb
) -> None:
    # each accepted while it is there, held at the webhook until it is not
    company.sandbox("POST", "/faults", json={"service": "webhook", "kind": "slow", "delay_s": 4, "times": 1})
    batch_id = send(company, 502, TO_THREE)
    until(lambda: company.api().call("GET", f"/api/integrations/batches/{batch_id}")["status"] == "processing")
    own_mariadb.stop()
    try:
        assert company.settled(batch_id)["status"] == "completed"
        # what needs the table is refused, what does not goes out
        with pytest.raises(ApiError) as refused:
            send(company, 503, TO_THREE)
        assert refused.value.status == 503
        inline = send(company, 503, [{"type": "webhook"}], lead={"name": "Inline"})
        assert company.settled(inline)["status"] == "completed"
        until(lambda: waiting(company) == {"502", "503"})
        doctor = company.run("doctor", check=False)
        assert "of lead_status not sent yet, tried again: LeadTableError" in doctor.stdout
        assert "fail" in doctor.stdout, "the table cannot be looked at"
    finally:
        own_mariadb.start()
    assert row(own_mariadb, 502) == ("novaya", None)
    until(lambda: company.sql("leadcast", f"SELECT 1 {DUE}"))
    company.api("admin").call("POST", "/api/v2/dags/sweep/dagRuns", json={"logical_date": None})
    until(lambda: row(own_mariadb, 502)[0] == row(own_mariadb, 503)[0] == "otpravlena")
    until(lambda: not waiting(company))


DUE = (
    "FROM notifications n WHERE channel = 'lead_status' AND state = 'pending' AND next_attempt_at < now() "
    "AND NOT EXISTS (SELECT 1 FROM places p WHERE p.channel = n.channel AND p.rests_until > now())"
)


def waiting(stack: Stack) -> set[str]:
    """Leads whose status has not been written yet."""
    rows = stack.sql(
        "leadcast",
        "SELECT b.lead_id FROM notifications n JOIN batches b ON b.id = n.batch_id "
        "WHERE n.channel = 'lead_status' AND n.state = 'pending'",
    )
    return {each.lead_id for each in rows}
