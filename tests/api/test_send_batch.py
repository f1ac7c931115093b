"""`POST /send-batch`: what is accepted, answered and stored, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text

from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries
from tests.api.conftest import BODY, BOT_TOKEN, TOKEN, Bell

pytestmark = pytest.mark.store


def how_many(store: Store) -> int:
    with store.begin() as connection:
        return connection.execute(select(func.count()).select_from(batches)).scalar_one()


def test_a_request_is_stored_and_answered_with_202_and_links(client: TestClient, store: Store) -> None:
    answer = client.post("/send-batch", json=BODY)

    assert answer.status_code == 202
    body = answer.json()
    assert body.keys() == {"batch_id", "lead_id", "status", "total_jobs", "notes", "links"}
    assert (body["lead_id"], body["status"], body["total_jobs"]) == ("123", "pending", 2)
    assert body["links"]["self"] == f"/api/integrations/batches/{body['batch_id']}"
    assert body["links"]["run"].startswith("/dags/send_lead/runs/wave__")
    assert answer.headers["Location"] == body["links"]["self"]
    assert how_many(store) == 1


ORNAMENTS: dict[str, Any] = {
    "name": "Анна \ud83d",
    "email": None,
    "source": "https://example.com/?" + "x" * 1100,
    "utm": {"utm_source": None, "utm_content": "x" * 4310, **{f"utm_{number}": "x" for number in range(21)}},
    "custom": {"rooms": ["1", "2"], "city": None, "": "no name"},
    "first_name": "Анна",
}
NOTED = [
    {"loc": ["lead", "first_name"], "msg": "no field of a lead: taken into custom"},
    {"loc": ["lead", "name"], "msg": "held what is no character: U+FFFD stands for it"},
    {"loc": ["lead", "source"], "msg": "cut to 1024 characters (had 1121)"},
    {"loc": ["lead", "utm", "utm_content"], "msg": "cut to 1024 characters (had 4310)"},
    {
        "loc": ["lead", "custom", "no name"],
        "msg": "kept under this name, since its own was empty, too long or taken",
    },
    {"loc": ["lead", "custom", "rooms"], "msg": "a list: written as one text"},
]


def test_a_lead_is_never_refused_for_its_ornaments_and_the_batch_says_what_was_mended(client: TestClient) -> None:
    body = (
        b"\xef\xbb\xbf"
        + json.dumps(
            BODY | {"lead": ORNAMENTS, "callback_url": "", "priority": None, "credentials": BODY["credentials"]}
        ).encode()
    )
    key = {"Idempotency-Key": "order-17", "Content-Type": "application/json"}
    answer = client.post("/send-batch", content=body, headers=key)

    assert answer.status_code == 202
    first = answer.json()
    assert sorted(first["notes"], key=str) == sorted(NOTED, key=str)
    assert client.post("/send-batch", content=body, headers=key).json() == first, "the same answer, notes included"
    assert client.get(f"/batches/{first['batch_id']}").json()["notes"] == first["notes"]
    page = client.get(f"/ui/batches/{first['batch_id']}").text
    assert "lead.utm.utm_content: cut to 1024 characters (had 4310)" in page
    assert "lead.custom.rooms" in page
    lead = client.get(f"/leads/{BODY['lead_id']}").json()["lead"]
    assert (lead["name"], lead["custom"]["rooms"], lead["custom"]["first_name"]) == ("Анна \ufffd", "1, 2", "Анна")
    assert len(lead["utm"]) == 23


def test_a_page_without_notes_says_nothing_of_them(client: TestClient) -> None:
    sent = client.post("/send-batch", json=BODY).json()
    assert sent["notes"] == []
    assert "Mended" not in client.get(f"/ui/batches/{sent['batch_id']}").text


def test_the_first_arrival_rings_in_the_callers_name_and_the_next_ride_along(client: TestClient, bell: Bell) -> None:
    first = client.post("/send-batch", json=BODY).json()
    second = client.post("/send-batch", json=BODY).json()

    run_id = first["links"]["run"].rpartition("/")[2]
    assert bell.rung == [(run_id, TOKEN)]
    assert second["links"]["run"] == first["links"]["run"]


def test_credentials_are_sealed_in_the_store(client: TestClient, store: Store) -> None:
    client.post("/send-batch", json=BODY)

    with store.begin() as connection:
        sealed = connection.execute(select(deliveries.c.credentials_sealed)).scalars().all()
        everything = connection.execute(text("SELECT b::text || d::text FROM batches b, deliveries d")).scalars().all()
    assert all(sealed)
    assert not any(BOT_TOKEN in row for row in everything)


def test_the_same_key_and_body_give_the_first_answer_and_no_second_batch(client: TestClient, store: Store) -> None:
    key = {"Idempotency-Key": "order-17"}
    first = client.post("/send-batch", json=BODY, headers=key)
    again = client.post("/send-batch", json=BODY, headers=key)

    assert again.status_code == 202
    assert again.json()["batch_id"] == first.json()["batch_id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert how_many(store) == 1


def test_the_same_key_with_another_body_is_a_conflict(client: TestClient, store: Store) -> None:
    key = {"Idempotency-Key": "order-17"}
    client.post("/send-batch", json=BODY, headers=key)
    other = client.post("/send-batch", json=BODY | {"lead_id": 124}, headers=key)

    assert other.status_code == 409
    assert other.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert how_many(store) == 1


def test_two_callers_may_use_the_same_key(client: TestClient, store: Store) -> None:
    for user in ("anna", "boris"):
        headers = {"Idempotency-Key": "1", "X-Test-User": user}
        assert client.post("/send-batch", json=BODY, headers=headers).status_code == 202
    assert how_many(store) == 2


@pytest.mark.parametrize("key", ["", "  ", "\t"])
def test_a_blank_idempotency_key_is_none(client: TestClient, store: Store, key: str) -> None:
    headers = {"Idempotency-Key": key}
    for _ in range(2):
        answer = client.post("/send-batch", json=BODY, headers=headers)
        assert answer.status_code == 202
        assert "Idempotency-Replayed" not in answer.headers
    assert how_many(store) == 2


@pytest.mark.parametrize("key", ["with space", "x" * 256])
def test_an_idempotency_key_that_is_none_is_refused(client: TestClient, store: Store, key: str) -> None:
    answer = client.post("/send-batch", json=BODY, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["header", "idempotency-key"]
    assert how_many(store) == 0


def test_every_field_at_fault_is_named_and_no_value_repeated(client: TestClient, store: Store) -> None:
    wrong: dict[str, Any] = {
        "lead_id": 123,
        "integrations": [{"type": "telegram", "settings": {"colour": "SECRET"}}, {"type": "email"}],
        "credentials": {"telegram": {"bot_token": ["SECRET"], "chat_id": "@n"}, "amocrm": {"access_token": "SECRET"}},
    }
    answer = client.post("/send-batch", json=wrong)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    locations = [error["loc"] for error in answer.json()["errors"]]
    assert ["integrations", 0, "settings", "colour"] in locations
    assert ["credentials", "telegram", "bot_token"] in locations
    assert ["credentials", "amocrm"] in locations
    assert "SECRET" not in answer.text
    assert how_many(store) == 0


def test_an_unknown_lead_without_data_is_404(client: TestClient, store: Store) -> None:
    answer = client.post("/send-batch", json={"lead_id": "nobody", "integrations": [{"type": "email"}]})
    assert answer.status_code == 404
    assert "PUT /api/integrations/leads/nobody" in answer.json()["detail"]
    assert how_many(store) == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1,2", b"\xff\xfe", b'{"lead_id": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000]
)
def test_what_is_not_json_is_422(client: TestClient, body: bytes) -> None:
    answer = client.post("/send-batch", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "encoding"),
    [
        ({"Content-Type": "application/json; charset=utf-8"}, "utf-8"),
        ({"Content-Type": "Application/JSON;Charset=Windows-1251"}, "cp1251"),
        ({"Content-Type": 'application/json; boundary=x; charset="windows-1251"'}, "cp1251"),
        ({"Content-Type": "application/json; charset=windows-1251"}, "utf-8"),
        ({"Content-Type": "application/json, application/json"}, "utf-8"),
        ({"Content-Type": "text/json"}, "utf-8"),
        ({"Content-Type": "application/x-json"}, "utf-8"),
        ({"Content-Type": "application/vnd.api+json; charset=koi8-r"}, "koi8-r"),
        (JSON | {"Content-Encoding": ""}, "utf-8"),
        (JSON | {"Content-Encoding": "Identity"}, "utf-8"),
        (JSON | {"Content-Encoding": " UTF-8 "}, "utf-8"),
        (JSON | {"Content-Encoding": "none, identity"}, "utf-8"),
    ],
)
def test_json_is_known_however_it_is_announced(client: TestClient, headers: dict[str, str], encoding: str) -> None:
    body = json.dumps(BODY, ensure_ascii=False).encode(encoding)
    answer = client.post("/send-batch", content=body, headers=headers)
    assert (answer.status_code, answer.json().get("notes")) == (202, [])
    assert client.get("/leads/123").json()["lead"]["name"] == "Анна"


def test_bytes_that_are_no_text_and_what_stands_twice_cost_no_lead(client: TestClient, store: Store) -> None:
    lead = b'{"name": "' + "Анна".encode()[:-1] + b'", "comment": "a\nb", "custom": {"a": 1, "a": 2}}'
    body = b"\xef\xbb\xbf\xef\xbb\xbf" + json.dumps(BODY | {"lead": "LEAD"}).encode().replace(b'"LEAD"', lead) + b"\x00"
    headers = JSON | {"Idempotency-Key": "order-18"}
    first, again = (client.post("/send-batch", content=body, headers=headers) for _ in range(2))

    assert (first.status_code, again.headers.get("Idempotency-Replayed")) == (202, "true")
    assert first.json()["notes"] == again.json()["notes"]
    assert first.json()["notes"] == [
        {"loc": ["lead", "custom", "a"], "msg": "stood there more than once: the last one was kept"},
        {"loc": ["lead", "name"], "msg": "held what is no character: U+FFFD stands for it"},
    ]
    kept = client.get("/leads/123").json()["lead"]
    assert (kept["name"], kept["comment"], kept["custom"]) == ("Анн\ufffd", "a\nb", {"a": 2})
    assert how_many(store) == 1


def test_what_php_has_for_none_and_a_priority_that_there_is_none_of_cost_no_lead(client: TestClient) -> None:
    body: dict[str, Any] = {
        "lead_id": "\u200b123 ",
        "lead": BODY["lead"],
        "integrations": {"0": {"type": "Telegram", "settings": False}, "2": {"type": "email", "settings": []}},
        "credentials": {"telegram": False, "Email": {"emails": "a@example.com, b@example.com", "subject": 0}},
        "callback_url": [],
        "priority": "urgent",
    }
    answer = client.post("/send-batch", json=body)
    assert (answer.status_code, answer.json()["lead_id"]) == (202, "123")
    assert answer.json()["notes"] == [{"loc": ["priority"], "msg": "none of high, normal, low: normal was taken"}]
    batch = client.get(answer.json()["links"]["self"].removeprefix("/api/integrations")).json()
    assert (batch["priority"], [item["type"] for item in batch["deliveries"]]) == ("normal", ["telegram", "email"])


def test_a_lead_that_is_stored_on_its_own_is_read_alike(client: TestClient) -> None:
    body = b'{"Name": "A\xff", "PHONE": [{"VALUE": "+7999", "VALUE_TYPE": "WORK"}], "custom": {"a": 1, "a": 2}}\x00'
    answer = client.put("/leads/%209%20", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["lead_id"]) == (201, "9")
    lead = answer.json()["lead"]
    assert (lead["name"], lead["phone"], lead["custom"]) == ("A\ufffd", "+7999", {"a": 2})
    assert [note["loc"] for note in answer.json()["notes"]] == [
        ["custom", "a"], ["Name"], ["PHONE"], ["name"], ["phone"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "*/*"},
        {},
        JSON | {"Content-Encoding": "gzip"},
        JSON | {"Content-Encoding": "identity, br"},
    ],
)
def test_what_is_not_said_to_be_plain_json_is_415(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/send-batch", content=b"{}", headers=headers).status_code == 415


def test_a_body_announced_too_large_is_413(client: TestClient) -> None:
    answer = client.post("/send-batch", content=b" " * (1024 * 1024 + 1), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_a_body_too_large_without_a_length_is_413(client: TestClient) -> None:
    def chunks() -> Any:
        for _ in range(2000):
            yield b" " * 1024

    answer = client.post("/send-batch", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_what_was_sealed_for_a_run_is_told_where_it_belongs(client: TestClient) -> None:
    answer = client.post("/send-batch", json=BODY | {"credentials": {"sealed": "gAAAA"}})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["loc"][-2:] == ["credentials", "sealed"]
    assert "run of send_lead" in error["msg"]
    assert "gAAAA" not in answer.text
