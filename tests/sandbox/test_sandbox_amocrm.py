"""The sandbox's amoCRM: leads, contacts, notes, search, limits, error bodies."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from leadcast.sandbox import Sandbox

TOKEN = "amo-access-token-1"


def call(sandbox: Sandbox, method: str, path: str, token: str = TOKEN, **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.request(method, f"{sandbox.amocrm_url}{path}", headers=headers, timeout=5, **more)


def a_lead(key: str = "batch-0", phone: str = "+7 999 000-00-01", **more: Any) -> dict[str, Any]:
    phone_field = {"field_code": "PHONE", "values": [{"value": phone, "enum_code": "WORK"}]}
    return {
        "name": f"Заявка {key}",
        "price": 15000,
        "request_id": f"r-{key}",
        "custom_fields_values": [
            {"field_code": "EXT_ID", "values": [{"value": key}]},
            {"field_code": "UTM_SOURCE", "values": [{"value": "yandex"}]},
        ],
        "_embedded": {
            "tags": [{"name": "landing-a"}],
            "contacts": [{"first_name": "Анна", "custom_fields_values": [phone_field]}],
            "companies": [{"name": "ООО Ромашка"}],
        },
        **more,
    }


def test_complex_answers_a_bare_array_with_arrays_of_request_ids(sandbox: Sandbox) -> None:
    answer = call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("a"), a_lead("b")])

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/hal+json"
    assert [item["request_id"] for item in answer.json()] == [["r-a"], ["r-b"]]
    assert all(item["merged"] is False and item["contact_id"] and item["company_id"] for item in answer.json())


def test_a_lead_is_stored_with_its_contact_company_and_tags(sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("a")])

    (lead,) = sandbox.stored("amocrm")["leads"]
    assert lead["name"] == "Заявка a"
    assert lead["contacts"][0]["custom_fields_values"][0]["values"][0]["value"] == "+7 999 000-00-01"
    assert lead["companies"][0]["name"] == "ООО Ромашка"
    assert lead["tags"] == [{"name": "landing-a"}]


def test_equal_leads_of_one_request_are_both_created_even_with_duplicate_control(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", duplicate_control=True)
    call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("a"), a_lead("b")])
    assert len(sandbox.stored("amocrm")["leads"]) == 2


def test_duplicate_control_merges_into_the_known_lead_and_shortens_the_answer(sandbox: Sandbox) -> None:
    (first,) = call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("a")]).json()
    sandbox.configure("amocrm", duplicate_control=True)

    merged = call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("b", "8 (999) 000-00-01"), a_lead("c")])

    assert merged.json() == [{**first, "request_id": ["r-b", "r-c"], "merged": True}]
    assert len(sandbox.stored("amocrm")["leads"]) == 1


def test_search_finds_the_lead_by_the_key_in_its_custom_field(sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("key-7"), a_lead("other")])

    page = call(sandbox, "GET", "/api/v4/leads?query=key-7&with=contacts").json()

    (lead,) = page["_embedded"]["leads"]
    assert lead["custom_fields_values"][0]["values"] == [{"value": "key-7"}]
    assert lead["_embedded"]["contacts"][0]["id"]


def test_a_search_without_a_match_answers_204_and_no_body(sandbox: Sandbox) -> None:
    answer = call(sandbox, "GET", "/api/v4/leads?query=nobody")
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_contact_is_found_by_the_digits_of_its_phone(sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("a")])
    assert call(sandbox, "GET", "/api/v4/contacts?query=79990000001").status_code == 200


def test_a_search_does_not_see_what_is_younger_than_the_lag(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", search_lag_s=60)
    (lead,) = call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("a")]).json()

    assert call(sandbox, "GET", "/api/v4/leads?query=a").status_code == 204
    assert call(sandbox, "GET", f"/api/v4/leads/{lead['id']}").json()["id"] == lead["id"]


def test_a_filter_is_ignored_without_a_word_unless_the_account_has_the_feature(sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("a"), a_lead("b")])
    path = "/api/v4/leads?filter[name]=nothing"

    assert len(call(sandbox, "GET", path).json()["_embedded"]["leads"]) == 2
    sandbox.configure("amocrm", is_api_filter_enabled=True)
    assert call(sandbox, "GET", path).status_code == 204


def test_lists_come_in_pages_with_a_link_to_the_next(sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead(str(n)) for n in range(3)])

    page = call(sandbox, "GET", "/api/v4/leads?limit=2").json()
    rest = requests.get(page["_links"]["next"]["href"], headers={"Authorization": "Bearer x"}, timeout=5).json()

    assert (len(page["_embedded"]["leads"]), len(rest["_embedded"]["leads"])) == (2, 1)
    assert "next" not in rest["_links"]


def test_plain_leads_contacts_and_notes_answer_with_embedded_items(sandbox: Sandbox) -> None:
    contact = call(sandbox, "POST", "/api/v4/contacts", json=[{"name": "Анна"}]).json()["_embedded"]["contacts"][0]
    given = {"name": "L", "_embedded": {"contacts": [{"id": contact["id"]}]}}
    lead = call(sandbox, "POST", "/api/v4/leads", json=[given]).json()["_embedded"]["leads"][0]
    note = {"note_type": "common", "params": {"text": "UTM: x"}}

    here = call(sandbox, "POST", f"/api/v4/leads/{lead['id']}/notes", json=[note])
    there = call(sandbox, "POST", "/api/v4/leads/notes", json=[{**note, "entity_id": lead["id"]}])

    assert (contact["request_id"], lead["request_id"]) == ("0", "0")
    assert here.json()["_embedded"]["notes"][0]["entity_id"] == lead["id"]
    assert there.status_code == 200
    (stored,) = sandbox.stored("amocrm")["leads"]
    assert [note["params"]["text"] for note in stored["notes"]] == ["UTM: x", "UTM: x"]
    assert stored["contacts"][0]["name"] == "Анна"


def test_the_account_shows_what_a_client_needs_to_set_itself_up(sandbox: Sandbox) -> None:
    fields = call(sandbox, "GET", "/api/v4/leads/custom_fields?limit=250").json()["_embedded"]["custom_fields"]
    types = {field["code"]: field["type"] for field in fields}

    assert types["EXT_ID"] == "text"
    assert types["UTM_CAMPAIGN"] == "tracking_data"
    assert call(sandbox, "GET", "/api/v4/account").json()["id"]
    assert call(sandbox, "GET", "/api/v4/users").json()["_embedded"]["users"]
    (pipeline,) = call(sandbox, "GET", "/api/v4/leads/pipelines").json()["_embedded"]["pipelines"]
    assert pipeline["_embedded"]["statuses"]


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"price": "15000"}, "InvalidType", "price"),
        ({"price": 1.5}, "InvalidType", "price"),
        ({"name": 5}, "InvalidType", "name"),
        ({"status_id": 1}, "NotSupportedChoice", "status_id"),
        ({"responsible_user_id": 1}, "NotSupportedChoice", "responsible_user_id"),
        (
            {"custom_fields_values": [{"field_id": 1, "values": [{"value": "x"}]}]},
            "NotSupportedChoice",
            "custom_fields_values.0.field_id",
        ),
        (
            {"custom_fields_values": [{"field_code": "NOPE", "values": [{"value": "x"}]}]},
            "NotSupportedChoice",
            "custom_fields_values.0.field_code",
        ),
        ({"custom_fields_values": [{"values": []}]}, "FieldMissing", "custom_fields_values.0.field_id"),
        (
            {"custom_fields_values": [{"field_code": "EXT_ID", "values": [{"value": 5}]}]},
            "InvalidType",
            "custom_fields_values.0.values.0.value",
        ),
        ({"_embedded": {"contacts": [{"name": 5}]}}, "InvalidType", "_embedded.contacts.0.name"),
    ],
)
def test_one_bad_item_fails_the_whole_request_and_is_named(
    sandbox: Sandbox, change: dict[str, Any], code: str, path: str
) -> None:
    answer = call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead("good"), a_lead("bad", **change)])

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    (item,) = answer.json()["validation-errors"]
    assert item["request_id"] == "r-bad"
    assert (item["errors"][0]["code"], item["errors"][0]["path"]) == (code, path)
    assert sandbox.stored("amocrm")["leads"] == []


@pytest.mark.parametrize(
    ("path", "count", "limit"), [("/api/v4/leads/complex", 51, "Limit 50"), ("/api/v4/leads", 251, "Limit 250")]
)
def test_more_items_than_allowed_are_refused(sandbox: Sandbox, path: str, count: int, limit: str) -> None:
    answer = call(sandbox, "POST", path, json=[{"name": "x"}] * count)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(limit)


def test_an_empty_array_and_broken_json_are_refused(sandbox: Sandbox) -> None:
    empty = call(sandbox, "POST", "/api/v4/leads", json=[])
    broken = call(sandbox, "POST", "/api/v4/leads", data=b"[{")
    assert (empty.status_code, empty.json()["detail"]) == (400, "Request data can not be empty")
    assert broken.status_code == 400


@pytest.mark.parametrize("token", ["", "expired-1", "revoked-1"])
def test_a_bad_token_answers_401_with_amocrms_words(sandbox: Sandbox, token: str) -> None:
    answer = call(sandbox, "GET", "/api/v4/account", token)
    assert answer.status_code == 401
    assert answer.json()["detail"] == "Invalid user name or password"


def test_unknown_paths_and_methods_answer_problems(sandbox: Sandbox) -> None:
    unknown = call(sandbox, "GET", "/api/v4/nothing")
    wrong = call(sandbox, "DELETE", "/api/v4/leads")
    assert (unknown.status_code, unknown.json()["title"]) == (404, "Not Found")
    assert (wrong.status_code, wrong.json()["title"]) == (405, "Method Not Allowed")


def test_too_many_calls_answer_429_with_retry_after_in_the_body_and_then_block_the_account(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", requests_per_second=1, retry_after_s=300, block_after_429=2)
    answers = [call(sandbox, "GET", "/api/v4/account") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 429, 429, 403]
    assert answers[1].json()["retry_after"] == 300
    assert "Retry-After" not in answers[1].headers
    assert answers[3].text == "403 Forbidden"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429, 500])
def test_a_status_fault_has_the_form_of_amocrms_own_error(sandbox: Sandbox, status: int) -> None:
    sandbox.fault(service="amocrm", kind="status", status=status)
    answer = call(sandbox, "GET", "/api/v4/account")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_a_validation_fault_refuses_a_good_lead(sandbox: Sandbox) -> None:
    sandbox.fault(service="amocrm", kind="validation")
    answer = call(sandbox, "POST", "/api/v4/leads/complex", json=[a_lead()])
    assert answer.json()["validation-errors"][0]["errors"][0]["code"] == "NotSupportedChoice"
    assert sandbox.stored("amocrm")["leads"] == []
