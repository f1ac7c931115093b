"""Retry and cancel at the door: what is answered, to whom, and what a second call of the same does."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from leadcast.core.clock import utc_now
from leadcast.core.ending import Ending
from leadcast.core.errors import Blocked, RejectedError
from leadcast.core.model import AttemptOutcome, DeliveryState
from leadcast.core.settings import Settings
from leadcast.flow.settle import Settler
from leadcast.store.batches import ledger
from leadcast.store.batches.bell import reset as reset_bell
from leadcast.store.database import Store
from leadcast.store.schema import batches
from tests.api.conftest import TOKEN, Bell
from tests.api.test_reading import attempt, deliver_one_and_fail_one, send
from tests.support.leases import living
from tests.support.planned import begin_batch

pytestmark = pytest.mark.store

ACTIONS = ("retry", "cancel")
WAVE = "wave__1"


@pytest.fixture
def partial(client: TestClient, store: Store, bell: Bell) -> str:
    """A batch that has ended with one delivered and one failed."""
    batch_id = send(client)
    deliver_one_and_fail_one(store, batch_id)
    with store.begin() as connection:
        reset_bell(connection, run_id=bell.rung[-1][0])
    Settler(store=store, settings=Settings()).wave(WAVE, Ending())
    return batch_id


def states(batch: dict[str, Any]) -> list[str]:
    return [delivery["state"] for delivery in batch["deliveries"]]


def problem(client: TestClient, path: str) -> tuple[int, str]:
    answer = client.post(path)
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["title"]


def test_a_retry_puts_the_failed_back_and_rings_in_the_callers_name(
    client: TestClient, bell: Bell, partial: str
) -> None:
    bell.rung.clear()
    answer = client.post(f"/batches/{partial}/retry")
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert (batch["status"], states(batch)) == ("pending", ["pending", "delivered"])
    assert [attempt["outcome"] for attempt in batch["deliveries"][0]["history"]] == ["rejected"]
    assert [token for _, token in bell.rung] == [TOKEN]


def test_what_has_failed_is_retried_while_the_rest_of_its_batch_goes_on(client: TestClient, store: Store) -> None:
    batch_id = send(client)
    with store.begin() as connection:
        begin_batch(connection, batch_id, run_id=WAVE)
    error = RejectedError("No such chat.", code="400")
    failed = ledger.Ended(state=DeliveryState.FAILED, outcome=AttemptOutcome.REJECTED, error=error)
    attempt(store, f"{batch_id}-0", failed)
    assert buttons(client, batch_id) == ["retry", "cancel"]
    answer = client.post(f"/batches/{batch_id}/retry")
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    assert (batch["status"], states(batch)) == ("processing", ["pending", "pending"])
    assert buttons(client, batch_id) == ["cancel"]


def test_a_second_retry_is_told_that_it_is_on_its_way(client: TestClient, bell: Bell, partial: str) -> None:
    client.post(f"/batches/{partial}/retry")
    bell.rung.clear()
    assert problem(client, f"/batches/{partial}/retry") == (409, "Batch busy")
    assert bell.rung == []


def test_a_cancel_ends_what_waits(client: TestClient) -> None:
    answer = client.post(f"/batches/{send(client)}/cancel")
    assert answer.status_code == 200, answer.text
    batch = answer.json()
    assert (batch["status"], states(batch), batch["progress"]) == ("cancelled", ["cancelled", "cancelled"], 100)
    assert batch["cancelled_at"]


def test_a_second_cancel_is_as_good_as_the_first(client: TestClient, store: Store, partial: str) -> None:
    batch_id = send(client)
    first, second = (client.post(f"/batches/{batch_id}/cancel") for _ in range(2))
    assert (second.status_code, second.json()) == (200, first.json())

    client.post(f"/batches/{partial}/retry")
    ended_as_partial = [client.post(f"/batches/{partial}/cancel") for _ in range(2)]
    assert [answer.json()["status"] for answer in ended_as_partial] == ["partial", "partial"]


def test_what_is_being_sent_holds_a_cancelled_batch_open(client: TestClient, store: Store) -> None:
    batch_id = send(client)
    with store.begin() as connection:
        begin_batch(connection, batch_id, run_id=WAVE)
        assert ledger.begin(connection, f"{batch_id}-0", lease=living(store), now=utc_now()) is not None
    batch = client.post(f"/batches/{batch_id}/cancel").json()
    assert (batch["status"], states(batch)) == ("processing", ["sending", "cancelled"])
    assert batch["cancelled_at"]


@pytest.mark.parametrize("body", [b"", b"{}", b" {} \n"])
@pytest.mark.parametrize("action", ACTIONS)
def test_no_body_is_needed_and_an_empty_one_is_harmless(client: TestClient, action: str, body: bytes) -> None:
    answer = client.post(f"/batches/nope/{action}", content=body)
    assert (answer.status_code, answer.json()["title"]) == (404, "Batch not found")


@pytest.mark.parametrize("action", ACTIONS)
def test_what_asks_for_only_a_part_of_the_batch_is_not_taken_for_the_whole(
    client: TestClient, partial: str, action: str
) -> None:
    answer = client.post(f"/batches/{partial}/{action}", json={"deliveries": [f"{partial}-0"]})
    assert answer.status_code == 422
    assert "takes no body" in answer.json()["detail"]
    assert client.get(f"/batches/{partial}").json()["deliveries"][0]["state"] == "failed"
    assert client.post(f"/batches/{partial}/{action}", content=b" " * (1 << 20) + b" ").status_code == 413


@pytest.mark.parametrize("batch_id", ["nope", "0" * 65, "%00", "%F0%9F%98%80"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_batch_that_is_not_there_is_404(client: TestClient, action: str, batch_id: str) -> None:
    assert problem(client, f"/batches/{batch_id}/{action}") == (404, "Batch not found")


def test_what_cannot_be_done_is_409_and_says_why(client: TestClient, store: Store, partial: str) -> None:
    assert problem(client, f"/batches/{send(client)}/retry") == (409, "Batch busy")
    assert problem(client, f"/batches/{partial}/cancel") == (409, "Nothing to cancel")
    cancelled = send(client)
    client.post(f"/batches/{cancelled}/cancel")
    assert problem(client, f"/batches/{cancelled}/retry") == (409, "Nothing to retry")
    with store.begin() as connection:
        connection.execute(update(batches).where(batches.c.id == partial).values(erased_at=utc_now()))
    assert problem(client, f"/batches/{partial}/retry") == (409, "Batch erased")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_cookie_alone_does_neither(anonymous: TestClient, action: str) -> None:
    anonymous.cookies.set("_token", TOKEN)
    assert anonymous.post(f"/batches/nope/{action}").status_code == 403
    assert anonymous.post(f"/batches/nope/{action}", headers={"X-Requested-With": "leadcast"}).status_code == 404


@pytest.mark.parametrize("action", ACTIONS)
def test_both_are_described(client: TestClient, action: str) -> None:
    described = client.get("/openapi.json").json()["paths"][f"/batches/{{batch_id}}/{action}"]["post"]
    success = "202" if action == "retry" else "200"
    [schema] = [content["schema"] for content in described["responses"][success]["content"].values()]
    assert schema["$ref"].endswith("/BatchDetail")
    assert "409" in described["description"]
    assert "requestBody" not in described


def buttons(client: TestClient, batch_id: str) -> list[str]:
    html = client.get(f"/ui/batches/{batch_id}").text
    return [action for action in ACTIONS if f'data-post="/api/integrations/batches/{batch_id}/{action}"' in html]


def test_a_batchs_page_offers_what_can_be_done(client: TestClient, partial: str) -> None:
    waiting = send(client)
    assert buttons(client, partial) == ["retry"]
    assert buttons(client, waiting) == ["cancel"]
    cancelled_at = client.post(f"/batches/{waiting}/cancel").json()["cancelled_at"]
    assert buttons(client, waiting) == []
    assert f'<dt>Cancelled</dt><dd><time datetime="{cancelled_at[:19]}' in client.get(f"/ui/batches/{waiting}").text


def test_buttons_are_for_those_who_may_press_them(client: TestClient, partial: str) -> None:
    assert buttons(client, partial) == ["retry"]
    for user in ("viewer", "sender-other"):
        page = client.get(f"/ui/batches/{partial}", headers={"X-Test-User": user}).text
        assert "data-post" not in page
        assert 'class="masked"' in page


def test_a_held_delivery_is_shown_as_held_and_can_be_retried(client: TestClient, store: Store) -> None:
    batch_id = send(client)
    held = Blocked("Held: it was accepted 30 hours ago.", code="held_for_age")
    for index, error in enumerate((held, RejectedError("No such chat.", code="400"))):
        ended = ledger.Ended(state=DeliveryState.FAILED, outcome=AttemptOutcome.BLOCKED, error=error)
        attempt(store, f"{batch_id}-{index}", ended)
    with store.begin() as connection:
        connection.execute(update(batches).where(batches.c.id == batch_id).values(status="failed"))
    html = client.get(f"/ui/batches/{batch_id}").text
    assert html.count("failed, held</span>") == 1
    assert "accepted 30 hours ago" in html
    assert buttons(client, batch_id) == ["retry"]
