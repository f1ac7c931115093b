"""Bodies far too large, over real connections to a real server, from clients that send all before they read."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
import requests
import uvicorn
from fastapi import FastAPI

from leadcast.api.app import create_app
from leadcast.api.backend import Backend
from leadcast.api.links import MOUNT
from leadcast.api.trigger_guard import TriggerGuard
from leadcast.core.errors import StoreError
from leadcast.core.settings import Settings
from leadcast.store.database import Store
from leadcast.store.sealing import Sealer
from tests.api.conftest import ASKING, TOKEN, Bell, admit

TRIGGER = "/api/v2/dags/send_lead/dagRuns"
FAR_TOO_MUCH = b" " * 5_000_000
TOO_MUCH_OF_A_STRANGER = b" " * 1_500_000
DOORS = [f"{MOUNT}/send-batch", f"{MOUNT}/batches/x/retry", TRIGGER]


def no_store() -> Store:
    raise StoreError("nothing here comes so far")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    backend = Backend(store=no_store, settings=Settings, ring=Bell().ring, missing_pools=list)
    airflow = FastAPI()
    airflow.mount(MOUNT, create_app(backend, admit=admit))
    guarded = TriggerGuard(airflow, sealer=lambda: Sealer(""), asking=ASKING)
    server = uvicorn.Server(uvicorn.Config(guarded, log_level="critical", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=60)


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize("token", [TOKEN, ""], ids=["known", "unknown"])
def test_who_sends_far_too_much_hears_so(address: str, path: str, connection: str, token: str) -> None:
    headers = {"Content-Type": "application/json", "Connection": connection, "Authorization": f"Bearer {token}"}
    status, sent = (413, FAR_TOO_MUCH) if token else (401, TOO_MUCH_OF_A_STRANGER)
    with closing(http.client.HTTPConnection(address, timeout=60)) as plain:
        plain.request("POST", path, sent, headers)
        answer = plain.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (status, status)
    assert requests.post(f"http://{address}{path}", sent, headers=headers, timeout=60).status_code == status


@pytest.mark.parametrize("path", DOORS)
def test_a_body_without_an_end_is_cut(address: str, path: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 1_000_000
        pytest.fail("200 MB were taken")

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    with suppress(requests.ConnectionError):  # whether the answer is heard then, is luck
        assert requests.post(f"http://{address}{path}", endless(), headers=headers, timeout=60).status_code == 413
