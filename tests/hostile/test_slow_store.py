"""Who asks a store that stands still does not hold Airflow up: only so many ask at once, none for long, and none for a
while after one that had no answer. A run that comes through the door is looked up before Airflow opens its session."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from leadcast.api import trigger_guard
from leadcast.api.trigger_guard import TriggerGuard
from leadcast.core.bounded import NotInTime, Turns
from leadcast.core.errors import LeadTableError, StoreError
from leadcast.core.request_errors import LeadNotFound
from leadcast.core.tidy import Tidied
from leadcast.engine.seal import lead_of_run, run_notes
from leadcast.engine.settings import config
from leadcast.engine.setup import connection_hooks
from leadcast.engine.setup.connection_hooks import Tried
from leadcast.store.database import Store
from leadcast.store.sealing import Sealer
from tests.api.conftest import ASKING, BODY, TOKEN

TRIGGER = "/api/v2/dags/send_lead/dagRuns"
TRIGGERS = 40
"""As many as the api-server has threads."""
LONG_S = 120
SHORT_S = 0.05


class Clock:
    """Goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Hanging:
    """A store whose questions are not answered until somebody lets them. Counts who has asked."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.asked = 0

    def begin(self) -> Any:
        self.asked += 1
        self.goes_on.wait(LONG_S)
        raise LeadNotFound("nobody")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[Hanging]:
    hanging = Hanging()
    turns = Turns("test", at_once=8, within_s=SHORT_S, in_line_s=SHORT_S, rest_s=3, clock=clock)
    monkeypatch.setattr(config, "lead_table", lambda: None)
    monkeypatch.setattr(config, "store", lambda: hanging)
    monkeypatch.setattr(lead_of_run, "_turns", turns)
    monkeypatch.setattr(run_notes, "_turns", turns)
    yield hanging
    hanging.goes_on.set()


def find(hanging: Hanging) -> str:
    with pytest.raises(StoreError) as told:
        lead_of_run.find("1", cast(Store, hanging))
    return str(told.value)


def test_only_so_many_runs_ask_a_store_that_stands_still(hanging: Hanging) -> None:
    with ThreadPoolExecutor(TRIGGERS) as pool:
        said = set(pool.map(lambda _: find(hanging), range(TRIGGERS)))
    assert said == {"The store does not answer just now."}
    assert 1 <= hanging.asked <= 8


def test_after_one_without_an_answer_nobody_asks_for_a_while_and_then_one(hanging: Hanging, clock: Clock) -> None:
    for now, asked in ((0, 1), (1, 1), (2.9, 1), (3, 2), (5.9, 2), (6, 3)):
        clock.now = now
        for _ in range(3):
            find(hanging)
        assert hanging.asked == asked


def test_of_the_notes_of_runs_one_waits_for_it_and_the_others_go_on(hanging: Hanging) -> None:
    for number in range(TRIGGERS):
        run_notes.write(f"run-{number}")
    assert hanging.asked == 1


def test_once_it_goes_on_runs_are_looked_up_again(hanging: Hanging) -> None:
    find(hanging)
    hanging.goes_on.set()
    deadline = time.monotonic() + LONG_S
    while True:  # the one that was given up is answered, which says that the store is back: no clock is needed
        try:
            lead_of_run.find("1", cast(Store, hanging))
        except LeadNotFound:
            break
        except StoreError:
            assert time.monotonic() < deadline


def test_one_that_fails_in_time_is_an_answer_and_what_it_says_is_raised(clock: Clock) -> None:
    turns = Turns("test", at_once=1, within_s=LONG_S, rest_s=3, clock=clock)

    def fails(error: Exception) -> None:
        raise error

    for error in (LeadNotFound("1"), StoreError("away"), TimeoutError("its own")):
        with pytest.raises(type(error)):
            turns.ask(lambda error=error: fails(error))  # type: ignore[misc]
    assert turns.ask(lambda: "answered") == "answered"


def test_where_nobody_rests_the_others_go_on_beside_one_that_hangs() -> None:
    goes_on = threading.Event()
    turns = Turns("test", at_once=2, within_s=SHORT_S)
    with pytest.raises(NotInTime):
        turns.ask(lambda: goes_on.wait(LONG_S))
    assert Turns("other", at_once=1, within_s=LONG_S).ask(lambda: 1) == 1
    goes_on.set()


def test_a_turn_is_given_back_where_the_machine_has_no_thread_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def has_none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    turns = Turns("test", at_once=1, within_s=LONG_S)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", has_none)
        for _ in range(2):
            with pytest.raises(NotInTime):
                turns.ask(lambda: "asked")
    assert turns.ask(lambda: "answered") == "answered"


class Airflow:
    """Stands for it: in a thread of its own, as its routes are, it asks for the lead where it writes a run."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        store = cast(Store, None)  # asked, it would fail
        self.found.append(await run_in_threadpool(lead_of_run.find, "7", store))
        await JSONResponse({})(scope, receive, send)


BY_ID = {"conf": {"lead_id": 7, "integrations": [{"type": "email"}]}}


def guard(airflow: Any, fernet_key: str, find_lead: Callable[[str], Tidied | None] | None = None) -> TestClient:
    guarded = TriggerGuard(airflow, sealer=lambda: Sealer(fernet_key), asking=ASKING, find_lead=find_lead)
    return TestClient(guarded, headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("lead", [None, Tidied(data={"name": "Анна"})], ids=["in the store", "in the table"])
def test_the_lead_is_found_before_airflow_writes_the_run_and_not_again(fernet_key: str, lead: Tidied | None) -> None:
    airflow, asked_for = Airflow(), []

    def find_lead(lead_id: str) -> Tidied | None:
        asked_for.append(lead_id)
        return lead

    assert guard(airflow, fernet_key, find_lead).post(TRIGGER, json=BY_ID).status_code == 200
    assert (airflow.found, asked_for) == ([lead], ["7"])


def test_what_was_found_is_of_that_lead_and_that_request_alone(fernet_key: str, hanging: Hanging) -> None:
    client = guard(Airflow(), fernet_key, lambda lead_id: None)
    other = {"conf": BY_ID["conf"] | {"lead_id": 8}}
    with pytest.raises(AttributeError, match="begin"):
        client.post(TRIGGER, json=other)
    assert client.post(TRIGGER, json=BY_ID).status_code == 200
    find(hanging)
    assert hanging.asked == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreError("away"), 503), (LeadTableError("away"), 503), (LeadNotFound("7"), 404)],
)
def test_where_it_cannot_be_found_airflow_is_not_reached(fernet_key: str, error: Exception, status: int) -> None:
    airflow = Airflow()

    def find_lead(lead_id: str) -> None:
        raise error

    answer = guard(airflow, fernet_key, find_lead).post(TRIGGER, json=BY_ID)
    assert (answer.status_code, "Retry-After" in answer.headers) == (status, status == 503)
    assert [item["loc"] for item in answer.json()["errors"]] in ([], [["body", "conf", "lead_id"]])
    assert airflow.found == []


def test_who_brings_the_lead_asks_nobody_and_waits_for_nobody(fernet_key: str, hanging: Hanging) -> None:
    async def airflow(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({})(scope, receive, send)

    client = guard(airflow, fernet_key)
    for _ in range(20):
        assert client.post(TRIGGER, json=BY_ID).status_code == 503
    assert client.post(TRIGGER, json={"conf": BODY}).status_code == 200
    assert hanging.asked == 1


def test_only_so_many_triggers_are_in_airflow_at_once(fernet_key: str) -> None:
    """Each holds one of its few sessions until the event loop comes back to it."""
    inside: list[int] = [0, 0]

    async def airflow(scope: Scope, receive: Receive, send: Send) -> None:
        inside[0] += 1
        inside[1] = max(inside)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        inside[0] -= 1
        await JSONResponse({})(scope, receive, send)

    guarded = TriggerGuard(airflow, sealer=lambda: Sealer(fernet_key), asking=ASKING)
    headers, answers = {"Authorization": f"Bearer {TOKEN}"}, []

    async def trigger(client: httpx.AsyncClient) -> None:
        answers.append((await client.post(TRIGGER, json={"conf": {}}, headers=headers)).status_code)

    async def crowd() -> None:
        transport = httpx.ASGITransport(guarded)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://a") as client,
            anyio.create_task_group() as all_,
        ):
            for _ in range(TRIGGERS):
                all_.start_soon(trigger, client)

    anyio.run(crowd)
    assert inside == [0, trigger_guard._AT_ONCE]
    assert len(answers) == TRIGGERS
    assert set(answers) <= {200, 503}


def test_only_so_many_accounts_are_tried_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, begun = threading.Event(), threading.Semaphore(0)

    def slow(integration_type: str, conn_id: str) -> Tried:
        begun.release()
        goes_on.wait(LONG_S)
        return Tried(True, "works")

    monkeypatch.setattr(connection_hooks, "try_out", slow)
    monkeypatch.setattr(connection_hooks, "_turns", Turns("test", at_once=2, within_s=LONG_S))
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(connection_hooks.probe_account, "amocrm", "c") for _ in range(2)]
        for _ in first:
            begun.acquire()
        works, words = connection_hooks.probe_account("amocrm", "c")
        assert not works
        assert "Try again" in words
        goes_on.set()
        assert [tried.result(LONG_S) for tried in first] == [(True, "works")] * 2
    assert connection_hooks.probe_account("amocrm", "c") == (True, "works")
