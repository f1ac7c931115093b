"""Faults that every HTTP service of the sandbox has, one suite of cases for all."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from pydantic import ValidationError

from leadcast.sandbox import Sandbox


@dataclass(frozen=True)
class Service:
    name: str
    url: Callable[[Sandbox], str]
    body: Any
    stored_as: str
    limited_status: int

    def send(self, sandbox: Sandbox, timeout_s: float = 5) -> requests.Response:
        headers = {"Authorization": "Bearer t", "webhook-id": "msg_1"}
        return requests.post(self.url(sandbox), json=self.body, headers=headers, timeout=timeout_s)

    def count(self, sandbox: Sandbox) -> int:
        return len(sandbox.stored(self.name)[self.stored_as])


SERVICES = [
    Service("amocrm", lambda s: f"{s.amocrm_url}/api/v4/leads/complex", [{"name": "Анна"}], "leads", 429),
    Service("bitrix24", lambda s: f"{s.bitrix24_url}/rest/1/c/crm.item.add", {"entityTypeId": 1}, "leads", 503),
    Service(
        "telegram",
        lambda s: f"{s.telegram_url}/bot1:abcdef/sendMessage",
        {"chat_id": 1, "text": "Анна"},
        "messages",
        429,
    ),
    Service("webhook", lambda s: f"{s.webhook_url}/hook", {"data": "Анна"}, "events", 429),
]


@pytest.fixture(params=SERVICES, ids=lambda service: service.name)
def service(request: pytest.FixtureRequest) -> Service:
    assert isinstance(request.param, Service)
    return request.param


def test_without_faults_a_call_is_executed_and_noted(sandbox: Sandbox, service: Service) -> None:
    assert service.send(sandbox).status_code == 200
    (entry,) = sandbox.received(service.name)
    assert (entry["status"], entry["executed"], entry["fault"]) == (200, True, None)
    assert service.count(sandbox) == 1


def test_a_status_is_answered_as_often_as_asked_and_nothing_is_executed(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="status", status=503, times=2)
    assert [service.send(sandbox).status_code for _ in range(3)] == [503, 503, 200]
    assert [entry["executed"] for entry in sandbox.received(service.name)] == [False, False, True]
    assert service.count(sandbox) == 1


def test_hanging_up_after_executes_the_call_and_loses_the_answer(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="hang_up_after")
    with pytest.raises(requests.ConnectionError):
        service.send(sandbox)
    (entry,) = sandbox.received(service.name)
    assert (entry["status"], entry["executed"], entry["fault"]) == (None, True, "hang_up_after")
    assert service.count(sandbox) == 1
    assert service.send(sandbox).status_code == 200


@pytest.mark.parametrize("kind", ["status", "answer", "non_json"])
def test_a_gateway_may_answer_for_a_call_that_was_executed(sandbox: Sandbox, service: Service, kind: str) -> None:
    sandbox.fault(service=service.name, kind=kind, status=404, executes=True)
    assert service.send(sandbox).status_code == 404
    (entry,) = sandbox.received(service.name)
    assert (entry["status"], entry["executed"], entry["fault"]) == (404, True, kind)
    assert service.count(sandbox) == 1


def test_an_answer_may_be_packed_unasked(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="packed")
    answer = service.send(sandbox)
    assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "gzip")
    assert service.count(sandbox) == 1


def test_an_answer_may_come_after_an_interim_one(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="interim")
    place = urlsplit(service.url(sandbox))
    with socket.create_connection((place.hostname, place.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        said = connection.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert said.count(b"HTTP/1.1 ") == 2


def test_an_answer_may_break_off_within_its_body(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="cut")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        service.send(sandbox)
    (entry,) = sandbox.received(service.name)
    assert (entry["status"], entry["executed"], entry["fault"]) == (200, True, "cut")
    assert service.count(sandbox) == 1


def test_hanging_up_before_executes_nothing(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="hang_up_before")
    with pytest.raises(requests.ConnectionError):
        service.send(sandbox)
    (entry,) = sandbox.received(service.name)
    assert (entry["status"], entry["executed"]) == (None, False)
    assert service.count(sandbox) == 0


def test_a_rate_limit_has_the_services_own_form(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="rate_limit", retry_after=14)
    answer = service.send(sandbox)
    assert answer.status_code == service.limited_status
    match service.name:
        case "amocrm":
            assert answer.json()["retry_after"] == 14
        case "bitrix24":
            assert answer.json()["error"] == "QUERY_LIMIT_EXCEEDED"
        case "telegram":
            assert answer.json()["parameters"] == {"retry_after": 14}
            assert answer.headers["Retry-After"] == "14"
        case "webhook":
            assert answer.headers["Retry-After"] == "14"


def test_a_slow_service_executes_even_when_the_client_has_gone(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="slow", delay_s=0.15, times=None)
    with pytest.raises(requests.ReadTimeout):
        service.send(sandbox, timeout_s=0.05)
    assert service.send(sandbox).status_code == 200
    assert service.count(sandbox) >= 1
    assert [entry["executed"] for entry in sandbox.received(service.name)] == [True, True]


def test_an_answer_may_be_html_instead_of_json(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="non_json", status=429)
    answer = service.send(sandbox)
    assert answer.status_code == 429
    assert answer.headers["content-type"].startswith("text/html")


def test_an_answer_is_given_exactly_as_told_and_nothing_is_executed(sandbox: Sandbox, service: Service) -> None:
    body = {"error": "told", "list": [1, None]}
    sandbox.fault(service=service.name, kind="answer", status=418, body=body, headers={"Retry-After": "7"})
    sandbox.fault(service=service.name, kind="answer", status=200, text="not json")
    sandbox.fault(service=service.name, kind="answer", status=200, body=None)
    as_told, text, null = (service.send(sandbox) for _ in range(3))
    assert (as_told.status_code, as_told.json(), as_told.headers["Retry-After"]) == (418, body, "7")
    assert (text.status_code, text.text, null.text) == (200, "not json", "null")
    assert [entry["executed"] for entry in sandbox.received(service.name)] == [False, False, False]
    assert service.count(sandbox) == 0


def test_a_service_that_is_down_refuses_connections_until_it_is_up_again(sandbox: Sandbox, service: Service) -> None:
    assert service.send(sandbox).status_code == 200
    sandbox.fault(service=service.name, kind="down")
    for _ in range(2):
        with pytest.raises(requests.ConnectionError, match="refused"):
            service.send(sandbox)
    sandbox.clear_faults()
    assert service.send(sandbox).status_code == 200


def test_a_service_may_be_down_for_a_number_of_calls(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="down", times=1)
    with pytest.raises(requests.ConnectionError):
        service.send(sandbox)
    assert service.send(sandbox).status_code == 200


def test_a_fault_may_concern_only_calls_with_a_text_in_path_or_body(sandbox: Sandbox, service: Service) -> None:
    sandbox.fault(service=service.name, kind="status", status=500, match="no such text")
    assert service.send(sandbox).status_code == 200
    sandbox.fault(service=service.name, kind="status", status=500, match=service.url(sandbox).rsplit("/", 1)[1])
    assert service.send(sandbox).status_code == 500


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"service": "amocrm", "kind": "migrate"}, "amocrm has no fault 'migrate'"),
        ({"service": "amocrm", "kind": "status"}, "needs status"),
        ({"service": "telegram", "kind": "migrate", "chat_id": 1}, "needs migrate_to_chat_id"),
        ({"service": "webhook", "kind": "slow"}, "needs delay_s"),
        ({"service": "smtp", "kind": "reject", "code": 250}, "from 400 to 599"),
        ({"service": "smtp", "kind": "reject", "code": 550, "text": "a\r\nb"}, "pattern"),
        ({"service": "smtp", "kind": "answer", "status": 450}, "smtp has no fault 'answer'"),
        ({"service": "webhook", "kind": "answer"}, "needs status"),
        ({"service": "webhook", "kind": "answer", "status": 200, "headers": {"X-A": "a\r\nX-B: b"}}, "pattern"),
        ({"service": "webhook", "kind": "answer", "status": 200, "headers": {"X: Y": "a"}}, "pattern"),
        ({"service": "amocrm", "kind": "slow", "delay_s": 1, "times": 0}, "greater than or equal to 1"),
        ({"service": "amocrm", "kind": "down", "tines": 1}, "Extra inputs"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_the_reason(
    sandbox: Sandbox, fault: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        sandbox.fault(**fault)
    over_http = requests.post(f"{sandbox.control_url}/faults", headers=sandbox.authorization, json=fault, timeout=5)
    assert over_http.status_code == 422
