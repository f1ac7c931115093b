"""Bodies that stop half-way, over real connections: they are ended, and who goes on to wait hears why."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message

from leadcast.api import body, read_on
from leadcast.api.app import create_app
from leadcast.api.backend import Backend
from leadcast.api.body import Patience
from leadcast.api.links import MOUNT
from leadcast.api.read_on import MAX_OF_A_STRANGER_BYTES, ReadOn
from leadcast.api.trigger_guard import TriggerGuard
from leadcast.core.errors import StoreError
from leadcast.core.request_errors import BodyTooSlow
from leadcast.core.settings import Settings
from leadcast.store.database import Store
from leadcast.store.sealing import Sealer
from tests.api.conftest import ASKING, TOKEN, Bell, admit

TRIGGER = "/api/v2/dags/send_lead/dagRuns"
DOORS = [
    ("POST", f"{MOUNT}/send-batch"),
    ("PUT", f"{MOUNT}/leads/1"),
    ("POST", f"{MOUNT}/batches/x/retry"),
    ("POST", TRIGGER),
]
AT_ONCE = 400
WAIT_S = 60


def no_store() -> Store:
    raise StoreError("nothing here comes so far")


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    backend = Backend(store=no_store, settings=Settings, ring=Bell().ring, missing_pools=list)
    airflow = FastAPI()
    airflow.mount(MOUNT, create_app(backend, admit=admit))
    guarded = TriggerGuard(airflow, sealer=lambda: Sealer(""), asking=ASKING)
    server = uvicorn.Server(uvicorn.Config(guarded, log_level="critical", lifespan="off"))
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0), backlog=AT_ONCE) as listener:
        patch.setattr(body, "PATIENCE", Patience(whole_s=0.4, part_s=0.2))
        patch.setattr(read_on, "_RESTS", {401: read_on.Rest(MAX_OF_A_STRANGER_BYTES, 0.2), 408: read_on.Rest(0, 0.0)})
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join(timeout=WAIT_S)


def half_sent(address: tuple[str, int], method: str, path: str, *, token: str) -> socket.socket:
    connection = socket.create_connection(address, timeout=WAIT_S)
    connection.sendall(
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        'Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"'.encode()
    )
    return connection


def until_closed(connection: socket.socket) -> tuple[int, bytes]:
    """The answer's status and body, all of it until the server closes; a time-out if it does not."""
    with connection:
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, said = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), said


@pytest.mark.parametrize(("method", "path"), DOORS)
@pytest.mark.parametrize(("token", "status"), [(TOKEN, 408), ("", 401)], ids=["known", "unknown"])
def test_a_half_sent_body_is_answered_and_closed(
    address: tuple[str, int], method: str, path: str, token: str, status: int
) -> None:
    answered, said = until_closed(half_sent(address, method, path, token=token))
    assert (answered, json.loads(said)["status"]) == (status, status)


def test_hundreds_of_half_sent_bodies_do_not_stay(address: tuple[str, int]) -> None:
    open_ones = [half_sent(address, "POST", DOORS[number % len(DOORS)][1], token="") for number in range(AT_ONCE)]
    assert {until_closed(connection)[0] for connection in open_ones} <= {401, 405}


def test_a_body_that_comes_a_byte_at_a_time_is_ended_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PATIENCE", Patience(whole_s=0.2, part_s=10))

    async def receive() -> Message:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b" ", "more_body": True}

    with pytest.raises(BodyTooSlow, match=r"all of it within 0\.2 s"):
        asyncio.run(body.read(Request({"type": "http", "method": "POST", "headers": []}, receive)))


def test_of_a_stranger_no_more_is_read_on_than_a_body_that_the_door_takes() -> None:
    taken = 0

    async def endless() -> AsyncIterator[Message]:
        while True:
            yield {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    parts = endless()

    async def receive() -> Message:
        nonlocal taken
        taken += 65_536
        assert taken < 2 * MAX_OF_A_STRANGER_BYTES, "nobody stops reading"
        return await anext(parts)

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "POST", "headers": [(b"transfer-encoding", b"chunked")]}
    asyncio.run(ReadOn(PlainTextResponse("no", status_code=401))(scope, receive, send))
    assert taken <= MAX_OF_A_STRANGER_BYTES + 65_536
