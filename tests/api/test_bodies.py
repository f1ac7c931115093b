"""Bodies that a door does not take: who sends one hears why it is refused, and one without an end is cut."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leadcast.api.body import read_json
from leadcast.api.read_on import MAX_UNREAD_BYTES, ReadOn
from leadcast.api.trigger_guard import TriggerGuard
from leadcast.core.json_body import MAX_BODY_BYTES
from leadcast.core.request_errors import BodyTooLarge
from leadcast.store.sealing import Sealer
from tests.api.conftest import ASKING, TOKEN

CHUNK = b" " * 65_536
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/api/v2/dags/send_lead/dagRuns",
    "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", b"10"),
        (b"authorization", f"Bearer {TOKEN}".encode()),
    ],
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

    guard = TriggerGuard(airflow, sealer=lambda: Sealer(fernet_key), asking=ASKING)
    asyncio.run(guard(dict(SCOPE), caller.receive, send))
    assert answers[0]["status"] == 413
    assert (b"connection", b"close") in answers[0]["headers"]
    assert caller.taken <= MAX_BODY_BYTES + MAX_UNREAD_BYTES + 2 * len(CHUNK)


class Caller:
    """Sends these parts, and remembers which were taken before the answer was finished."""

    def __init__(self, *parts: bytes) -> None:
        self._left = list(parts)
        self.answers: list[Message] = []
        self.unread_at_the_end = -1

    async def receive(self) -> Message:
        if not self._left:
            return {"type": "http.disconnect"}
        part = self._left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self._left)}

    async def send(self, message: Message) -> None:
        self.answers.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.unread_at_the_end = len(self._left)

    def hears(self, app: ASGIApp, **headers: str) -> tuple[int, bytes, bool]:
        """Status and body of the answer, and whether the connection is to be closed."""
        brought = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

        async def answered() -> None:
            await app(SCOPE | {"headers": brought}, self.receive, self.send)

        asyncio.run(answered())
        body = b"".join(message.get("body", b"") for message in self.answers[1:])
        return self.answers[0]["status"], body, (b"connection", b"close") in self.answers[0]["headers"]


REFUSING = ReadOn(PlainTextResponse("no", status_code=401))


def test_behind_an_early_answer_the_rest_is_read_before_it_ends() -> None:
    caller = Caller(*[CHUNK] * 20)
    assert caller.hears(REFUSING, content_length=str(20 * len(CHUNK))) == (401, b"no", True)
    assert caller.unread_at_the_end == 0


def test_a_body_of_unknown_length_is_read_too() -> None:
    caller = Caller(CHUNK, CHUNK)
    assert caller.hears(REFUSING, transfer_encoding="chunked") == (401, b"no", True)
    assert caller.unread_at_the_end == 0


def test_who_asks_before_sending_is_not_waited_for() -> None:
    caller = Caller(CHUNK)
    assert caller.hears(REFUSING, content_length="65536", expect="100-continue")[:2] == (401, b"no")
    assert caller.unread_at_the_end == 1


def test_a_request_without_a_body_keeps_its_connection() -> None:
    assert Caller(b"").hears(REFUSING) == (401, b"no", False)
    assert Caller(b"").hears(REFUSING, content_length="0") == (401, b"no", False)


def test_who_is_read_to_the_end_keeps_its_connection() -> None:
    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)

    caller = Caller(CHUNK, CHUNK)
    assert caller.hears(ReadOn(reading), content_length=str(2 * len(CHUNK))) == (200, b"131072", False)
