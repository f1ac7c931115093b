"""The plugin in a real api-server: Airflow's own users, its own trigger, its database and its audit log."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event

import pytest
import requests
from sqlalchemy import create_engine, make_url, select, text

from leadcast.engine.seal.sealed_conf import of_run, table_lead
from leadcast.store.database import Store
from leadcast.store.schema import batches, inbox
from tests.api.conftest import BODY, BOT_TOKEN
from tests.support.api_server import TRIGGER, ApiServer, api_server

pytestmark = [pytest.mark.system, pytest.mark.store]

CALLBACK = "https://example.com/hook?token=a-secret-in-a-url"


@pytest.fixture(scope="module")
def server(postgres_url: str, fernet_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    home = tmp_path_factory.mktemp("api-server")
    settings = {"leads_conn_id": "crm", "leads_table": "people", "leads_key": "nr", "leads_columns": '{"name": "fio"}'}
    with api_server(home, postgres_url=postgres_url, fernet_key=fernet_key, settings=settings) as running:
        # an operator made it in Airflow's UI: it is in Airflow's database and nowhere else
        connection = {"connection_id": "crm", "conn_type": "sqlite", "host": str(home / "crm.db")}
        assert running.call("POST", "/api/v2/connections", user="admin", json=connection).status_code == 201
        lead_table(running, "CREATE TABLE people (nr INTEGER PRIMARY KEY, fio TEXT)")
        lead_table(running, "INSERT INTO people VALUES (7001, 'Анна из таблицы')")
        yield running


def lead_table(server: ApiServer, statement: str) -> None:
    """Does something in the user's own database."""
    with closing(sqlite3.connect(Path(server.environment["AIRFLOW_HOME"]) / "crm.db")) as connection, connection:
        connection.execute(statement)


@pytest.fixture
def table_away(server: ApiServer) -> Iterator[None]:
    lead_table(server, "ALTER TABLE people RENAME TO gone")
    yield
    lead_table(server, "ALTER TABLE gone RENAME TO people")


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits until something holds that happens beside an answer."""

    def until(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    return until


def test_sending_creates_the_run_it_names_in_the_callers_name(
    server: ApiServer, store: Store, until: Callable[[Callable[[], bool]], None]
) -> None:
    answer = server.call("POST", "/api/integrations/send-batch", json=BODY)
    assert answer.status_code == 202, answer.text
    run_id = answer.json()["links"]["run"].rpartition("/")[2]
    until(lambda: run_id in server.runs())
    run = server.call("GET", f"{TRIGGER}/{run_id}").json()
    assert (run["conf"], run["triggering_user_name"]) == ({}, "user")


def test_equal_requests_at_the_same_moment_are_one_batch(server: ApiServer, store: Store) -> None:
    at_once = 8
    start = Barrier(at_once)

    def send(lead_id: str) -> requests.Response:
        start.wait(timeout=30)
        headers = {"Idempotency-Key": "order-1"}
        return server.call("POST", "/api/integrations/send-batch", json=BODY | {"lead_id": lead_id}, headers=headers)

    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(send, ["same"] * at_once))
        others = list(pool.map(send, ["same"] * (at_once - 2) + ["other"] * 2))
    assert {answer.status_code for answer in answers} == {202}
    [batch_id] = {answer.json()["batch_id"] for answer in answers}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert [answer.status_code for answer in others] == [202] * (at_once - 2) + [409] * 2
    listed = server.call("GET", "/api/integrations/batches?lead_id=same").json()["batches"]
    assert [batch["batch_id"] for batch in listed] == [batch_id]
    assert server.call("GET", "/api/integrations/batches?lead_id=other").json()["batches"] == []


def test_retry_and_cancel_need_the_right_to_send(server: ApiServer, store: Store) -> None:
    batch = server.call("POST", "/api/integrations/send-batch", json=BODY).json()["links"]["self"]
    page = f"{batch.replace('/batches/', '/ui/batches/')}"
    assert ">Cancel<" not in server.call("GET", page, user="viewer").text
    assert ">Cancel<" in server.call("GET", page).text
    for action, after_all in (("retry", 409), ("cancel", 200)):
        assert server.call("POST", f"{batch}/{action}", user=None).status_code == 401
        assert server.call("POST", f"{batch}/{action}", user="viewer").status_code == 403
        assert server.call("POST", f"{batch}/{action}").status_code == after_all


def test_a_lead_is_for_its_sender_and_for_those_who_operate(server: ApiServer, store: Store) -> None:
    sent = server.call("POST", "/api/integrations/send-batch", json=BODY).json()
    batch, lead = sent["links"]["self"], f"/api/integrations/leads/{sent['lead_id']}"
    users = ("admin", "op", "user", "other", "viewer")
    masked = {user for user in users if server.call("GET", batch, user=user).json()["masked"]}
    assert masked == {user for user in users if server.call("GET", lead, user=user).json()["lead"] is None}
    assert masked == {"other", "viewer"}
    assert server.call("GET", batch, user="viewer").json()["sent_by"] == "user"
    for method, path in (("POST", f"{batch}/retry"), ("POST", f"{batch}/cancel"), ("DELETE", lead)):
        refused = server.call(method, path, user="other")
        assert (refused.status_code, "Leadcast leads" in refused.json()["detail"]) == (403, True)
    assert server.call("POST", f"{batch}/cancel", user="op").status_code == 200
    assert server.call("DELETE", lead, user="admin").status_code in (200, 202)


def test_airflows_own_rights_decide(server: ApiServer, store: Store) -> None:
    send, read = "/api/integrations/send-batch", "/api/integrations/batches"
    assert server.call("POST", send, user=None, json=BODY).status_code == 401
    assert server.call("GET", read, user=None).status_code == 401
    assert server.call("POST", send, user="viewer", json=BODY).status_code == 403
    assert server.call("GET", read, user="viewer").status_code == 200
    for answer in (
        server.call("POST", send, user="viewer", json=BODY),
        requests.get(server.url + read, headers={"Authorization": "Bearer x"}, timeout=30),
    ):
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_session_cookie_reads_pages_but_does_not_write_alone(server: ApiServer, store: Store) -> None:
    cookie = {"_token": server.tokens["user"]}
    page = server.call("GET", "/api/integrations/ui", user=None, cookies=cookie)
    assert page.status_code == 200
    alone = server.call("POST", "/api/integrations/send-batch", user=None, cookies=cookie, json=BODY)
    assert alone.status_code == 403


def test_airflow_shows_the_monitor_in_its_navigation(server: ApiServer) -> None:
    [plugin] = [item for item in server.call("GET", "/api/v2/plugins").json()["plugins"] if item["name"] == "leadcast"]
    [view] = plugin["external_views"]
    assert (view["href"], view["destination"], view["url_route"]) == ("/api/integrations/ui", "nav", "leadcast")


def test_health_says_which_pools_are_missing(server: ApiServer) -> None:
    health = server.call("GET", "/api/integrations/health", user=None)
    assert health.status_code == 200
    assert "integration-email" in health.json()["missing_pools"]


def test_the_trigger_stores_and_logs_no_secret(server: ApiServer, store: Store) -> None:
    answer = server.trigger(BODY | {"callback_url": CALLBACK})
    assert answer.status_code == 200, answer.text
    assert answer.json()["conf"]["credentials"]["sealed"].startswith("gAAAA")

    again = server.trigger(answer.json()["conf"] | {"priority": "high"})
    assert again.status_code == 200, again.text
    by_another = server.trigger(answer.json()["conf"], user="admin")
    assert by_another.status_code == 422, by_another.text
    assert "anew" in by_another.json()["detail"]

    written = server.everything_written()
    assert answer.json()["dag_run_id"] in written
    assert "trigger_dag_run" in written
    assert BOT_TOKEN not in written
    assert CALLBACK not in written


def test_the_trigger_refuses_what_is_wrong_and_creates_no_run(server: ApiServer, store: Store) -> None:
    before = server.triggered()
    assert server.trigger(BODY | {"nope": 1}).status_code == 422
    unknown = server.trigger({"lead_id": "nobody", "integrations": [{"type": "email"}]})
    assert unknown.status_code == 404
    assert "There is no lead 'nobody'" in unknown.json()["detail"]
    assert unknown.json()["errors"][0]["loc"] == ["body", "conf", "lead_id"]
    assert server.trigger(BODY, user="viewer").status_code == 403
    assert server.trigger(BODY, user=None).status_code == 401
    assert server.triggered() == before
    assert BOT_TOKEN not in server.everything_written()


IN_THE_TABLE = {"lead_id": 7001, "integrations": [{"type": "email"}]}


def test_a_lead_that_only_the_users_own_table_has_is_accepted_by_its_id(server: ApiServer, store: Store) -> None:
    answer = server.call("POST", "/api/integrations/send-batch", json=IN_THE_TABLE)
    assert answer.status_code == 202, answer.text
    with store.begin() as connection:
        kept = connection.execute(select(batches.c.lead).where(batches.c.id == answer.json()["batch_id"])).scalar_one()
    assert kept["name"] == "Анна из таблицы"
    assert server.call("GET", "/api/integrations/leads/7001").json()["lead"]["name"] == "Анна из таблицы"


def test_a_run_is_stored_with_the_lead_that_the_table_has_now_and_sealed(
    server: ApiServer, store: Store, until: Callable[[Callable[[], bool]], None]
) -> None:
    answer = server.trigger(IN_THE_TABLE)
    assert answer.status_code == 200, answer.text
    for_ = of_run(answer.json()["dag_run_id"])
    kept = table_lead(answer.json()["conf"], store.sealer, for_=for_)
    assert kept is not None
    assert kept.data["name"] == "Анна из таблицы"
    other = answer.json()["conf"] | {"lead_id": 7002}
    assert table_lead(other, store.sealer, for_=for_) is None, "it is no other lead's"
    assert "Анна из таблицы" not in server.everything_written()
    by_shell = server.airflow("dags", "trigger", "send_lead", "--conf", json.dumps(IN_THE_TABLE))
    assert by_shell.returncode == 0, by_shell.stderr


def test_while_the_table_is_away_no_door_accepts_what_needs_it_and_each_says_so(
    server: ApiServer, store: Store, table_away: None
) -> None:
    before = server.triggered()
    answer = server.call("POST", "/api/integrations/send-batch", json=IN_THE_TABLE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["title"] == "Lead table not available"
    triggered = server.trigger(IN_THE_TABLE)
    assert (triggered.status_code, triggered.headers["Retry-After"]) == (503, "5")
    assert "The lead table cannot be read just now" in triggered.json()["detail"]
    assert "people" not in triggered.text
    assert server.triggered() == before
    inline = server.call("POST", "/api/integrations/send-batch", json=IN_THE_TABLE | {"lead": {"name": "inline"}})
    assert inline.status_code == 202


def test_the_command_line_stores_and_logs_no_secret(server: ApiServer, store: Store) -> None:
    before = server.triggered()
    done = server.airflow("dags", "trigger", "send_lead", "--conf", json.dumps(BODY | {"lead_id": "of-a-shell"}))
    assert done.returncode == 0, done.stderr
    assert len(server.triggered()) == len(before) + 1

    refused = server.airflow("dags", "trigger", "send_lead", "--conf", json.dumps(BODY | {"nope": 1}))
    assert refused.returncode != 0
    assert len(server.triggered()) == len(before) + 1

    written = server.everything_written()
    assert "cli_dag_trigger" in written
    for text_seen in (written, done.stdout, done.stderr, refused.stdout, refused.stderr):
        assert BOT_TOKEN not in text_seen


IN_PYTHON = """
import json, sys
from airflow.api.common.trigger_dag import trigger_dag
from airflow.utils.types import DagRunTriggeredByType
from leadcast import send_batch
from leadcast.engine.runs.bell import ring_from_here

body = json.load(sys.stdin)
run = trigger_dag(dag_id="send_lead", triggered_by=DagRunTriggeredByType.TEST, conf=body)
assert run.conf["credentials"]["sealed"], run.conf
try:
    trigger_dag(dag_id="send_lead", triggered_by=DagRunTriggeredByType.TEST, conf=body | {"nope": 1})
except ValueError as error:
    assert "nope" in str(error)
else:
    raise AssertionError("a wrong conf was taken")
accepted = send_batch(body["lead_id"], body["integrations"], body["credentials"], lead=body["lead"])
assert ring_from_here(accepted.run_id)
assert not ring_from_here("no run id/../../at all")
print("RUN", accepted.run_id)
"""


def test_below_every_door_a_run_is_checked_and_sealed_and_python_may_send(server: ApiServer, store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_PYTHON],
        env=server.environment,
        input=json.dumps(BODY),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("RUN ")[-1].strip() in server.runs()
    assert BOT_TOKEN not in server.everything_written()


def test_a_task_process_does_not_load_what_only_the_server_needs(server: ApiServer) -> None:
    code = (
        "import sys; from airflow.sdk.plugins_manager import _get_plugins; plugins, errors = _get_plugins(); "
        "assert [p.name for p in plugins] == ['leadcast'] and not errors, (plugins, errors); "
        "print('fastapi' in sys.modules or 'leadcast.flow.request' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=server.environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip().endswith("False")


def test_while_the_inbox_row_is_held_airflows_own_routes_answer(server: ApiServer, store: Store) -> None:
    many = 60  # more than the api-server has threads
    over = Event()

    def ask() -> set[tuple[int, bool]]:
        got = set()
        while not over.is_set():
            answer = server.call("POST", "/api/integrations/send-batch", json=BODY)
            got.add((answer.status_code, "Retry-After" in answer.headers))
        return got

    with ThreadPoolExecutor(many) as pool, store.begin() as connection:
        connection.execute(select(inbox).with_for_update())
        asked = [pool.submit(ask) for _ in range(many)]
        try:
            for _ in range(5):
                assert server.call("GET", "/api/v2/dags").status_code == 200
                assert server.call("GET", "/api/integrations/health", user=None).status_code == 200
        finally:
            over.set()
        assert set().union(*(each.result(timeout=120) for each in asked)) == {(503, True)}
    assert server.call("POST", "/api/integrations/send-batch", json=BODY).status_code == 202


@pytest.fixture
def airflows_database_away(server: ApiServer, postgres_url: str) -> Iterator[None]:
    name = make_url(server.database_url).database
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"))
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
        yield
        connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"))
    admin.dispose()


@pytest.mark.usefixtures("airflows_database_away")
def test_while_airflows_database_is_away_callers_are_told_when_to_come_again(server: ApiServer, store: Store) -> None:
    for method, path in (("POST", "send-batch"), ("GET", "batches"), ("DELETE", "leads/123"), ("GET", "ui")):
        answer = server.call(method, f"/api/integrations/{path}", json=BODY)
        assert answer.status_code == 503, (path, answer.text)
        assert int(answer.headers["Retry-After"]) > 0
