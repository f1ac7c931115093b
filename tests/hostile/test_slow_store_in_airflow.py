"""A real api-server whose store stands still: Airflow's own API, and what tasks ask of it, are answered meanwhile."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import jwt
import pytest
from requests import Response
from sqlalchemy import create_engine, text

from leadcast.store.database import open_engine
from leadcast.store.upkeep import migrate
from tests.api.conftest import BODY
from tests.support.api_server import ApiServer, api_server
from tests.support.own_postgres import OwnPostgres, own_postgres

pytestmark = [pytest.mark.system, pytest.mark.store]

BY_ID = {"lead_id": "123", "integrations": [{"type": "email"}]}
OURS, BY_ID_ALONE, WITH_A_LEAD = 60, 40, 40
"""Requests at once: more than the api-server has threads (40), and Airflow sessions of its database (15)."""
LONG_S = 600


@pytest.fixture(scope="module")
def own() -> Iterator[OwnPostgres]:
    with own_postgres() as running:
        engine = open_engine(running.url.render_as_string(hide_password=False))
        migrate.upgrade(engine)
        engine.dispose()
        yield running


@pytest.fixture(scope="module")
def server(
    own: OwnPostgres, postgres_url: str, fernet_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    store = {"store_url": own.url.render_as_string(hide_password=False)}
    home = tmp_path_factory.mktemp("home")
    with api_server(home, postgres_url=postgres_url, fernet_key=fernet_key, settings=store) as running:
        yield running


def task_token(server: ApiServer) -> str:
    """As the executor gives one to a task."""
    now = int(time.time())
    said = {"aud": "urn:airflow.apache.org:task", "sub": str(uuid.uuid4()), "nbf": now, "iat": now, "exp": now + LONG_S}
    return jwt.encode(said, server.environment["AIRFLOW__API_AUTH__JWT_SECRET"], algorithm="HS512")


def runs_as_a_task_counts_them(server: ApiServer) -> Response:
    token = {"Authorization": f"Bearer {task_token(server)}"}
    path = "/execution/dag-runs/count?dag_id=send_lead"
    return server.call("GET", path, user=None, headers=token, timeout_s=LONG_S)


def test_airflow_goes_on_while_the_store_stands_still_and_so_do_we_after_it(
    server: ApiServer, own: OwnPostgres
) -> None:
    assert server.call("PUT", "/api/integrations/leads/123", json={"name": "Анна"}).status_code in (200, 201)
    assert server.trigger(BY_ID).status_code == 200
    assert runs_as_a_task_counts_them(server).status_code == 200
    calls: list[tuple[Callable[[], Response], int]] = [
        (lambda: server.call("GET", "/api/integrations/batches", timeout_s=LONG_S), OURS),
        (lambda: server.trigger(BY_ID, timeout_s=LONG_S), BY_ID_ALONE),
        (lambda: server.trigger(BODY, timeout_s=LONG_S), WITH_A_LEAD),
    ]
    with ThreadPoolExecutor(OURS + BY_ID_ALONE + WITH_A_LEAD) as pool, own.stands_still():
        begun = [[pool.submit(call) for _ in range(times)] for call, times in calls]
        meanwhile = airflows_own(server)
        while not all(future.done() for of in begun for future in of):
            meanwhile += airflows_own(server)
            time.sleep(0.2)
        ours, by_id, with_a_lead = (results(of) for of in begun)
    assert {answer.status_code for answer in meanwhile} == {200}
    assert {answer.status_code for answer in (*ours, *by_id)} == {503}
    # who brings the lead needs no store; on a busy machine he may find the guard's threads in use
    accepted = [answer for answer in with_a_lead if answer.status_code == 200]
    refused = [answer for answer in with_a_lead if answer.status_code != 200]
    assert accepted
    assert {answer.status_code for answer in refused} <= {503}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in (*ours, *by_id, *refused))
    assert triggers_that_airflow_has_seen(server) == 1 + len(accepted), "none waits within its database session"
    deadline = time.monotonic() + LONG_S
    while server.trigger(BY_ID, timeout_s=LONG_S).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert server.call("GET", "/api/integrations/batches", timeout_s=LONG_S).status_code == 200


def airflows_own(server: ApiServer) -> list[Response]:
    """What it answers a user, and a task."""
    return [server.call("GET", "/api/v2/version", timeout_s=LONG_S), runs_as_a_task_counts_them(server)]


def triggers_that_airflow_has_seen(server: ApiServer) -> int:
    """It writes down each before it does anything else."""
    engine = create_engine(server.database_url)
    with engine.connect() as connection:
        seen: int = connection.execute(text("SELECT count(*) FROM log WHERE event = 'trigger_dag_run'")).scalar_one()
    engine.dispose()
    return seen


def results(begun: list[Future[Response]]) -> list[Response]:
    return [future.result(LONG_S) for future in begun]
