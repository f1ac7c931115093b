"""Bitrix24: a person whom the portal knows is not doubled, and what a portal in simple mode makes of a lead."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from leadcast.core.errors import CredentialsError, DeliveryError, RateLimited, TransientError
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.bitrix24.contact import phone_forms
from leadcast.sandbox import Sandbox
from tests.contract.bitrix24 import ADD, CODE, NO_SEARCH, MakeCall, deliver, find, methods, only

UNEXPECTED, BLOCKED = "ERROR_UNEXPECTED_ANSWER", "OPERATION_TIME_LIMIT"
FIND = "crm.duplicate.findbycomm"


def add_contact(sandbox: Sandbox, **ways: str) -> int:
    fm = [{"typeId": kind.upper(), "valueType": "WORK", "value": value} for kind, value in ways.items()]
    params = {"entityTypeId": 3, "fields": {"name": "Знакомая", "fm": fm}}
    answer = requests.post(f"{sandbox.bitrix24_url}/rest/1/{CODE}/{ADD}", json=params, timeout=5).json()
    return int(answer["result"]["item"]["id"])


@pytest.mark.parametrize(
    ("entity", "kind"),
    [("lead", "leads"), ("deal", "deals")],
)
@pytest.mark.parametrize(
    "ways",
    [{"phone": "8 (999) 000-00-01"}, {"phone": "+79990000001"}, {"email": "Anna@Example.com"}],
    ids=["by a phone written otherwise", "by phone", "by e-mail"],
)
def test_a_known_contact_is_linked_and_not_doubled(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, entity: str, kind: str, ways: dict[str, str]
) -> None:
    known = add_contact(sandbox, **ways)

    receipt = deliver(lead, sandbox, make_call(), settings={"entity": entity})

    stored = sandbox.stored("bitrix24")
    assert len(stored["contacts"]) == 1
    item = only(stored[kind])
    assert item["contactId"] == known
    assert receipt == Receipt(external_id=str(item["id"]), detail={"contact_id": known, "contact_found": True})


def test_the_oldest_of_several_is_linked_and_the_phone_goes_before_the_e_mail(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    add_contact(sandbox, email=lead.email)
    older = add_contact(sandbox, phone=lead.phone)
    add_contact(sandbox, phone=lead.phone)

    assert deliver(lead, sandbox, make_call()).detail["contact_id"] == older


def test_of_those_who_share_a_phone_the_one_with_the_e_mail_goes_before_an_older_one(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    add_contact(sandbox, phone=lead.phone)
    add_contact(sandbox, email=lead.email)
    who_wrote = add_contact(sandbox, phone=lead.phone, email=lead.email)

    assert deliver(lead, sandbox, make_call()).detail["contact_id"] == who_wrote


def test_an_empty_error_of_one_of_two_searches_is_none(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    found = {"PHONE": {"CONTACT": [275]}, "EMAIL": {"CONTACT": [275]}}
    whole = {"result": found, "result_error": {"PHONE": "", "EMAIL": None}, "result_time": {}}
    sandbox.fault(service="bitrix24", kind="answer", status=200, match="batch", body={"result": whole, "error": ""})

    assert deliver(lead, sandbox, make_call()).detail == {"contact_id": 275, "contact_found": True}


@pytest.mark.parametrize("ids", [["275", "2297"], {"1": 275, "4": 2297}, [2297, "x", 0, 275]])
def test_ids_may_come_as_text_and_a_list_with_gaps_as_an_object(
    sandbox: Sandbox, make_call: MakeCall, ids: Any
) -> None:
    sandbox.fault(service="bitrix24", kind="answer", status=200, match=FIND, body={"result": {"CONTACT": ids}})

    assert deliver(Lead(id="1", phone="+79990000001"), sandbox, make_call()).detail["contact_id"] == 275


def test_a_stranger_is_looked_for_by_phone_and_by_e_mail_in_one_call(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    receipt = deliver(lead, sandbox, make_call())

    search, added = sandbox.received("bitrix24")
    assert search["path"].endswith("/batch.json")
    assert "PHONE" in search["body"]["cmd"]["PHONE"]
    assert "anna%40example.com" in search["body"]["cmd"]["EMAIL"]
    assert added["path"].endswith("/crm.item.add.json")
    assert receipt.detail == {}


@pytest.mark.parametrize("lead", [Lead(id="1", phone="+79990000001"), Lead(id="1", email="anna@example.com")])
def test_who_has_only_one_of_them_is_looked_for_without_a_batch(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    deliver(lead, sandbox, make_call())
    assert [name for name, _ in methods(sandbox)] == [f"{FIND}.json", f"{ADD}.json"]


@pytest.mark.parametrize(
    "lead",
    [
        Lead(id="1", name="Анна"),
        Lead(id="1", phone="123", email="nobody"),
        Lead(id="1", email="$result[PHONE][CONTACT][0]@example.com"),
    ],
    ids=["nothing", "no phone and no address", "a batch's reference as an address"],
)
def test_what_is_no_phone_and_no_address_is_not_looked_for(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    deliver(lead, sandbox, make_call())
    assert [name for name, _ in methods(sandbox)] == [f"{ADD}.json"]


def batch_answer(**parts: Any) -> dict[str, Any]:
    """What a batch answers; empty maps are lists (vendors.md 2.8)."""
    empty: dict[str, Any] = {"result": [], "result_error": [], "result_time": []}
    return {"kind": "answer", "status": 200, "body": {"result": empty | parts}, "match": "/batch.json"}


def test_a_search_that_is_not_allowed_within_the_batch_does_not_lose_the_lead_either(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    for code in ("ACCESS_DENIED", "Access denied", ""):
        sandbox.reset()
        no = {"error": code, "error_description": "Access denied"}
        sandbox.fault(service="bitrix24", **batch_answer(result_error={"PHONE": no, "EMAIL": no}))
        assert deliver(lead, sandbox, make_call()).detail == {"contact_search": "refused"}


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"result": {"PHONE": []}}, "not_json"),
        ({}, "not_json"),
        (
            {"result": {"PHONE": []}, "result_error": {"EMAIL": {"error": "INTERNAL_SERVER_ERROR"}}},
            "INTERNAL_SERVER_ERROR",
        ),
        (
            {"result": {"EMAIL": []}, "result_error": {"PHONE": {"error": "OPERATION_TIME_LIMIT"}}},
            "OPERATION_TIME_LIMIT",
        ),
    ],
    ids=["one was not run", "none was run", "one failed", "one is blocked"],
)
def test_a_batch_without_all_answers_does_not_pass_for_nothing_found(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, parts: dict[str, Any], code: str
) -> None:
    sandbox.fault(service="bitrix24", **batch_answer(**parts))

    with pytest.raises(TransientError) as failed:
        deliver(lead, sandbox, make_call())
    assert failed.value.code == code
    assert sandbox.stored("bitrix24")["leads"] == []


def test_who_does_not_want_the_search_has_one_call(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    deliver(lead, sandbox, make_call(), settings=NO_SEARCH)

    assert [name for name, _ in methods(sandbox)] == [f"{ADD}.json"]


def test_our_own_contact_of_an_earlier_attempt_goes_first(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.fault(service="bitrix24", kind="rate_limit", match='"entityTypeId":2')
    with pytest.raises(RateLimited):
        deliver(lead, sandbox, make_call(), settings=NO_SEARCH | {"entity": "deal"})
    ours = only(sandbox.stored("bitrix24")["contacts"])["id"]

    receipt = deliver(lead, sandbox, make_call(attempt=2), settings={"entity": "deal"})

    assert receipt.detail == {"contact_id": ours}
    assert len(sandbox.stored("bitrix24")["contacts"]) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "code": "ACCESS_DENIED", "status": 403},
        {"kind": "error", "code": "Access denied", "status": 403},
        {"kind": "error", "code": "ERROR_METHOD_NOT_FOUND", "status": 404},
        {"kind": "error", "code": "", "text": "Access denied.", "status": 200},
        {"kind": "error", "code": "ERROR_CORE", "status": 400},
    ],
    ids=[
        "no right",
        "no right, as its page has it",
        "a portal without the search",
        "without a code, and with HTTP 200",
        "for a reason that nobody knows",
    ],
)
def test_a_search_that_is_not_allowed_does_not_lose_the_lead(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, fault: dict[str, Any]
) -> None:
    sandbox.fault(service="bitrix24", match=FIND, **fault)

    receipt = deliver(lead, sandbox, make_call(), settings={"entity": "deal"})

    contact = only(sandbox.stored("bitrix24")["contacts"])
    assert receipt.detail == {"contact_id": contact["id"], "contact_search": "refused"}


def test_who_may_not_read_contacts_does_not_lose_the_deal_of_a_second_attempt(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="bitrix24", kind="error", match="crm.item.list", code="ACCESS_DENIED")

    receipt = deliver(lead, sandbox, make_call(attempt=2), settings={"entity": "deal"})

    contact = only(sandbox.stored("bitrix24")["contacts"])
    assert receipt.detail == {"contact_id": contact["id"], "contact_search": "refused"}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "hang_up_before"}, TransientError),
        ({"kind": "status", "status": 500}, TransientError),
        ({"kind": "rate_limit"}, RateLimited),
        ({"kind": "error", "code": "NO_AUTH_FOUND", "status": 401}, CredentialsError),
    ],
)
def test_a_search_that_fails_sends_nothing(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, fault: dict[str, Any], expected: type[DeliveryError]
) -> None:
    sandbox.fault(service="bitrix24", match=FIND, **fault)

    with pytest.raises(expected):
        deliver(lead, sandbox, make_call())
    assert sandbox.stored("bitrix24")["leads"] == []


@pytest.mark.parametrize(
    ("phone", "forms"),
    [
        ("8 (999) 000-00-01", ["8 (999) 000-00-01", "+79990000001", "79990000001", "89990000001"]),
        ("+79990000001", ["+79990000001", "79990000001", "89990000001"]),
        ("9990000001", ["9990000001", "+79990000001", "79990000001", "89990000001"]),
        ("+1 212 555 0100", ["+1 212 555 0100", "+12125550100", "12125550100"]),
        ("12345", []),
        ("0000000000", []),
        ("+7 (999) 999-99-99", []),
        ("1234567890", []),
        ("", []),
        (
            "call me at +7 999 000 00 01 or at +1 212 555 0100",
            ["+79990000001", "79990000001", "89990000001", "+12125550100", "12125550100"],
        ),
        ("٠١٢٣٤٥٦٧٨٩٠", []),
        ("$result[0][0] 79990000001", ["+79990000001", "79990000001", "89990000001"]),
    ],
)
def test_a_phone_is_looked_for_in_the_forms_it_may_be_stored_in(phone: str, forms: list[str]) -> None:
    assert phone_forms(phone, region="RU") == forms


@pytest.mark.parametrize(
    "ways",
    [
        {"phone": "9995550011"},
        {"phone": "8 (999) 555-00-11 доб. 12"},
        {"phone": "8 495 111-22-33, 8 999 555-00-11"},
        {"phone": "８９９９５５５００１１"},
        {"phone": "8(999)555-00-11 8(495)111-22-33"},
        {"phone": "8 999 555 00 11 10:00-18:00"},
        {"email": "other@example.com, Anna@Example.com"},
        {"email": "Анна <anna@example.com>"},
        {"email": "«anna＠example.com»."},
    ],
)
def test_a_known_person_is_found_however_the_way_to_reach_him_is_typed(
    sandbox: Sandbox, make_call: MakeCall, ways: dict[str, Any]
) -> None:
    known = add_contact(sandbox, phone="+79995550011", email="anna@example.com")

    receipt = deliver(Lead(id="1", name="Анна", **ways), sandbox, make_call(), settings={"entity": "deal"})

    assert receipt.detail["contact_id"] == known
    assert len(sandbox.stored("bitrix24")["contacts"]) == 1


def test_each_of_two_phones_and_two_addresses_is_stored_on_its_own(sandbox: Sandbox, make_call: MakeCall) -> None:
    lead = Lead(id="1", phone="89990000001, 89990000002", email="anna@example.com anna@почта.рф")
    deliver(lead, sandbox, make_call())

    assert [way["value"] for way in only(sandbox.stored("bitrix24")["leads"])["fm"]] == [
        "+79990000001",
        "+79990000002",
        "anna@example.com",
        "anna@xn--80a1acny.xn--p1ai",
    ]


def test_a_portal_in_simple_mode_makes_a_deal_of_the_lead_and_says_so(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.configure("bitrix24", crm_mode="simple")
    receipt = deliver(lead, sandbox, make_call())

    stored = sandbox.stored("bitrix24")
    item, deal = only(stored["leads"]), only(stored["deals"])
    assert (item["stageId"], deal["leadId"]) == ("CONVERTED", item["id"])
    assert receipt == Receipt(external_id=str(item["id"]), detail={"converted": True})


def test_a_lead_that_a_simple_portal_has_converted_is_found_by_its_key(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.configure("bitrix24", crm_mode="simple")
    known = add_contact(sandbox, phone=lead.phone)
    deliver(lead, sandbox, make_call())

    found = find(lead, sandbox, make_call())

    assert found is not None
    assert found.detail == {"contact_id": known, "converted": True}
    assert len(sandbox.stored("bitrix24")["contacts"]) == 1
