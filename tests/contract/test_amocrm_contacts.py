"""amoCRM: a contact that is there already is found again and linked, not doubled."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from leadcast.core.errors import CredentialsError, RateLimited, RejectedError, TransientError
from leadcast.core.model import Lead
from leadcast.core.setting_choices import Language
from leadcast.core.settings import Settings
from leadcast.integrations.amocrm.contacts import MAX_PAGES, PAGE
from leadcast.sandbox import Sandbox
from tests.contract.amocrm_deliveries import MakeCall, Progress, calls, deliver, find, stored_lead


def a_contact(sandbox: Sandbox, name: str = "Аня", *, phone: str = "", email: str = "", count: int = 1) -> int:
    """Stores contacts; the id of the first."""
    fields = [
        {"field_code": code, "values": [{"value": value, "enum_code": "WORK"}]}
        for code, value in (("PHONE", phone), ("EMAIL", email))
        if value
    ]
    answer = requests.post(
        f"{sandbox.amocrm_url}/api/v4/contacts",
        json=[{"name": name, "custom_fields_values": fields}] * count,
        headers={"Authorization": "Bearer t"},
        timeout=5,
    )
    return int(answer.json()["_embedded"]["contacts"][0]["id"])


def searches(sandbox: Sandbox) -> list[str]:
    entries = sandbox.received("amocrm")
    return [
        entry["query"]["query"] for entry in entries if (entry["method"], entry["path"][-9:]) == ("GET", "/contacts")
    ]


@pytest.mark.parametrize(
    "stored",
    [
        "+79990000001",
        "89990000001",
        "8 (999) 000-00-01",
        "+7 999 000 00 01 доб. 5",
        "9990000001",
        "тел.: 8-999-000-00-01",
    ],
)
@pytest.mark.parametrize("given", ["+7 (999) 000-00-01", "8 999 000 00 01", "9990000001"])
def test_a_contact_is_found_by_a_phone_in_any_form(
    sandbox: Sandbox, make_call: MakeCall, stored: str, given: str
) -> None:
    contact_id = a_contact(sandbox, phone=stored)

    receipt = deliver(Lead(id="1", name="Анна", phone=given), sandbox, make_call())

    assert receipt.detail == {"contact_id": contact_id, "contact_found": True, "note": True}
    assert [contact["id"] for contact in stored_lead(sandbox)["contacts"]] == [contact_id]
    assert len(sandbox.stored("amocrm")["contacts"]) == 1


def test_a_contact_is_found_by_its_e_mail_whatever_the_case(sandbox: Sandbox, make_call: MakeCall) -> None:
    contact_id = a_contact(sandbox, email="Anna@Example.com")

    receipt = deliver(Lead(id="1", phone="+79990000009", email=" anna@example.COM"), sandbox, make_call())

    assert receipt.detail["contact_id"] == contact_id
    assert searches(sandbox) == ["9990000009", "anna@example.com"]


@pytest.mark.parametrize(
    ("contact", "lead"),
    [
        ({"phone": "+79990000001", "email": "nanna@example.com"}, {"email": "anna@example.com"}),
        ({"name": "anna@example.com"}, {"email": "anna@example.com"}),
        ({"phone": "+49 999 000 00 01"}, {"phone": "+7 999 000 00 01"}),
        ({"phone": "+84 999 000 00 1"}, {"phone": "8 499 900 00 01"}),
        ({"phone": "79990000001234"}, {"phone": "+79990000001"}),
        ({"phone": "11111"}, {"phone": "1111"}),
    ],
)
def test_what_only_looks_alike_is_another_contact(
    sandbox: Sandbox, make_call: MakeCall, contact: dict[str, Any], lead: dict[str, Any]
) -> None:
    a_contact(sandbox, **contact)

    receipt = deliver(Lead(id="1", **lead), sandbox, make_call())

    assert "contact_found" not in receipt.detail
    assert len(sandbox.stored("amocrm")["contacts"]) == 2


def test_of_several_the_oldest_is_taken_and_the_phone_goes_before_the_e_mail(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    a_contact(sandbox, email=lead.email)
    oldest = a_contact(sandbox, phone=lead.phone, count=3)

    assert deliver(lead, sandbox, make_call()).detail["contact_id"] == oldest
    assert searches(sandbox) == ["9990000001"]


@pytest.mark.parametrize(
    "own", [{"name": "Анна Пример", "email": "anna@example.com"}, {"name": "пример АННА"}], ids=["e-mail", "name"]
)
def test_of_those_who_share_a_phone_the_one_who_wrote_goes_before_an_older_one(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, own: dict[str, Any]
) -> None:
    a_contact(sandbox, "Пётр Пример", phone=lead.phone, email="petr@example.com")
    anna = a_contact(sandbox, **own, phone=lead.phone)
    a_contact(sandbox, **own, phone=lead.phone)

    assert deliver(lead, sandbox, make_call()).detail["contact_id"] == anna


@pytest.mark.parametrize(
    "phone", ["0000000000", "+7 (999) 999-99-99", "81111111111", "+7", "1234567890", "7654", "1234567", "доб. 12345"]
)
def test_a_number_that_is_nobodys_finds_nobody(sandbox: Sandbox, make_call: MakeCall, phone: str) -> None:
    a_contact(sandbox, phone=phone)

    assert "contact_found" not in deliver(Lead(id="1", name="Анна", phone=phone), sandbox, make_call()).detail
    assert searches(sandbox) == []


@pytest.mark.parametrize("passing", ["is_deleted", "is_unsorted"])
def test_a_contact_that_may_be_gone_tomorrow_is_not_linked(sandbox: Sandbox, make_call: MakeCall, passing: str) -> None:
    fields = [{"field_code": "PHONE", "values": [{"value": "+79990000001"}]}]
    found = {"_embedded": {"contacts": [{"id": 5, passing: True, "custom_fields_values": fields}]}}
    sandbox.fault(service="amocrm", kind="answer", status=200, body=found, match="/contacts")

    deliver(Lead(id="1", phone="+79990000001"), sandbox, make_call())

    assert [path for method, path, _ in calls(sandbox) if method == "POST"] == ["/api/v4/leads/complex"]


def test_an_extension_is_not_taken_for_a_number(sandbox: Sandbox, make_call: MakeCall) -> None:
    a_contact(sandbox, phone="+7 495 765-43-21 доб. 12045")

    receipt = deliver(Lead(id="1", phone="+7 812 555-12-21 доб. 12045"), sandbox, make_call())

    assert "contact_found" not in receipt.detail


def test_the_second_lead_of_a_person_joins_the_contact_of_the_first(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    first = deliver(lead, sandbox, make_call())
    second = deliver(lead, sandbox, make_call(key="another-1"))

    assert second.external_id != first.external_id
    assert second.detail["contact_id"] == first.detail["contact_id"]
    assert len(sandbox.stored("amocrm")["contacts"]) == 1


def test_a_found_contact_is_left_as_it_is_and_the_note_says_who_wrote(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    a_contact(sandbox, "Аня", phone=lead.phone)

    deliver(lead, sandbox, make_call(settings=Settings(language=Language.RU)))

    stored = stored_lead(sandbox)
    [contact], [note] = stored["contacts"], stored["notes"]
    assert contact["name"] == "Аня"
    assert [field["field_code"] for field in contact["custom_fields_values"]] == ["PHONE"]
    assert stored["companies"] == []
    assert note["params"]["text"].splitlines()[:5] == [
        "Имя: Анна Пример",
        "Телефон: +79990000001",
        "E-mail: anna@example.com",
        "Компания: ООО Ромашка",
        "Комментарий: Перезвоните <b>завтра</b> & не позже 12:00",
    ]


def test_a_lead_of_a_found_contact_has_its_key_and_is_found_by_it(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    a_contact(sandbox, phone=lead.phone)
    progress = Progress()
    call = make_call(keep=progress.keep)

    receipt = deliver(lead, sandbox, call, settings={"tags": ["site"], "status_id": 50112})

    assert find(lead, sandbox, make_call(kept=progress.kept)) == receipt
    assert len(stored_lead(sandbox)["notes"]) == 1
    assert [tag["name"] for tag in stored_lead(sandbox)["tags"]] == ["site", f"ext:{call.key}"]


def test_a_contact_that_was_deleted_since_is_made_anew(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    a_contact(sandbox, phone=lead.phone)
    sandbox.fault(service="amocrm", kind="validation", match="/api/v4/leads?")

    receipt = deliver(lead, sandbox, make_call())

    assert "contact_found" not in receipt.detail
    assert stored_lead(sandbox)["companies"][0]["name"] == lead.company


def test_a_lead_that_is_refused_either_way_is_refused(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    a_contact(sandbox, phone=lead.phone)

    with pytest.raises(RejectedError, match="status_id NotSupportedChoice"):
        deliver(lead, sandbox, make_call(), settings={"status_id": 1})
    assert [path for method, path, _ in calls(sandbox) if method == "POST"][1:] == [
        "/api/v4/leads",
        "/api/v4/leads/complex",
    ]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 402}, CredentialsError),
        ({"kind": "status", "status": 403}, CredentialsError),
        ({"kind": "rate_limit", "retry_after": 300}, RateLimited),
        ({"kind": "status", "status": 500}, TransientError),
        ({"kind": "non_json", "status": 504}, TransientError),
        ({"kind": "non_json", "status": 200}, TransientError),
        ({"kind": "hang_up_after"}, TransientError),
    ],
)
def test_a_search_that_fails_fails_the_attempt_before_anything_is_sent(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, fault: dict[str, Any], error: type[Exception]
) -> None:
    sandbox.fault(service="amocrm", match="/contacts", **fault)

    with pytest.raises(error):
        deliver(lead, sandbox, make_call())
    assert [method for method, _, _ in calls(sandbox)] == ["GET"]


def test_a_search_that_is_refused_finds_nothing_and_the_lead_is_filed(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="amocrm", kind="status", status=400, match="/contacts", times=2)

    assert "contact_found" not in deliver(lead, sandbox, make_call()).detail
    assert stored_lead(sandbox)


def test_a_search_ends_though_everybody_has_such_a_number(sandbox: Sandbox, make_call: MakeCall) -> None:
    for _ in range(MAX_PAGES + 1):
        a_contact(sandbox, phone="+79990000001 99", count=PAGE)

    deliver(Lead(id="1", phone="+79990000001"), sandbox, make_call())
    assert len(searches(sandbox)) == MAX_PAGES


def test_nothing_is_looked_for_where_there_is_nothing_to_look_for_or_nobody_wants_it(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    a_contact(sandbox, phone=lead.phone)

    deliver(Lead(id="1", name="Анна", phone="112", email="нет"), sandbox, make_call())
    deliver(lead, sandbox, make_call(key="another-1"), settings={"find_contact": False})

    assert searches(sandbox) == []
    assert len(sandbox.stored("amocrm")["contacts"]) == 3


@pytest.mark.parametrize(
    "phone",
    [
        "9995550011",
        "8 (999) 555-00-11 доб. 12",
        "8 495 111-22-33, 8 999 555-00-11",
        "８９９９５５５００１１",
        "8(999)555-00-11 8(495)111-22-33",
        "8 999 555 00 11 10:00-18:00",
        "7.9995550011E+10",
        "\u202a+7 999 555-00-11\u202c",
    ],
)
def test_a_known_phone_is_found_however_it_is_typed(sandbox: Sandbox, make_call: MakeCall, phone: str) -> None:
    known = a_contact(sandbox, phone="+7 (999) 555-00-11")

    receipt = deliver(Lead(id="1", name="Анна", phone=phone), sandbox, make_call())

    assert receipt.detail["contact_id"] == known


def test_each_of_two_addresses_and_two_phones_is_looked_for_and_stored_on_its_own(
    sandbox: Sandbox, make_call: MakeCall
) -> None:
    lead = Lead(id="1", phone="89990000001, 89990000002", email="anna@example.com; anna@почта.рф")
    deliver(lead, sandbox, make_call())

    [contact] = sandbox.stored("amocrm")["contacts"]
    stored = {
        entry["field_code"]: [value["value"] for value in entry["values"]] for entry in contact["custom_fields_values"]
    }
    assert stored == {
        "PHONE": ["+79990000001", "+79990000002"],
        "EMAIL": ["anna@example.com", "anna@xn--80a1acny.xn--p1ai"],
    }
    for number, again in enumerate((Lead(id="2", phone="8 999 000 00 02"), Lead(id="3", email="Anna@Почта.рф"))):
        receipt = deliver(again, sandbox, make_call(key=f"again-{number}"))
        assert receipt.detail["contact_id"] == contact["id"]
