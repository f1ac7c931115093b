"""Who gets in: nothing is open but the health, and a cookie alone cannot write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from leadcast.core.errors import SettingsError, StoreError
from leadcast.store.database import Store, open_engine
from tests.api.conftest import BODY, ROUTES, TOKEN

pytestmark = pytest.mark.store


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_needs_a_token(anonymous: TestClient, method: str, path: str) -> None:
    answer = anonymous.request(method, path.format(batch_id="x", lead_id="x"), json={})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "POST /auth/token" in answer.json()["detail"]


def test_health_alone_is_open(anonymous: TestClient) -> None:
    assert anonymous.get("/health").status_code == 200
    for path in ("/docs", "/redoc", "/openapi.json", "/ui"):
        assert anonymous.get(path).status_code in (401, 404)


def test_a_cookie_reads(anonymous: TestClient) -> None:
    anonymous.cookies.set("_token", TOKEN)
    assert anonymous.get("/batches").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-Requested-With": "XMLHttpRequest"}, {"Authorization": "Basic eDp5"}])
def test_a_cookie_alone_does_not_write(anonymous: TestClient, headers: dict[str, str]) -> None:
    anonymous.cookies.set("_token", TOKEN)
    answer = anonymous.post("/send-batch", json=BODY, headers=headers)
    assert answer.status_code == 403
    assert "X-Requested-With: leadcast" in answer.json()["detail"]


def test_a_cookie_with_our_header_writes(anonymous: TestClient) -> None:
    anonymous.cookies.set("_token", TOKEN)
    answer = anonymous.post("/send-batch", json=BODY, headers={"X-Requested-With": "leadcast"})
    assert answer.status_code == 202


def test_what_is_not_there_and_what_cannot_be_done_are_problems_too(client: TestClient) -> None:
    nowhere, wrong = client.get("/nowhere"), client.delete("/batches")
    assert (nowhere.status_code, wrong.status_code) == (404, 405)
    assert wrong.headers["Allow"] == "GET"
    for answer in (nowhere, wrong):
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


def unset_store() -> Store:
    raise SettingsError("[leadcast] store_url is not set.")


def broken_store() -> Store:
    raise RuntimeError("SECRET")


def test_a_store_that_does_not_answer_is_503_to_be_tried_again(serve: Callable[..., TestClient], store: Store) -> None:
    gone = Store(open_engine("postgresql+psycopg2://nobody:SECRET@127.0.0.1:1/gone"), store.sealer)
    client = serve(lambda: gone)
    answer = client.post("/send-batch", json=BODY, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "SECRET" not in answer.text
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize(
    ("opens", "code", "title"), [(unset_store, 503, "Not set up"), (broken_store, 500, "Internal error")]
)
def test_no_other_failure_of_ours_says_more_than_it_should(
    serve: Callable[..., TestClient], opens: Callable[[], Any], code: int, title: str
) -> None:
    answer = serve(opens).get("/batches", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.json()["title"]) == (code, title)
    assert "SECRET" not in answer.text
    assert "Traceback" not in answer.text
    assert StoreError.__name__ not in answer.text
