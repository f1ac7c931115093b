"""A body that never ends: no door reads more of it than it takes."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from leadcast.api.body import read_json
from leadcast.api.trigger_guard import TriggerGuard
from leadcast.core.errors import BodyTooLarge
from leadcast.core.json_body import MAX_BODY_BYTES
from leadcast.store.sealing import Sealer

CHUNK = b" " * 65_536
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/api/v2/dags/send_lead/dagRuns",
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"10")],
}


class Endless:
    """A caller who goes on sending; remembers how much was taken."""

    def __init__(self) -> None:
        self.taken = 0

    async def receive(self) -> Message:
        self.taken += len(CHUNK)
        assert self.taken < 10 * MAX_BODY_BYTES, "nobody stops reading"
        return {"type": "http.request", "body": CHUNK, "more_body": True}


def test_our_own_routes_stop_reading() -> None:
    caller = Endless()
    with pytest.raises(BodyTooLarge):
        asyncio.run(read_json(Request(dict(SCOPE), caller.receive)))
    assert caller.taken <= MAX_BODY_BYTES + len(CHUNK)


def test_the_guard_of_airflows_trigger_stops_reading(fernet_key: str) -> None:
    caller = Endless()
    answers: list[Message] = []

    async def airflow(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was passed on")

    async def send(message: Message) -> None:
        answers.append(message)

    guard = TriggerGuard(airflow, sealer=lambda: Sealer(fernet_key))
    asyncio.run(guard(dict(SCOPE), caller.receive, send))
    assert answers[0]["status"] == 413
    assert caller.taken <= MAX_BODY_BYTES + len(CHUNK)
