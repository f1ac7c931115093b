"""A request of ours that is sent to another call of Airflow's: refused before Airflow, which would log it, sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from leadcast.api.caller import COOKIE
from leadcast.api.foreign_bodies import ForeignBodies
from leadcast.api.trigger_guard import TriggerGuard
from leadcast.core.budget import TOO_MUCH
from leadcast.core.json_body import MAX_BODY_BYTES
from leadcast.store.sealing import Sealer
from tests.api.conftest import ASKING, BODY, BOT_TOKEN, TOKEN
from tests.hostile.dear_bodies import FOREIGN

TRIGGER = "/api/v2/dags/send_lead/dagRuns"
TEXT = json.dumps(BODY)
SEALED = BODY | {"credentials": {"sealed": "gAAAAAB"}}
del SEALED["lead"]


async def airflow(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Airflow: answers with what it got, and notes that it did."""
    body = await Request(scope, receive).body()
    await JSONResponse({"got": body.decode(errors="replace"), "query": scope["query_string"].decode()})(
        scope, receive, send
    )


@pytest.fixture
def client(fernet_key: str) -> TestClient:
    guard = TriggerGuard(airflow, sealer=lambda: Sealer(fernet_key), asking=ASKING)
    doors = ForeignBodies(guard, asking=ASKING)
    return TestClient(doors, headers={"Authorization": f"Bearer {TOKEN}"}, root_path="/airflow")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v2/dags/send_laed/dagRuns", {"logical_date": None, "conf": BODY}),
        ("POST", "/airflow/api/v2/dags/another/dagRuns", {"logical_date": None, "conf": BODY}),
        ("POST", "/api/v2/dags/~/dagRuns/list", {"conf": BODY}),
        ("PATCH", f"{TRIGGER}/some-run", {"state": "success", "conf": BODY}),
        ("PATCH", f"{TRIGGER}/some-run", {"note": TEXT}),
        ("PATCH", f"{TRIGGER}/some-run", BODY),
        ("POST", f"{TRIGGER}/some-run/clear", {"dry_run": False, "conf": BODY}),
        ("PATCH", TRIGGER, {"actions": [{"action": "update", "entities": [{"dag_run_id": "x", "note": TEXT}]}]}),
        ("PUT", TRIGGER, {"note": TEXT}),
        ("POST", TRIGGER, {"logical_date": None, "note": TEXT}),
        ("POST", TRIGGER, {"logical_date": None, "note": f"see {TEXT}"}),
        ("POST", TRIGGER, {"logical_date": None, "conf": {}, "dag_run_id": TEXT}),
        ("POST", TRIGGER, {"logical_date": None, "dag_run_id": {"x": BODY}}),
        ("POST", TRIGGER, {"logical_date": None, "partition_key": TEXT}),
        ("POST", TRIGGER, {"logical_date": TEXT}),
        ("PATCH", "/api/v2/pools/pp/api/integrations", {"description": TEXT}),
        ("PATCH", f"/api/v2/pools/pp{TRIGGER}", {"description": TEXT}),
        ("POST", f"/api/v2/connections/x{TRIGGER}", {"description": TEXT}),
        ("PATCH", "/api/v2/pools/variables", {"description": "x", "value": TEXT}),
        ("POST", f"{TRIGGER}/x/taskInstances/variables/xcomEntries", {"key": "x", "value": BODY}),
        ("PATCH", "/api/v2/variables/x", {"key": "x", "description": {"value": TEXT}}),
        ("PATCH", "/api/v2/dags/~/dagRuns", {"actions": [{"action": "update", "entities": [{"conf": BODY}]}]}),
        ("POST", "/api/v2/assets/1/materialize", {"conf": BODY}),
        ("POST", "/api/v2/assets/events", {"asset_id": 1, "extra": BODY}),
        ("POST", "/api/v2/backfills", {"dag_id": "retry_leads", "dag_run_conf": BODY}),
        ("POST", "/api/v2/backfills/dry_run", {"dag_id": "retry_leads", "dag_run_conf": TEXT}),
        ("POST", f"{TRIGGER}/some-run/taskInstances/plan/xcomEntries", {"key": "x", "value": BODY}),
        ("POST", "/api/v2/dags/send_lead/clearTaskInstances", {"dry_run": False, "note": json.dumps([TEXT])}),
        ("POST", "/api/v2/pools", {"name": "p", "slots": 1, "description": TEXT}),
        ("POST", "/api/v2/variables", {"key": "x", "value": "y", "description": TEXT}),
        ("POST", "/api/v2/connections", {"connection_id": "x", "description": TEXT}),
        ("POST", "/ui/dags/send_lead", {"conf": BODY}),
        ("DELETE", "/api/v2/dags/another", {"conf": BODY}),
        ("POST", "/api/v2/dags/send_laed/dagRuns", {"conf": BODY | {"Integrations": 1}}),
        ("POST", "/api/v2/dags/send_laed/dagRuns", {"conf": {" Integrations": BODY["integrations"], "LEAD": {"a": 1}}}),
        ("POST", "/api/v2/dags/send_laed/dagRuns", {"conf": BODY | {"credentials": None, "lead": None, "creds": "x"}}),
    ],
)
def test_it_is_refused_with_the_way_to_send_it(client: TestClient, method: str, path: str, body: Any) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == 422, answer.text
    said = ("/api/integrations/send-batch", "retry_leads", "belongs into conf", "at most")
    assert any(what in answer.text for what in said)
    assert BOT_TOKEN not in answer.text


def test_its_refusal_is_kept_by_nobody(client: TestClient) -> None:
    for answer in (
        client.post("/api/v2/dags/send_laed/dagRuns", json={"conf": BODY}),
        client.post("/api/v2/pools", params={"conf": TEXT}, json={}),
    ):
        assert answer.status_code == 422
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_is_too_dear_to_look_through_is_refused_in_plain_words(client: TestClient) -> None:
    answer = client.post("/api/v2/pools", content=FOREIGN["lists"]())
    assert (answer.status_code, answer.json()["detail"]) == (422, TOO_MUCH)


@pytest.mark.parametrize("body", [[1] * 90_000, [], "x" * 900_000, 1])
def test_a_body_that_is_no_object_is_refused_and_not_repeated(client: TestClient, body: Any) -> None:
    answer = client.post(TRIGGER, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"loc": ["body"], "msg": "must be an object"}]
    assert len(answer.content) < 1000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "utf-16-le"])
def test_it_is_found_as_airflow_reads_it(client: TestClient, encoding: str) -> None:
    for text in (TEXT, TEXT.replace("integrations", "\\u0069ntegrations")):
        body = json.dumps({"conf": json.loads(text)}) if text == TEXT else f'{{"conf": {text}}}'
        answer = client.post(
            "/api/v2/dags/send_laed/dagRuns",
            content=body.encode(encoding),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 422


def test_it_is_found_in_parts_without_a_length(client: TestClient) -> None:
    text = json.dumps({"conf": BODY}).encode()
    parts = (text[at : at + 7] for at in range(0, len(text), 7))
    assert client.post("/api/v2/dags/send_laed/dagRuns", content=parts).status_code == 422


@pytest.mark.parametrize(
    "name", ["config", "Conf", "dag_run_conf", "conf ", "credentials", "lead", "callback_url", "x", "integrations"]
)
def test_beside_conf_the_trigger_takes_airflows_own_fields_only(client: TestClient, name: str) -> None:
    answer = client.post(TRIGGER, json={"logical_date": None, name: BODY})
    assert answer.status_code == 422
    assert BOT_TOKEN not in answer.text


def test_the_trigger_takes_what_the_installed_airflow_takes(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next version's form may have a field more."""
    from airflow.api_fastapi.core_api.datamodels import dag_run
    from pydantic import Field

    from leadcast.api import beside_conf

    class NextBody(dag_run.TriggerDAGRunPostBody):
        run_priority: int | None = Field(None, alias="runPriority")

    monkeypatch.setattr(dag_run, "TriggerDAGRunPostBody", NextBody)
    beside_conf._airflows_own.cache_clear()
    monkeypatch.setattr(beside_conf, "_airflows_own", beside_conf._airflows_own.__wrapped__)
    for name in ("run_priority", "runPriority", "note", "partition_key"):
        assert client.post(TRIGGER, json={"logical_date": None, name: 1}).status_code == 200
    assert client.post(TRIGGER, json={"logical_date": None, "run_prio": 1}).status_code == 422


@pytest.mark.parametrize("name", ["x", "manual__2026-01-01T00:00:00+00:00", "a.b~c:d-e_f", "", None, "x" * 250])
def test_a_run_may_have_an_id_as_airflow_takes_it(client: TestClient, name: str | None) -> None:
    answer = client.post(TRIGGER, json={"logical_date": None, "dag_run_id": name, "note": "as agreed by phone"})
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["x" * 251, "a b", "a\n", "Анна", f"x {BOT_TOKEN}", "a/b", 7, ["x"], {}])
def test_no_other_id_gets_as_far_as_airflows_log(client: TestClient, name: Any) -> None:
    answer = client.post(TRIGGER, json={"logical_date": None, "dag_run_id": name})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "dag_run_id"]
    assert BOT_TOKEN not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "Cross-Site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://airflow.example"}, 200),
        ({}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {TOKEN}"}, 200),
    ],
)
@pytest.mark.parametrize("path", [TRIGGER, "/api/v2/backfills"])
def test_another_sites_page_triggers_nothing_with_a_cookie(
    client: TestClient, headers: dict[str, str], status: int, path: str
) -> None:
    browser = TestClient(client.app, cookies={COOKIE: TOKEN})
    body: dict[str, Any] = {"dag_id": "another"} if path != TRIGGER else {"conf": {}}
    answer = browser.post(path, json=body, headers=headers)
    assert answer.status_code == status


def seen_from_outside(client: TestClient) -> tuple[TestClient, list[Scope]]:
    scopes: list[Scope] = []

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await client.app(scope, receive, send)

    return TestClient(outer, headers=client.headers), scopes


MANY = "a=1&" * 1000 + f"credentials={BOT_TOKEN}"
IN_PIECES = f'{{"lead_id":1,"integrations":[{{"type":"telegram"}}],"credentials":"{BOT_TOKEN}"}}'


@pytest.mark.parametrize("query", [MANY, IN_PIECES, f"%20credentials={BOT_TOKEN}", f"x={IN_PIECES}"])
@pytest.mark.parametrize("token", [TOKEN, ""])
def test_an_address_that_nobody_can_read_to_its_end_is_not_logged(client: TestClient, query: str, token: str) -> None:
    client, scopes = seen_from_outside(client)
    answer = client.post(f"/api/v2/x?{query}", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == (422 if token else 401)
    assert scopes[0]["query_string"] == b""


@pytest.mark.parametrize("path", ["/api/v2/dags", "/ui/dags", "/dags/send_lead/trigger", "/api/integrations/batches"])
@pytest.mark.parametrize("query", ["conf=%7B%7D", f"credentials={BOT_TOKEN}", "lead%5Bname%5D=x", MANY])
def test_what_is_read_is_answered_and_the_address_not_logged(client: TestClient, path: str, query: str) -> None:
    client, scopes = seen_from_outside(client)
    answer = client.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["query"]) == (200, query)
    assert scopes[0]["query_string"] == b""


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/api/integrations/send-batch", "/api/integrations/health"])
def test_of_calls_of_ours_only_what_one_of_them_takes_is_logged(client: TestClient, method: str, path: str) -> None:
    client, scopes = seen_from_outside(client)
    for query, logged in (("phone=%2B79990000001", b""), ("status=failed&limit=2", b"status=failed&limit=2")):
        assert client.request(method, f"{path}?{query}").json()["query"] == query
        assert scopes.pop()["query_string"] == logged


@pytest.mark.parametrize("path", [TRIGGER, "/api/v2/dags/send_laed/dagRuns", "/api/v2/variables/x"])
@pytest.mark.parametrize(
    "query",
    [
        {"conf": TEXT},
        {"x": json.dumps({"conf": BODY})},
        {"credentials[telegram][bot_token]": BOT_TOKEN},
        {"lead.name": "Анна"},
        {"Callback_URL": "https://receiver.example/x"},
    ],
)
def test_nothing_of_a_request_stands_in_an_address(client: TestClient, path: str, query: dict[str, str]) -> None:
    client, scopes = seen_from_outside(client)
    answer = client.post(path, params=query, json={"logical_date": None})
    assert answer.status_code == 422
    assert BOT_TOKEN not in answer.text
    assert scopes[0]["query_string"] == b"", "which Airflow's access log has of it"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v2/dags/another/dagRuns", {"logical_date": None, "conf": {"integrations": ["billing"]}}),
        ("POST", "/api/v2/dags/another/dagRuns", {"logical_date": None, "conf": {"lead": {"name": "x"}}}),
        ("POST", "/api/v2/dags/another/dagRuns", {"conf": {"integrations": [{"type": "x"}], "lead_id": 1}}),
        ("POST", "/api/v2/dags/another/dagRuns", {"conf": {"integrations": [{"type": "crm"}], "since": "2026"}}),
        ("POST", "/api/v2/dags/another/dagRuns", {"conf": {"integrations": [{"type": "email"}], "since": "2026"}}),
        ("POST", "/api/v2/dags/another/dagRuns", {"conf": {"integrations": [{"type": "s3"}], "credentials": {"a": 1}}}),
        ("POST", "/api/v2/dags/another/dagRuns", {"conf": SEALED}),
        ("POST", "/api/v2/variables", {"key": "request", "value": TEXT}),
        ("PATCH", "/api/v2/variables/request", {"key": "request", "value": BODY}),
        ("PATCH", "/api/v2/variables", {"actions": [{"action": "create", "entities": [{"key": "x", "value": TEXT}]}]}),
        ("POST", "/api/v2/connections", {"connection_id": "x", "extra": TEXT}),
        ("PATCH", "/api/v2/connections/x/api/v2/variables", {"connection_id": "x", "extra": TEXT}),
        ("POST", "/api/integrations/send-batch", BODY),
        ("POST", "/api/integrations/ui/batches/x/retry", BODY),
        ("PUT", "/execution/xcoms/a/b/c/return_value", BODY),
        ("GET", "/api/v2/dags/another/dagRuns", BODY),
        ("POST", "/elsewhere", BODY),
    ],
)
def test_what_is_none_of_ours_passes_as_it_came(client: TestClient, method: str, path: str, body: Any) -> None:
    for root in ("", "/airflow"):
        answer = client.request(method, root + path, json=body, params={"limit": "1"})
        assert answer.status_code == 200, answer.text
        assert json.loads(answer.json()["got"]) == body
        assert answer.json()["query"] == "limit=1"


@pytest.mark.parametrize("content", [b"", b"integrations", TEXT.encode()[:-1], b"\xff" * 100])
def test_what_is_no_json_is_airflows_to_refuse(client: TestClient, content: bytes) -> None:
    answer = client.post("/api/v2/dags/send_laed/dagRuns", content=content)
    assert answer.json()["got"] == content.decode(errors="replace")


@pytest.mark.parametrize("in_parts", [True, False])
def test_what_is_larger_than_any_request_passes_as_it_comes(client: TestClient, in_parts: bool) -> None:
    text = json.dumps({"conf": BODY, "padding": "x" * MAX_BODY_BYTES}).encode()
    parts = (text[at : at + 50_000] for at in range(0, len(text), 50_000))
    answer = client.post("/api/v2/dags/send_laed/dagRuns", content=parts if in_parts else text)
    assert answer.json()["got"] == text.decode()


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Bearer another"}])
def test_a_stranger_is_airflows_to_refuse_and_costs_nothing(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/v2/dags/send_laed/dagRuns", json={"conf": BODY}, headers=headers)
    assert json.loads(answer.json()["got"]) == {"conf": BODY}


@pytest.mark.anyio
async def test_who_leaves_before_the_end_is_told_of_to_airflow() -> None:
    seen: list[Message] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def nobody(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/api/v2/pools", "query_string": b"", "headers": []}
    await ForeignBodies(noting, asking=ASKING)(scope, gone, nobody)
    assert seen == [{"type": "http.disconnect"}]
