"""What can be read back: batches, listings, leads."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from leadcast.core.clock import utc_now
from leadcast.core.errors import RejectedError
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt
from leadcast.store.batches import ledger, listing
from leadcast.store.database import Store
from tests.api.conftest import BODY
from tests.support.leases import living
from tests.support.planned import begin_batch

pytestmark = pytest.mark.store


def send(client: TestClient, **changed: object) -> str:
    answer = client.post("/send-batch", json=BODY | changed)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["batch_id"])


def attempt(store: Store, delivery_id: str, ended: ledger.Ended) -> None:
    with store.begin() as connection:
        begun = ledger.begin(connection, delivery_id, lease=living(store, "worker-1:42"), now=utc_now())
        assert begun is not None
        ledger.end(connection, begun, ended, now=utc_now())


def deliver_one_and_fail_one(store: Store, batch_id: str, *, message: str = "No such chat.") -> None:
    with store.begin() as connection:
        begin_batch(connection, batch_id, run_id="wave__1")
    error = RejectedError(message, code="400")
    failed = ledger.Ended(state=DeliveryState.FAILED, outcome=AttemptOutcome.REJECTED, error=error)
    receipt = Receipt(external_id="<42@example.com>")
    delivered = ledger.Ended(state=DeliveryState.DELIVERED, outcome=AttemptOutcome.DELIVERED, receipt=receipt)
    attempt(store, f"{batch_id}-0", failed)
    attempt(store, f"{batch_id}-1", delivered)


def test_a_new_batch_is_pending_with_nothing_done(client: TestClient) -> None:
    batch = client.get(f"/batches/{send(client)}").json()

    assert batch["status"] == "pending"
    counters = {name: batch[name] for name in ("total_jobs", "pending_jobs", "processed_jobs", "failed_jobs")}
    assert counters == {"total_jobs": 2, "pending_jobs": 2, "processed_jobs": 0, "failed_jobs": 0}
    assert (batch["progress"], batch["run_id"], batch["links"]["run"]) == (0, None, None)
    assert [delivery["queue"] for delivery in batch["deliveries"]] == ["integration-telegram", "integration-email"]


def test_a_batch_tells_of_each_delivery_what_became_of_it(client: TestClient, store: Store) -> None:
    batch_id = send(client)
    deliver_one_and_fail_one(store, batch_id)
    batch = client.get(f"/batches/{batch_id}").json()

    assert (batch["processed_jobs"], batch["failed_jobs"], batch["progress"]) == (2, 1, 100)
    assert batch["run_id"] == "wave__1"
    assert batch["links"]["run"] == "/dags/send_lead/runs/wave__1"
    failed, delivered = batch["deliveries"]
    assert (failed["state"], failed["error"]["code"], failed["error"]["message"]) == ("failed", "400", "No such chat.")
    assert (delivered["state"], delivered["receipt"]["external_id"]) == ("delivered", "<42@example.com>")
    assert [(item["number"], item["outcome"]) for item in failed["history"]] == [(1, "rejected")]
    assert failed["duration_s"] >= 0


def test_times_are_iso_in_utc(client: TestClient) -> None:
    accepted_at = client.get(f"/batches/{send(client)}").json()["accepted_at"]
    assert accepted_at.endswith("Z")
    assert abs(datetime.fromisoformat(accepted_at) - utc_now()) < timedelta(minutes=1)


@pytest.mark.parametrize("batch_id", ["nope", "0" * 65, "%00", "..%5c", "%F0%9F%98%80"])
def test_a_batch_that_is_not_there_is_404(client: TestClient, batch_id: str) -> None:
    answer = client.get(f"/batches/{batch_id}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_pages_follow_each_other_newest_first_and_end(client: TestClient) -> None:
    sent = [send(client) for _ in range(5)]
    seen, path = [], "/batches?limit=2"
    for _ in range(3):
        page = client.get(path).json()
        seen += [batch["batch_id"] for batch in page["batches"]]
        path = (page["links"]["next"] or "").removeprefix("/api/integrations")
    assert seen == sent[::-1]
    assert path == ""


def test_a_page_may_be_empty_and_not_the_last(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two filters together it looks through so many batches, and no more."""
    monkeypatch.setattr(listing, "LOOKS_THROUGH", 3)
    both = send(client, lead_id="a", integrations=[{"type": "webhook"}], credentials={})
    for _ in range(4):
        send(client, lead_id="a")
        send(client, lead_id="b", integrations=[{"type": "webhook"}], credentials={})
    first = client.get("/batches", params={"lead_id": "a", "type": "webhook", "limit": 2}).json()
    assert first["batches"] == []
    second = client.get(first["links"]["next"].removeprefix("/api/integrations")).json()
    assert [batch["batch_id"] for batch in second["batches"]] == [both]
    assert second["links"]["next"] is None


def test_a_page_keeps_its_filter_and_is_not_moved_by_new_arrivals(client: TestClient) -> None:
    wanted = [send(client, lead_id="a") for _ in range(3)]
    send(client, lead_id="b")
    first = client.get("/batches", params={"lead_id": "a", "limit": 2}).json()
    send(client, lead_id="a")
    second = client.get(first["links"]["next"].removeprefix("/api/integrations")).json()

    found = [batch["batch_id"] for batch in first["batches"] + second["batches"]]
    assert found == wanted[::-1]


def test_a_listing_is_filtered_by_status_type_and_time(client: TestClient, store: Store) -> None:
    old = send(client)
    deliver_one_and_fail_one(store, old)
    since = utc_now()
    new = send(client, integrations=[{"type": "webhook"}], credentials={})

    def ids(**params: str) -> list[str]:
        return [batch["batch_id"] for batch in client.get("/batches", params=params).json()["batches"]]

    assert ids(status="processing") == [old]
    assert ids(status="pending") == [new]
    assert ids(type="webhook") == [new]
    assert ids(type="email") == [old]
    assert ids(since=since.isoformat()) == [new]
    assert ids(status="completed") == []


@pytest.mark.parametrize(
    "query",
    [
        "status=SECRET", "limit=0", "limit=201", "limit=SECRET", "type=SECRET", "since=2026-01-01", "since=SECRET",
        "cursor=SECRET", "cursor=W10", "cursor=%00", "cursor=%C3%A9", "SECRET=1", "lead_id=SECRET%00", "lead_id=%00",
        "lead_id=SECRET%20a", "type=%00", "status=%00", "limit=1e400", "limit=99999999999999999999", "limit=%00",
        "since=9999-12-31T23:59:59-23:59", "since=0001-01-01T00:00:00%2B23:59", "since=1e400", "since=-1e300",
        "since=99999999999999999999", "since=%00", "since=nan",
    ],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_is_422_and_not_repeated(client: TestClient, query: str) -> None:
    answer = client.get(f"/batches?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"]
    if not query.startswith("SECRET"):
        assert "SECRET" not in answer.text


@pytest.mark.parametrize(
    "written", ["2026-11-01T12:00:00+03:00", "2026-11-01T12:00:00.25+0300", "2026-11-01+12:00:00+03:00"]
)
def test_a_plus_that_was_not_encoded_is_one(client: TestClient, written: str) -> None:
    sent = send(client)
    assert [batch["batch_id"] for batch in client.get(f"/batches?since={written}").json()["batches"]] == [sent]


@pytest.mark.parametrize("written", ["2026-11-01", "2026-11-01+12:00", "2026-11-01T12:00"])
def test_of_a_time_without_its_zone_an_example_is_given(client: TestClient, written: str) -> None:
    answer = client.get(f"/batches?since={written}")
    assert answer.status_code == 422
    assert "2026-01-31T12:00:00Z" in answer.json()["detail"]


@pytest.mark.parametrize("since", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "0001-01-02T00:00:00+23:59"])
def test_the_ends_of_time_are_times(client: TestClient, since: str) -> None:
    sent = send(client)
    answer = client.get("/batches", params={"since": since})
    assert answer.status_code == 200
    assert [batch["batch_id"] for batch in answer.json()["batches"]] == ([sent] if since < "2" else [])


@pytest.mark.parametrize(
    "moment",
    ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-01-01T00:00:00", "2026-01-01", "", 5, None, [1]],
)
def test_a_cursor_that_leads_nowhere_is_422(client: TestClient, moment: object) -> None:
    for inside in ([moment, "b"], [moment], moment, {"a": moment, "b": 1}):
        cursor = base64.urlsafe_b64encode(json.dumps(inside).encode()).decode()
        answer = client.get("/batches", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "cursor"])


@pytest.mark.parametrize("batch_id", ["\x00", "a\x00", "\ud800", "a" * 65, "", 5, None])
def test_a_cursor_to_what_can_be_no_batch_is_422(client: TestClient, batch_id: object) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps(["2026-01-01T00:00:00Z", batch_id]).encode()).decode()
    assert client.get("/batches", params={"cursor": cursor}).status_code == 422


def test_a_lead_is_stored_once_and_then_replaced(client: TestClient) -> None:
    assert client.put("/leads/7", json={"name": "Анна", "phone": 79990000001}).status_code == 201
    replaced = client.put("/leads/7", json={"name": "Борис"})
    assert replaced.status_code == 200
    lead = client.get("/leads/7").json()
    assert (lead["lead_id"], lead["lead"]["name"], lead["lead"]["phone"]) == ("7", "Борис", "")
    assert lead["status"] is None


def test_a_lead_shows_its_batches_newest_first(client: TestClient) -> None:
    client.put("/leads/7", json={"name": "Анна"})
    sent = [send(client, lead_id=7) for _ in range(2)]
    send(client, lead_id=8)
    lead = client.get("/leads/7").json()
    assert [batch["batch_id"] for batch in lead["batches"]] == sent[::-1]
    assert lead["status"] == lead["batches"][0]["status"] == "pending"


@pytest.mark.parametrize("lead_id", ["-7", "a%20b", "%00", "x" * 129])
def test_a_lead_id_that_is_none_is_422(client: TestClient, lead_id: str) -> None:
    assert client.put(f"/leads/{lead_id}", json={}).status_code == 422
    assert client.get(f"/leads/{lead_id}").status_code == 422


@pytest.mark.parametrize("body", ['"SECRET"', '["SECRET"]', "5", "null"])
def test_lead_data_that_is_no_object_is_422_and_not_repeated(client: TestClient, body: str) -> None:
    answer = client.put("/leads/7", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "SECRET" not in answer.text


def test_a_lead_is_stored_mended_and_the_answer_says_what_was(client: TestClient) -> None:
    answer = client.put("/leads/7", json={"name": [" Анна\u200b "], "company": None, "nickname": "Аня"}).json()
    assert (answer["lead"]["name"], answer["lead"]["company"]) == ("Анна", "")
    assert answer["notes"] == [
        {"loc": ["nickname"], "msg": "no field of a lead: taken into custom"},
        {"loc": ["name"], "msg": "a list: written as one text"},
    ]
    assert client.get("/leads/7").json()["lead"] == answer["lead"]


@pytest.mark.parametrize(("text", "kept"), [("a\\u0000", "a"), ("half \\ud800", "half \ufffd")])
def test_text_that_no_database_takes_is_stored_without_what_is_in_the_way(
    client: TestClient, text: str, kept: str
) -> None:
    body = f'{{"comment": "{text}"}}'.encode()
    answer = client.put("/leads/7", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201
    assert client.get("/leads/7").json()["lead"]["comment"] == kept
    assert len(answer.json()["notes"]) == 1


def test_an_unknown_lead_is_404(client: TestClient) -> None:
    assert client.get("/leads/nobody").status_code == 404
