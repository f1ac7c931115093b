"""`DELETE /leads/{id}`: a person is erased, and the answer says what is gone, what is left and what is not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from leadcast.api.app import create_app
from leadcast.api.backend import Backend
from leadcast.api.links import MOUNT
from leadcast.control.erase import InAirflow
from leadcast.core.clock import utc_now
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt
from leadcast.core.reach import Reach
from leadcast.core.settings import Settings
from leadcast.store.batches import ledger
from leadcast.store.database import Store
from tests.support.leases import held, living

from .conftest import BODY, TOKEN, Bell, admit

pytestmark = pytest.mark.store
LEAD = "/leads/123"


@dataclass
class Airflow:
    """Answers what a test says, and remembers who asked in whose name."""

    holds: InAirflow = field(default_factory=InAirflow)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def erase(self, lead_id: str, *, token: str, reach: Reach) -> InAirflow:
        self.asked.append((lead_id, token))
        return self.holds


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def client(bell: Bell, store: Store, airflow: Airflow) -> Iterator[TestClient]:
    backend = Backend(
        store=lambda: store,
        settings=lambda: Settings(leads_conn_id="crm", leads_table="people"),
        ring=bell.ring,
        missing_pools=list,
        erase_in_airflow=airflow.erase,
    )
    server = FastAPI()
    server.mount(MOUNT, create_app(backend, admit=admit))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(server, base_url=f"http://testserver{MOUNT}", headers=headers) as client:
        yield client


def send(client: TestClient) -> str:
    answer = client.post("/send-batch", json=BODY)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["batch_id"])


def begin(store: Store, batch_id: str) -> ledger.Begun:
    with store.begin() as connection:
        begun = ledger.begin(connection, f"{batch_id}-0", lease=living(store), now=utc_now())
    assert begun is not None
    return begun


def test_what_waits_is_cancelled_and_all_is_gone_at_once(client: TestClient, airflow: Airflow) -> None:
    batch_id = send(client)
    airflow.holds = InAirflow(erased={"runs": 1, "audit_log_rows": 2})
    answer = client.delete(LEAD)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["done"], told["left"], told["asked_by"]) == (True, [], "tester")
    assert {kind: told["erased"][kind] for kind in ("leads", "batches", "deliveries", "runs", "audit_log_rows")} == {
        "leads": 1,
        "batches": 1,
        "deliveries": 2,
        "runs": 1,
        "audit_log_rows": 2,
    }
    assert airflow.asked == [("123", TOKEN)]
    assert client.get(f"/batches/{batch_id}").json()["status"] == "cancelled"


def test_again_it_is_the_same_answer_and_an_unknown_id_is_404(client: TestClient) -> None:
    send(client)
    first, second = client.delete(LEAD), client.delete(LEAD)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["erased"] == second.json()["erased"]
    unknown = client.delete("/leads/124")
    assert (unknown.status_code, unknown.json()["title"]) == (404, "Nothing to erase")


def test_to_look_how_it_stands_takes_nothing_that_was_sent_since(client: TestClient, store: Store) -> None:
    first = send(client)
    begin(store, first)
    with held(store, f"{first}-0"):
        asked = client.delete(LEAD).json()
        since = send(client)
        stands = client.get(f"{LEAD}/erasure")
    assert (stands.status_code, stands.json()) == (200, asked)
    assert client.get(f"/batches/{since}").json()["status"] == "pending"
    client.delete(LEAD)
    assert client.get(f"/batches/{since}").json()["status"] == "cancelled"


def test_an_erasure_that_nobody_has_asked_for_is_404(client: TestClient) -> None:
    send(client)
    unknown = client.get(f"{LEAD}/erasure")
    assert (unknown.status_code, unknown.json()["title"]) == (404, "No erasure")


def test_it_says_where_else_the_person_is(client: TestClient, store: Store) -> None:
    begun = begin(store, send(client))
    ended = ledger.Ended(state=DeliveryState.DELIVERED, outcome=AttemptOutcome.DELIVERED, receipt=Receipt())
    with store.begin() as connection:
        ledger.end(connection, begun, ended, now=utc_now())
    told = " ".join(client.delete(LEAD).json()["elsewhere"])
    assert "sent to: telegram." in told
    assert "lead table, by the connection crm" in told
    assert "Backups" in told


def test_what_is_being_sent_is_said_to_be_left_and_202(client: TestClient, store: Store) -> None:
    batch_id = send(client)
    begin(store, batch_id)
    with held(store, f"{batch_id}-0"):
        answer = client.delete(LEAD)
    assert (answer.status_code, answer.json()["done"]) == (202, False)
    (left,) = answer.json()["left"]
    assert (left["kind"], left["id"]) == ("batch", batch_id)
    assert "being sent" in left["why"]


def test_a_run_that_the_caller_may_not_delete_is_named_with_the_reason(client: TestClient, airflow: Airflow) -> None:
    send(client)
    airflow.holds = InAirflow(left={"manual-1": "The user has no right to this: DELETE dagRuns (403)."})
    answer = client.delete(LEAD)
    (left,) = answer.json()["left"]
    assert (answer.status_code, left["kind"], left["id"]) == (202, "run", "manual-1")
    assert "no right" in left["why"]
    assert "prune" in left["why"]


def test_runs_that_could_not_be_looked_for_are_not_forgotten(client: TestClient, airflow: Airflow) -> None:
    send(client)
    airflow.holds = InAirflow(left=None)
    answer = client.delete(LEAD)
    assert (answer.status_code, answer.json()["left"][0]["id"]) == (202, None)
    airflow.holds = InAirflow()
    assert client.delete(LEAD).status_code == 200


def test_an_audit_log_that_was_not_looked_at_to_its_end_is_not_done(client: TestClient, airflow: Airflow) -> None:
    send(client)
    airflow.holds = InAirflow(erased={"runs": 0, "audit_log_rows": 5}, audit_log_left=True)
    answer = client.delete(LEAD)
    (left,) = answer.json()["left"]
    assert (answer.status_code, left["kind"], left["id"], answer.json()["done"]) == (202, "audit_log", None, False)
    airflow.holds = InAirflow(erased={"runs": 0, "audit_log_rows": 2})
    answer = client.delete(LEAD)
    assert (answer.status_code, answer.json()["erased"]["audit_log_rows"]) == (200, 7)


def test_what_was_not_looked_for_is_named(client: TestClient) -> None:
    send(client)
    elsewhere = " ".join(client.delete(LEAD).json()["elsewhere"])
    for words in ("rendered fields", "task logs", "Notes", "Backups"):
        assert words in elsewhere


def test_it_needs_what_every_write_needs(client: TestClient, airflow: Airflow) -> None:
    send(client)
    assert client.delete(LEAD, headers={"Authorization": ""}).status_code == 401
    client.cookies.set("_token", TOKEN)
    assert client.delete(LEAD, headers={"Authorization": ""}).status_code == 403
    assert airflow.asked == []


def test_the_answer_repeats_nothing_of_the_lead(client: TestClient) -> None:
    send(client)
    told = json.dumps(client.delete(LEAD).json(), ensure_ascii=False)
    lead: dict[str, Any] = BODY["lead"]
    assert not [value for value in lead.values() if value in told]
