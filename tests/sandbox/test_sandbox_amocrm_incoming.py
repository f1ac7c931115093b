"""The sandbox's amoCRM: incoming leads, and what a search shows of them."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from leadcast.sandbox import Sandbox

FORMS = "/api/v4/leads/unsorted/forms"


def call(sandbox: Sandbox, method: str, path: str, **more: Any) -> requests.Response:
    headers = {"Authorization": "Bearer amo-access-token-1"}
    return requests.request(method, f"{sandbox.amocrm_url}{path}", headers=headers, timeout=5, **more)


def a_form(**more: Any) -> dict[str, Any]:
    phone = {"field_code": "PHONE", "values": [{"value": "+79990000001", "enum_code": "WORK"}]}
    return {
        "request_id": "u1",
        "source_name": "Сайт",
        "source_uid": "key-1",
        "metadata": {"form_id": "f-12", "form_name": "Форма", "form_page": "/p", "form_sent_at": 1767225590},
        "_embedded": {
            "leads": [{"name": "Заявка 1", "_embedded": {"tags": [{"name": "ext:key-1"}]}}],
            "contacts": [{"name": "Анна", "custom_fields_values": [phone]}],
        },
        **more,
    }


def test_a_form_becomes_an_incoming_lead_in_the_stage_of_its_own(sandbox: Sandbox) -> None:
    answer = call(sandbox, "POST", FORMS, json=[a_form()]).json()

    (incoming,) = answer["_embedded"]["unsorted"]
    (lead,) = sandbox.stored("amocrm")["leads"]
    assert (incoming["request_id"], answer["_total_items"]) == ("u1", 1)
    assert incoming["_embedded"]["leads"] == [{"id": lead["id"]}]
    assert lead["status_id"] == 50110
    assert (lead["contacts"][0]["name"], lead["tags"]) == ("Анна", [{"name": "ext:key-1"}])


def test_the_list_of_incoming_leads_shows_the_source_and_ids_only(sandbox: Sandbox) -> None:
    call(sandbox, "POST", FORMS, json=[a_form(), a_form(source_uid="key-2")])

    page = call(sandbox, "GET", "/api/v4/leads/unsorted?limit=1").json()

    (incoming,) = page["_embedded"]["unsorted"]
    assert (incoming["source_uid"], incoming["category"]) == ("key-2", "forms")
    assert list(incoming["_embedded"]["leads"][0]) == ["id"]
    assert "next" in page["_links"]


def test_a_complex_lead_with_metadata_is_incoming_and_has_no_source(sandbox: Sandbox) -> None:
    lead = {"name": "L", "_embedded": {"metadata": {"category": "forms", "form_id": "f"}}}
    call(sandbox, "POST", "/api/v4/leads/complex", json=[lead])

    (incoming,) = sandbox.stored("amocrm")["unsorted"]
    assert incoming["source_uid"] is None


@pytest.mark.parametrize("shown", [True, False])
def test_whether_the_leads_show_what_nobody_has_accepted_can_be_set(sandbox: Sandbox, shown: bool) -> None:
    sandbox.configure("amocrm", incoming_in_lists=shown)
    call(sandbox, "POST", FORMS, json=[a_form()])

    assert call(sandbox, "GET", "/api/v4/leads").status_code == (200 if shown else 204)


def test_the_contact_of_an_incoming_lead_is_found_when_the_lead_is_accepted(sandbox: Sandbox) -> None:
    (incoming,) = call(sandbox, "POST", FORMS, json=[a_form()]).json()["_embedded"]["unsorted"]
    search = "/api/v4/contacts?query=9990000001"
    assert call(sandbox, "GET", search).status_code == 204

    accepted = call(sandbox, "POST", f"/api/v4/leads/unsorted/{incoming['uid']}/accept", json={"status_id": 50111})

    assert accepted.status_code == 200
    assert call(sandbox, "GET", search).status_code == 200
    assert sandbox.stored("amocrm")["leads"][0]["status_id"] == 50111
    assert sandbox.stored("amocrm")["unsorted"] == []


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"source_uid": None}, "FieldMissing", "source_uid"),
        ({"source_name": ""}, "FieldMissing", "source_name"),
        ({"metadata": None}, "FieldMissing", "metadata"),
        ({"metadata": {"form_id": "f", "form_name": "n", "form_sent_at": 1}}, "FieldMissing", "metadata.form_page"),
        ({"pipeline_id": 1}, "NotSupportedChoice", "pipeline_id"),
        ({"_embedded": {"leads": [{"price": "5"}]}}, "InvalidType", "_embedded.leads.0.price"),
    ],
)
def test_a_form_that_lacks_something_is_refused(sandbox: Sandbox, change: dict[str, Any], code: str, path: str) -> None:
    answer = call(sandbox, "POST", FORMS, json=[a_form(**change)])

    (item,) = answer.json()["validation-errors"]
    assert (answer.status_code, item["request_id"]) == (400, "u1")
    assert (code, path) in [(error["code"], error["path"]) for error in item["errors"]]
    assert sandbox.stored("amocrm")["leads"] == []


def test_an_object_instead_of_an_array_lacks_every_field(sandbox: Sandbox) -> None:
    assert call(sandbox, "POST", FORMS, json={"data": [a_form()]}).status_code == 400


def test_a_lead_cannot_be_linked_to_a_contact_that_is_not_there(sandbox: Sandbox) -> None:
    answer = call(sandbox, "POST", "/api/v4/leads", json=[{"name": "L", "_embedded": {"contacts": [{"id": 5}]}}])

    (item,) = answer.json()["validation-errors"]
    assert item["errors"][0]["path"] == "_embedded.contacts.0.id"


def test_a_contacts_search_looks_for_parts_of_names_and_values(sandbox: Sandbox) -> None:
    phone = {"field_code": "PHONE", "values": [{"value": "8 (999) 000-00-01", "enum_code": "WORK"}]}
    call(sandbox, "POST", "/api/v4/contacts", json=[{"name": "Анна", "custom_fields_values": [phone]}])

    for query in ("9990000001", "нна", "000-00"):
        assert call(sandbox, "GET", "/api/v4/contacts", params={"query": query}).status_code == 200
    assert call(sandbox, "GET", "/api/v4/contacts", params={"query": "Мария"}).status_code == 204
