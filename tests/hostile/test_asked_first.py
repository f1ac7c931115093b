"""Who calls is asked before his body is looked at: a stranger costs nothing, and learns nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from starlette.types import Message, Receive, Scope, Send

from leadcast.api.trigger_guard import Asking, TriggerGuard
from leadcast.core.json_body import MAX_BODY_BYTES
from leadcast.engine.seal.sealed_conf import by_caller, seal_conf
from leadcast.store.sealing import Sealer
from tests.api.conftest import ASKING, BODY, TOKEN

TRIGGER = "/api/v2/dags/send_lead/dagRuns"
GUARDED = [TRIGGER, f"{TRIGGER}/"]
SEALED = "sealed"


async def airflow(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("it was passed on")


@pytest.fixture
def guard(fernet_key: str) -> TriggerGuard:
    return TriggerGuard(airflow, sealer=lambda: Sealer(fernet_key), asking=ASKING)


@pytest.fixture
def bodies(fernet_key: str) -> dict[str, bytes]:
    """What a stranger may want to have looked at."""
    sealed = seal_conf(BODY, Sealer(fernet_key), for_=by_caller("tester"))
    foreign = Sealer(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFG=".decode())
    foreign_seal = seal_conf(BODY, foreign, for_=by_caller("tester"))

    def triggering(conf: Any) -> bytes:
        return json.dumps({"logical_date": None, "conf": conf}).encode()

    return {
        "a good seal": triggering(sealed),
        "a bad seal": triggering(foreign_seal),
        "no seal at all": triggering(sealed | {"credentials": {SEALED: "gAAAA"}}),
        "an installed integration": triggering(BODY),
        "another integration": triggering(BODY | {"integrations": [{"type": "fax"}]}),
        "90,000 unknown fields": triggering({f"f{number}": 1 for number in range(90_000)}),
        "not JSON": b"{",
        "too large": b" " * (MAX_BODY_BYTES + 1),
        "a backfill": json.dumps({"dag_id": "send_lead"}).encode(),
        "nothing": b"",
    }


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_stranger_gets_one_answer_whatever_he_sends(
    guard: TriggerGuard, bodies: dict[str, bytes], path: str, content_type: str
) -> None:
    client = TestClient(guard, headers={"Content-Type": content_type})
    answers = {what: client.post(path, content=body) for what, body in bodies.items()}
    assert {answer.status_code for answer in answers.values()} == {401}
    assert len({answer.content for answer in answers.values()}) == 1
    for answer in answers.values():
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_who_may_not_trigger_gets_one_answer_whatever_he_sends(guard: TriggerGuard, bodies: dict[str, bytes]) -> None:
    client = TestClient(guard, headers={"Authorization": f"Bearer {TOKEN}", "X-Test-User": "viewer"})
    answers = [client.post(TRIGGER, content=body) for body in bodies.values()]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize("headers", [[], [(b"authorization", f"Bearer {TOKEN}".encode()), (b"x-test-user", b"viewer")]])
@pytest.mark.parametrize("path", [TRIGGER])
def test_not_a_byte_is_taken_before_it_is_known_who_calls(
    guard: TriggerGuard, headers: list[tuple[bytes, bytes]], path: str
) -> None:
    happened: list[str] = []

    async def receive() -> Message:
        happened.append("taken")
        return {"type": "http.request", "body": b" ", "more_body": False}

    async def send(message: Message) -> None:
        happened.append(message["type"])

    scope = {"type": "http", "method": "POST", "path": path, "headers": [*headers, (b"content-length", b"1")]}
    asyncio.run(guard(scope, receive, send))
    assert happened[0] == "http.response.start"


def test_a_database_of_airflows_that_is_away_is_503_to_be_tried_again(fernet_key: str) -> None:
    async def away(request: Request) -> Any:
        raise OperationalError("SELECT", {}, Exception("SECRET"))

    asking = Asking(away, ASKING.refuse_who_may_not_trigger)
    answer = TestClient(TriggerGuard(airflow, sealer=lambda: Sealer(fernet_key), asking=asking)).post(TRIGGER, json={})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "SECRET" not in answer.text
