"""Who may do what, and how the stack itself is watched."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from leadcast.client.api import ApiError
from tests.support.stack import Stack, until

pytestmark = pytest.mark.system
BODY = {"lead_id": 1, "lead": {}, "integrations": [{"type": "webhook"}]}
READS = ("/batches", "/leads/1", "/docs", "/openapi.json", "/ui")


def status(stack: Stack, method: str, path: str, **kwargs: object) -> int:
    url = f"{stack.ports.api_url}/api/integrations{path}"
    return requests.request(method, url, timeout=30, allow_redirects=False, **kwargs).status_code  # type: ignore[arg-type]


def bearer(stack: Stack, user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.api(user).token}"}


@pytest.mark.parametrize("path", READS)
def test_nothing_is_open_without_a_token(stack: Stack, path: str) -> None:
    assert status(stack, "GET", path) == 401


def test_only_health_is_open_and_it_tells_nothing_secret(stack: Stack) -> None:
    answer = requests.get(f"{stack.ports.api_url}/api/integrations/health", timeout=30)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert "postgresql" not in answer.text


def test_a_viewer_may_read_and_not_send(stack: Stack) -> None:
    assert status(stack, "GET", "/batches", headers=bearer(stack, "viewer")) == 200
    assert status(stack, "POST", "/send-batch", headers=bearer(stack, "viewer"), json=BODY) == 403
    assert status(stack, "PUT", "/leads/1", headers=bearer(stack, "viewer"), json={}) == 403


def test_a_wrong_token_is_refused(stack: Stack) -> None:
    assert status(stack, "POST", "/send-batch", headers={"Authorization": "Bearer nonsense"}, json=BODY) in (401, 403)


def test_a_cookie_alone_may_read_and_not_write(stack: Stack) -> None:
    cookies = {"_token": stack.api("user").token}
    assert status(stack, "GET", "/batches", cookies=cookies) == 200
    assert status(stack, "POST", "/send-batch", cookies=cookies, json=BODY) == 403


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"json": {"lead_id": "nobody-knows-it", "integrations": [{"type": "webhook"}]}}, 404),
        ({"json": BODY | {"integrations": [{"type": "fax"}]}}, 422),
        ({"data": b" " * (1024 * 1024 + 1), "headers": {"Content-Type": "application/json"}}, 413),
        ({"data": b'{"lead_id": 1, "lead_id": 2}', "headers": {"Content-Type": "application/json"}}, 422),
    ],
)
def test_bad_requests_are_told_apart_and_make_no_batch(stack: Stack, sent: dict[str, object], expected: int) -> None:
    before = stack.sql("leadcast", "SELECT count(*) AS n FROM batches")[0].n
    headers = bearer(stack, "user") | sent.get("headers", {})  # type: ignore[operator]
    answer = requests.post(
        f"{stack.ports.api_url}/api/integrations/send-batch",
        timeout=30,
        **(sent | {"headers": headers}),  # type: ignore[arg-type]
    )
    assert answer.status_code == expected
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert stack.sql("leadcast", "SELECT count(*) AS n FROM batches")[0].n == before


def test_the_same_request_with_one_idempotency_key_is_one_batch(stack: Stack) -> None:
    headers = bearer(stack, "user") | {"Idempotency-Key": "the-key"}
    url = f"{stack.ports.api_url}/api/integrations/send-batch"
    answers = [requests.post(url, json=BODY, headers=headers, timeout=30) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["batch_id"] == answers[1].json()["batch_id"]
    assert requests.post(url, json=BODY | {"priority": "high"}, headers=headers, timeout=30).status_code == 409


def test_an_unknown_lead_makes_no_run_through_airflows_trigger_either(stack: Stack) -> None:
    body = {"logical_date": None, "conf": {"lead_id": "nobody", "integrations": [{"type": "webhook"}]}}
    with pytest.raises(ApiError) as caught:
        stack.api().call("POST", "/api/v2/dags/send_lead/dagRuns", json=body)
    assert caught.value.status in (400, 404)
    assert "PUT /api/integrations/leads/nobody" in str(caught.value.problem)


def test_the_monitor_page_lists_batches_and_links_to_each(stack: Stack) -> None:
    batch_id = stack.api().call("POST", "/api/integrations/send-batch", json=BODY)["batch_id"]
    stack.settled(batch_id)
    cookies = {"_token": stack.api("viewer").token}
    url = f"{stack.ports.api_url}/api/integrations/ui"
    page = requests.get(url, cookies=cookies, timeout=30)
    assert page.status_code == 200
    assert batch_id in page.text
    assert re.search(r"default-src 'none'|default-src 'self'", page.headers["Content-Security-Policy"])
    assert requests.get(f"{url}/batches/{batch_id}", cookies=cookies, timeout=30).status_code == 200


def test_doctor_finds_everything_well_and_then_a_missing_pool(stack: Stack) -> None:
    assert stack.run("doctor").returncode == 0
    admin = stack.api("admin")
    requests.delete(
        f"{admin.url}/api/v2/pools/integration-email", headers=bearer(stack, "admin"), timeout=30
    ).raise_for_status()
    try:
        ill = stack.run("doctor", check=False)
        assert ill.returncode == 1
        assert "integration-email" in ill.stdout
        health = until(lambda: (found := _health(stack)) and found["missing_pools"] and found)
        assert health["missing_pools"] == ["integration-email"]
        assert health["status"] != "ok"
        shown = stack.run("status", check=False)
        assert shown.returncode == 1
        assert "integration-email" in shown.stdout
    finally:
        stack.run("init")
    assert stack.run("doctor").returncode == 0


def _health(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{stack.ports.api_url}/api/integrations/health", timeout=30).json()
    return found
