"""An answer whose body breaks off: a receiver of webhooks has answered; who is to name what he made has not, unless
what came of it is whole JSON. What is refused, and what asks us to wait, stays so only where it is plain."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from leadcast.core.errors import (
    DeliveryError,
    Gone,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Lead, Receipt
from leadcast.integrations import registry
from leadcast.integrations.base import Account, Call
from leadcast.integrations.webhook import integration as webhook
from tests.unit.test_egress import RawServer, answering

MakeCall = Callable[..., Call]
LEAD = Lead(id="1", phone="+79990000001")
TOKEN = "123456:s3cret5bW4hJ9ABCDEFGHIJ"
CREDENTIALS: Mapping[str, Mapping[str, Any]] = {
    "amocrm": {"subdomain": "example", "access_token": TOKEN},
    "bitrix24": {"webhook_url": f"https://example.bitrix24.ru/rest/1/{TOKEN[7:]}/"},
    "telegram": {"bot_token": TOKEN, "chat_id": "-100"},
}
SETTINGS = {"amocrm": {"find_contact": False}, "bitrix24": {"find_contact": False}, "telegram": {}}
TAKEN: Mapping[str, Any] = {
    "amocrm": [{"id": 5}],
    "bitrix24": {"result": {"item": {"id": 5}}},
    "telegram": {"ok": True, "result": {"message_id": 5}},
}
REFUSED: Mapping[str, Any] = {
    "amocrm": {"type": "https://httpstatus.es/400", "title": "Bad Request", "status": 400, "detail": "no"},
    "bitrix24": {"error": "CRM_FIELD_ERROR_REQUIRED", "error_description": "no"},
    "telegram": {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"},
}
RENEWED = {"access_token": "new", "refresh_token": "next"}
services = pytest.mark.parametrize("type_", list(TAKEN))


def cut(status: int, body: Any, *, is_json_whole: bool = False, headers: str = "") -> bytes:
    """An answer that breaks off one byte before its end, or where only that byte is missing which JSON needs not."""
    text = json.dumps(body).encode()
    came = text if is_json_whole else text[:-1]
    return f"HTTP/1.1 {status} So\r\n{headers}Content-Length: {len(text) + 9}\r\n\r\n".encode() + came


def delivered(type_: str, raw: bytes, make_call: MakeCall, **credentials: Any) -> Receipt:
    integration = registry.get(type_)
    with answering(raw) as server:
        account = Account(
            credentials=integration.credentials_model.model_validate({**CREDENTIALS[type_], **credentials}),
            base_url=f"http://127.0.0.1:{server.port}",
        )
        settings = integration.settings_model.model_validate(SETTINGS[type_])
        return integration.deliver(LEAD, settings=settings, account=account, call=make_call())


@services
def test_what_it_made_is_named_where_what_came_is_whole_json(type_: str, make_call: MakeCall) -> None:
    assert delivered(type_, cut(200, TAKEN[type_], is_json_whole=True), make_call).external_id == "5"


@services
@pytest.mark.parametrize("status", [200, 400, 403, 404, 502])
def test_without_its_words_it_is_in_doubt(type_: str, status: int, make_call: MakeCall) -> None:
    body = TAKEN[type_] if status == 200 else REFUSED[type_]
    with pytest.raises(UnknownOutcome) as failed:
        delivered(type_, cut(status, body), make_call)
    assert "Something other" not in failed.value.message


@services
def test_a_refusal_of_which_all_words_came_is_one(type_: str, make_call: MakeCall) -> None:
    with pytest.raises(RejectedError) as refused:
        delivered(type_, cut(400, REFUSED[type_], is_json_whole=True), make_call)
    assert type(refused.value) is RejectedError


@services
def test_a_429_needs_no_words(type_: str, make_call: MakeCall) -> None:
    with pytest.raises(RateLimited) as limited:
        delivered(type_, cut(429, REFUSED[type_], headers="Retry-After: 120\r\n"), make_call)
    assert limited.value.retry_after_s == 120


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("type_", ["amocrm", "bitrix24"])
def test_tokens_that_came_in_part_are_none_and_no_refusal(type_: str, status: int, make_call: MakeCall) -> None:
    if type_ == "amocrm":
        first = (
            b"HTTP/1.1 401 No\r\nContent-Type: application/json\r\n\r\n"
            + json.dumps({**REFUSED["amocrm"], "status": 401}).encode()
        )
    else:
        first = b'HTTP/1.1 401 No\r\n\r\n{"error": "expired_token", "error_description": "x"}'
    answers = [first, cut(status, RENEWED if status == 200 else REFUSED[type_])]
    own = {"access_token": "old", "refresh_token": "r", "client_id": "c", "client_secret": "s"}
    credentials = {"subdomain": "example"} if type_ == "amocrm" else {"domain": "example.bitrix24.ru"}
    integration = registry.get(type_)
    with RawServer(lambda connection: connection.sendall(answers.pop(0))) as server:
        account = Account(
            credentials=integration.credentials_model.model_validate(own | credentials),
            base_url=f"http://127.0.0.1:{server.port}",
        )
        settings = integration.settings_model.model_validate(SETTINGS[type_])
        with pytest.raises(TransientError, match="cannot be read"):
            integration.deliver(LEAD, settings=settings, account=account, call=make_call())
    assert answers == []


def told(behave: Callable[[socket.socket], object], make_call: MakeCall) -> Receipt:
    """A webhook to this receiver."""
    integration = registry.get("webhook")
    with RawServer(behave) as server:
        credentials = integration.credentials_model.model_validate({"url": f"http://127.0.0.1:{server.port}/x"})
        account = Account(credentials=credentials)
        return integration.deliver(LEAD, settings=integration.settings_model(), account=account, call=make_call())


@pytest.mark.parametrize(
    ("status", "error", "pause_s"),
    [(410, Gone, None), (429, RateLimited, 120), (503, RateLimited, 120), (404, RateLimited, 120)],
)
def test_a_receiver_of_webhooks_has_said_so(
    status: int, error: type[DeliveryError], pause_s: float | None, make_call: MakeCall
) -> None:
    raw = cut(status, "why", headers="Retry-After: 120\r\n")
    with pytest.raises(error) as failed:
        told(lambda connection: connection.sendall(raw), make_call)
    assert type(failed.value) is error
    assert getattr(failed.value, "retry_after_s", None) == pause_s


@pytest.mark.parametrize("status", [200, 202])
def test_a_receiver_of_webhooks_has_taken_it(status: int, make_call: MakeCall) -> None:
    receipt = told(lambda connection: connection.sendall(cut(status, "")), make_call)
    assert receipt.detail == {"status": status}


def test_a_receiver_that_says_yes_and_works_on_has_taken_it(
    make_call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "BODY_S", 0.2)

    def streams(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _ in range(50):
            connection.sendall(b": still here\n\n")
            time.sleep(0.1)

    began = time.monotonic()
    assert told(streams, make_call).detail == {"status": 200}
    assert time.monotonic() - began < 4
