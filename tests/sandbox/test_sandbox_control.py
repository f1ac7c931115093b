"""The control service: what was received, as JSON and as a page; faults and settings."""

from __future__ import annotations

import smtplib
from typing import Any

import pytest
import requests

from leadcast.sandbox import Sandbox
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import Journal, Received


def ask(sandbox: Sandbox, method: str, path: str, **more: Any) -> requests.Response:
    return requests.request(method, f"{sandbox.control_url}{path}", headers=sandbox.authorization, timeout=5, **more)


def test_received_calls_are_counted_listed_newest_last_and_forgotten(sandbox: Sandbox) -> None:
    for name in ("one", "two"):
        requests.post(f"{sandbox.webhook_url}/{name}", data=b"{}", timeout=5)

    listed = ask(sandbox, "GET", "/received/webhook").json()
    assert [entry["path"] for entry in listed] == ["/one", "/two"]
    assert listed[0]["id"] < listed[1]["id"]
    assert listed[0]["at"].endswith("Z")
    assert listed == sandbox.received("webhook")
    assert [entry["path"] for entry in ask(sandbox, "GET", "/received/webhook?limit=1").json()] == ["/two"]
    assert ask(sandbox, "GET", "/received").json()["webhook"] == 2
    assert ask(sandbox, "DELETE", "/received").status_code == 204
    assert ask(sandbox, "GET", "/received/webhook").json() == []
    assert ask(sandbox, "GET", "/received/nothing").status_code == 422


def test_faults_are_set_listed_and_cleared_over_http(sandbox: Sandbox) -> None:
    fault = {"service": "amocrm", "kind": "status", "status": 503, "times": 3}
    answer = ask(sandbox, "POST", "/faults", json=fault)

    assert answer.status_code == 201
    (listed,) = ask(sandbox, "GET", "/faults").json()
    assert listed == answer.json()
    assert ask(sandbox, "DELETE", f"/faults/{listed['id']}").status_code == 204
    assert ask(sandbox, "DELETE", f"/faults/{listed['id']}").status_code == 404
    ask(sandbox, "POST", "/faults", json=fault)
    assert ask(sandbox, "DELETE", "/faults").status_code == 204
    assert ask(sandbox, "GET", "/faults").json() == []


def test_settings_are_changed_over_http_and_secrets_never_shown(sandbox: Sandbox) -> None:
    changed = ask(sandbox, "PATCH", "/settings/smtp", json={"user": "u", "password": "p-secret"})
    wrong = ask(sandbox, "PATCH", "/settings/smtp", json={"password": {"p-secret": 1}})
    unknown = ask(sandbox, "PATCH", "/settings/amocrm", json={"nope": 1})

    assert changed.json()["user"] == "u"
    assert (wrong.status_code, unknown.status_code) == (422, 422)
    assert "p-secret" not in changed.text + wrong.text + ask(sandbox, "GET", "/settings").text


def test_a_reset_over_http_brings_everything_back_to_the_start(sandbox: Sandbox) -> None:
    ask(sandbox, "PATCH", "/settings/amocrm", json={"duplicate_control": True})
    ask(sandbox, "POST", "/faults", json={"service": "smtp", "kind": "greylist"})
    requests.post(f"{sandbox.webhook_url}/x", timeout=5)

    assert ask(sandbox, "POST", "/reset").status_code == 204
    assert ask(sandbox, "GET", "/settings").json()["amocrm"]["duplicate_control"] is False
    assert ask(sandbox, "GET", "/faults").json() == []
    assert ask(sandbox, "GET", "/received").json()["webhook"] == 0


def test_what_is_stored_can_be_read_over_http(sandbox: Sandbox) -> None:
    headers = {"Authorization": "Bearer t"}
    requests.post(f"{sandbox.amocrm_url}/api/v4/leads", json=[{"name": "Л"}], headers=headers, timeout=5)
    assert ask(sandbox, "GET", "/stored/amocrm").json()["leads"][0]["name"] == "Л"


def test_health_tells_the_addresses(sandbox: Sandbox) -> None:
    health = ask(sandbox, "GET", "/health").json()
    assert health["services"]["amocrm"] == sandbox.amocrm_url


def test_an_empty_page_says_what_to_do_next(sandbox: Sandbox) -> None:
    page = ask(sandbox, "GET", "/page").text
    assert page.count("Nothing has come in yet.") == 5
    assert f"{sandbox.bitrix24_url}/rest/1/any-code/" in page


def test_the_page_has_a_row_for_every_call_newest_first_with_its_fault(sandbox: Sandbox) -> None:
    sandbox.fault(service="webhook", kind="hang_up_after", match="second")
    requests.post(f"{sandbox.webhook_url}/first", timeout=5)
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{sandbox.webhook_url}/second", timeout=5)
    with smtplib.SMTP(sandbox.smtp_host, sandbox.smtp_port, timeout=5) as connection:
        connection.sendmail("a@x.ru", ["b@x.ru"], "Subject: Hello there\r\n\r\nx")

    page = ask(sandbox, "GET", "/page").text
    assert page.index("POST /second") < page.index("POST /first")
    assert "hung up" in page
    assert "hang_up_after" in page
    assert "<summary>Hello there</summary>" in page


def test_the_page_shows_what_came_escaped_and_with_utc_on_hover(sandbox: Sandbox) -> None:
    requests.post(f"{sandbox.webhook_url}/hook", data=b"<script>alert(1)</script>", timeout=5)
    page = ask(sandbox, "GET", "/page").text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert 'UTC"' in page


def test_the_journal_is_bounded_in_entries_and_bytes() -> None:
    def entry(size_bytes: int = 0) -> Received:
        return Received(service=ServiceName.WEBHOOK, method="POST", path="/", size_bytes=size_bytes)

    journal = Journal(max_entries=3, max_total_bytes=100)
    for _ in range(5):
        journal.add(entry())
    assert [kept.id for kept in journal.of(ServiceName.WEBHOOK)] == [3, 4, 5]
    for _ in range(2):
        journal.add(entry(size_bytes=60))
    assert [kept.id for kept in journal.of(ServiceName.WEBHOOK)] == [7]
    assert journal.counts()["webhook"] == 7


def test_a_body_that_is_too_large_is_refused(sandbox: Sandbox) -> None:
    answer = requests.post(f"{sandbox.webhook_url}/x", data=b"x" * (5 * 1024 * 1024 + 1), timeout=10)
    assert answer.status_code == 413
