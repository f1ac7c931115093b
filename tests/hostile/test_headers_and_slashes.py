"""Nothing of ours is kept on the way, taken for something else, or sent on to where the caller's Host says."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.responses import JSONResponse

from leadcast.api.addresses import OWN_QUERIES
from leadcast.api.app import create_app
from leadcast.api.batches import ListQuery
from leadcast.api.links import MOUNT
from leadcast.api.trigger_guard import TriggerGuard
from leadcast.store.sealing import Sealer
from tests.api.conftest import ASKING, BODY, ROUTES, TOKEN, admit

pytestmark = pytest.mark.store

CALLS = [*ROUTES, ("GET", "/health")]
ASSETS = ("/ui/leadcast.css", "/ui/leadcast.js")
FORGED = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil.example",
    "Forwarded": "host=evil.example",
}


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_slash_too_many_is_not_found_and_never_redirected(client: TestClient, method: str, path: str) -> None:
    url = path.format(batch_id="x", lead_id="x") + "/"
    answer = client.request(method, url, json=BODY if method != "GET" else None, follow_redirects=False)
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")
    assert "Location" not in answer.headers


@pytest.mark.parametrize("path", ["/", "//send-batch", "/send-batch//"])
def test_nor_are_slashes_elsewhere(client: TestClient, path: str) -> None:
    answer = client.post(path, json=BODY, follow_redirects=False)
    assert (answer.status_code, "Location" in answer.headers) == (404, False)


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("token", [TOKEN, ""], ids=["known", "unknown"])
def test_every_answer_says_that_it_is_not_kept_and_what_it_is(
    anonymous: TestClient, method: str, path: str, token: str
) -> None:
    url = path.format(batch_id="x", lead_id="x")
    answer = anonymous.request(method, url, headers={"Authorization": f"Bearer {token}"})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    kept = "private, max-age=300" if token and path in ASSETS else "no-store"
    assert answer.headers["Cache-Control"] == kept


def test_the_guards_answers_are_not_kept_either(fernet_key: str) -> None:
    guard = TriggerGuard(JSONResponse({}), sealer=lambda: Sealer(fernet_key), asking=ASKING)
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
        answer = TestClient(guard).post("/api/v2/dags/send_lead/dagRuns", content=b"{", headers=headers)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_link_is_built_from_what_the_caller_says_of_our_address(client: TestClient) -> None:
    sent = client.post("/send-batch", json=BODY, headers=FORGED)
    assert sent.status_code == 202
    assert sent.headers["Location"].startswith(f"{MOUNT}/batches/")
    client.post("/send-batch", json=BODY | {"lead_id": "2"})
    for path in (
        "/batches?limit=1",
        "/ui",
        "/docs",
        "/openapi.json",
        "/leads/123",
        f"{sent.headers['Location'][len(MOUNT) :]}",
    ):
        answer = client.get(path, headers=FORGED | {"Accept": "*/*"})
        assert answer.status_code == 200
        assert "evil.example" not in answer.text
        assert "testserver" not in answer.text


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_what_no_call_takes_behind_its_question_mark_is_refused(client: TestClient, method: str, path: str) -> None:
    url = path.format(batch_id="x", lead_id="x")
    answer = client.request(method, url, params={"credentials": TOKEN}, json=BODY if method != "GET" else None)
    assert answer.status_code == 422
    assert TOKEN not in answer.text
    assert client.request(method, url, params={"credentials": ""}, headers={"Authorization": ""}).status_code == 401


def test_our_list_of_what_is_taken_there_is_the_routes() -> None:
    assert OWN_QUERIES["/batches"] == set(ListQuery.model_fields)
    [monitor] = [route for route in create_app(admit=admit).routes if getattr(route, "path", "") == "/ui"]
    assert isinstance(monitor, APIRoute)
    assert OWN_QUERIES["/ui"] == {param.name for param in monitor.dependant.query_params}
