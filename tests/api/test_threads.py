"""The door's own threads: what waits for a store in trouble takes none of those that serve Airflow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from leadcast.api import threads
from leadcast.api.app import create_app
from leadcast.api.backend import Backend, airflow_backend
from leadcast.api.threads import THREADS, Threads
from leadcast.core.errors import NoAnswerYet, StoreError
from leadcast.core.settings import Settings
from leadcast.engine.runs import lead_traces
from leadcast.store.database import Store, open_engine
from leadcast.store.schema import inbox
from tests.api.conftest import BODY, TOKEN, Bell

MANY = 60
"""More than the api-server has threads."""


def test_who_finds_all_in_use_is_told_so_and_the_next_one_is_served() -> None:
    goes_on = threading.Event()

    async def crowd() -> str:
        threads = Threads(2, waits_s=0.05)
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(threads.run, lambda: goes_on.wait(60))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(StoreError, match="in use"):
                await threads.run(lambda: "never begun")
            goes_on.set()
        return await threads.run(lambda: "done")

    assert anyio.run(crowd) == "done"


def test_who_waits_too_long_is_told_so_and_his_thread_stays_taken_until_it_is_done() -> None:
    goes_on, over = threading.Event(), threading.Event()

    def work() -> None:
        goes_on.wait(60)
        over.set()

    async def one() -> str:
        threads = Threads(1, waits_s=0.05, answers_within_s=0.05)
        with pytest.raises(NoAnswerYet):
            await threads.run(work)
        with pytest.raises(StoreError, match="in use"):
            await threads.run(lambda: "never begun")
        goes_on.set()
        while not over.is_set():
            await anyio.sleep(0.01)
        return await threads.run(lambda: "done")

    assert anyio.run(one) == "done"


def test_what_fails_in_there_is_raised_and_its_place_is_free_again() -> None:
    def fails() -> None:
        raise TimeoutError("of the work's own")

    async def three() -> str:
        threads = Threads(1, waits_s=1)
        for _ in range(3):
            with pytest.raises(TimeoutError, match="own"):
                await threads.run(fails)
        return await threads.run(lambda: "done")

    assert anyio.run(three) == "done"


@pytest.mark.store
def test_while_the_inbox_row_is_held_callers_are_told_and_other_routes_answer(
    store: Store, postgres_url: str, serve: Callable[..., TestClient]
) -> None:
    engine = open_engine(postgres_url, pool_size=THREADS, lock_timeout_s=2)
    client = serve(lambda: Store(engine, store.sealer))
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    server = client.app
    assert isinstance(server, FastAPI)
    # as Airflow's own routes: in a thread of the server's
    server.add_api_route("/api/v2/dags", lambda: "Airflow answers")
    over = threading.Event()

    def ask() -> set[tuple[int, bool]]:
        got = set()
        while not over.is_set():
            answer = client.post("/send-batch", json=BODY)
            got.add((answer.status_code, "Retry-After" in answer.headers))
        return got

    with ThreadPoolExecutor(MANY) as pool, store.begin() as connection:
        connection.execute(select(inbox).with_for_update())
        asked = [pool.submit(ask) for _ in range(MANY)]
        for _ in range(20):
            assert client.get("http://testserver/api/v2/dags").json() == "Airflow answers"
        over.set()
        assert set().union(*(each.result(timeout=120) for each in asked)) == {(503, True)}
    assert client.post("/send-batch", json=BODY).status_code == 202
    engine.dispose()


def test_while_airflows_database_is_away_callers_are_told_when_to_come_again(bell: Bell) -> None:
    def admit() -> None:
        raise OperationalError("SELECT", {}, Exception("the database system is shutting down"))

    def unset() -> Store:
        raise AssertionError("nobody is let in")

    app = create_app(Backend(store=unset, settings=Settings, ring=bell.ring, missing_pools=list), admit=admit)
    with TestClient(app, raise_server_exceptions=False) as client:
        for answer in (client.post("/send-batch", json=BODY), client.get("/batches"), client.get("/ui")):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.json()["title"] == "Airflow's database not available"


def test_an_erasure_is_waited_for_as_long_as_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float | None] = []

    class Noted(Threads):
        def __init__(self, size: int, **bounds: float) -> None:
            given.append(bounds.get("answers_within_s"))
            super().__init__(size, **bounds)

    monkeypatch.setattr(threads, "Threads", Noted)
    airflow_backend()
    assert given == [lead_traces.ERASE_TIMEOUT_S]
