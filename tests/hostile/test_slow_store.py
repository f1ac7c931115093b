"""A store that stands still holds up who asks it, for a while; Airflow's own API, and the tasks that need it, go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from leadcast.core.errors import LeadNotFound, StoreError
from leadcast.core.model import Lead
from leadcast.engine import config, lead_of_run
from leadcast.store import leads, migrate
from leadcast.store.database import Store, open_engine
from leadcast.store.sealing import Sealer
from tests.api.api_server import ApiServer, api_server
from tests.own_postgres import OwnPostgres, own_postgres

OURS = 60
TRIGGERS = 40
"""As many as the api-server has threads."""
LONG_S = 120
BY_ID = {"lead_id": "stored", "integrations": [{"type": "email"}]}


class Hanging:
    """A store whose questions are not answered until somebody lets them. Counts who asks at once."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.asking = 0

    def begin(self) -> Any:
        self.asking += 1
        self.goes_on.wait(LONG_S)
        raise LeadNotFound("nobody")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr(config, "lead_table", lambda: None)
    monkeypatch.setattr(lead_of_run, "ASKED_WITHIN_S", 0.05)
    monkeypatch.setattr(lead_of_run, "IN_LINE_S", 0.05)
    hanging = Hanging()
    yield hanging
    hanging.goes_on.set()


def test_only_so_many_runs_ask_a_store_that_stands_still(hanging: Hanging) -> None:
    store = cast(Store, hanging)

    def ask(_: int) -> str:
        with pytest.raises(StoreError) as told:
            lead_of_run.find("1", store)
        return str(told.value)

    with ThreadPoolExecutor(TRIGGERS) as pool:
        said = list(pool.map(ask, range(TRIGGERS)))
    assert set(said) <= {"The store has not answered within 0.05 s.", "The store does not answer just now."}
    assert hanging.asking == lead_of_run.ASKED_AT_ONCE


def test_once_it_goes_on_runs_are_looked_up_again(hanging: Hanging) -> None:
    store = cast(Store, hanging)
    for _ in range(lead_of_run.ASKED_AT_ONCE + 1):
        with pytest.raises(StoreError):
            lead_of_run.find("1", store)
    hanging.goes_on.set()
    deadline = time.monotonic() + LONG_S
    while True:
        try:
            lead_of_run.find("1", store)
        except LeadNotFound:
            break
        except StoreError:
            assert time.monotonic() < deadline


@pytest.fixture(scope="module")
def own(fernet_key: str) -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        engine = open_engine(server.url.render_as_string(hide_password=False))
        migrate.upgrade(engine)
        with Store(engine, Sealer(fernet_key)).begin() as connection:
            leads.put(connection, Lead(id="stored", name="A", email="a@example.com"))
        engine.dispose()
        yield server


@pytest.fixture(scope="module")
def server(
    own: OwnPostgres, postgres_url: str, fernet_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    settings = {"store_url": own.url.render_as_string(hide_password=False)}
    home = tmp_path_factory.mktemp("slow-store")
    with api_server(home, postgres_url=postgres_url, fernet_key=fernet_key, settings=settings) as running:
        yield running


@pytest.mark.system
@pytest.mark.store
def test_while_the_store_stands_still_airflow_answers_and_callers_are_told(server: ApiServer, own: OwnPostgres) -> None:
    def ours(number: int) -> tuple[int, bool]:
        path = ("batches", "leads/stored", "ui")[number % 3]
        answer = server.call("GET", f"/api/integrations/{path}", timeout_s=LONG_S)
        return answer.status_code, "Retry-After" in answer.headers

    def trigger(_: int) -> tuple[int, bool]:
        answer = server.trigger(BY_ID, timeout_s=LONG_S)
        return answer.status_code, "Try again in a few seconds" in answer.text

    assert ours(0) == (200, False)
    assert server.trigger(BY_ID).status_code == 200
    with ThreadPoolExecutor(OURS + TRIGGERS) as pool, own.stands_still():
        asked = [pool.submit(ours, number) for number in range(OURS)]
        triggered = [pool.submit(trigger, number) for number in range(TRIGGERS)]
        # as long as ours are in flight: an answer at all, while the store still gives none
        for path in ["/api/v2/version", "/execution/health"] * 5:
            assert server.call("GET", path, user=None, timeout_s=LONG_S).status_code == 200
        assert server.call("GET", "/api/integrations/health", user=None, timeout_s=LONG_S).status_code == 503
        assert {each.result(timeout=LONG_S) for each in asked} == {(503, True)}
        assert {each.result(timeout=LONG_S) for each in triggered} == {(400, True)}
    deadline = time.monotonic() + LONG_S
    while ours(0) != (200, False) or server.trigger(BY_ID).status_code != 200:
        assert time.monotonic() < deadline, "it does not recover"
