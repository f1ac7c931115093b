"""Bitrix24's mapped fields: the portal is asked what it has before anything is sent, and is believed for an hour."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from leadcast.core.errors import CredentialsError, RejectedError, TransientError
from leadcast.core.model import Lead
from leadcast.integrations.bitrix24.integration import Bitrix24Settings
from leadcast.sandbox import Sandbox
from tests.contract.bitrix24 import ADD, NO_SEARCH, MakeCall, Remembered, deliver, methods, only

ASK = "crm.item.fields.json"


def test_mapped_fields_are_filled_in_by_either_name(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    fields = {
        "ufCrm_1721244707107": "{lead_phone}",
        "UF_CRM_CITY": "Казань",
        "UF_CRM_AREA": "{{ lead.custom['Площадь'] }}",
        "UF_CRM_3_DIGIT10": "its camelCase name cannot be guessed",
        "opportunity": 15000,
        "TITLE": "Заявка {lead_id}",
    }
    deliver(lead, sandbox, make_call(), settings={"fields": fields})

    item = only(sandbox.stored("bitrix24")["leads"])
    assert item["ufCrm_1721244707107"] == "+79990000001"
    assert (item["ufCrmCity"], item["ufCrmArea"]) == ("Казань", 42)
    assert item["ufCrm_3_DIGIT10"] == "its camelCase name cannot be guessed"
    assert (item["opportunity"], item["title"]) == (15000, "Заявка 7781")


def test_a_field_that_takes_several_values_takes_one(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    for given in ("окна", ["окна", "двери"]):
        sandbox.reset()
        deliver(lead, sandbox, make_call(), settings={"fields": {"ufCrmInterests": given}})
        expected = given if isinstance(given, list) else [given]
        assert only(sandbox.stored("bitrix24")["leads"])["ufCrmInterests"] == expected


def test_what_a_lead_does_not_have_leaves_our_own_value(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    fields = {"title": "{{ lead.custom['Пусто'] }}", "ufCrmCity": "{{ lead.custom['Пусто'] }}"}
    deliver(lead, sandbox, make_call(), settings={"fields": fields})

    item = only(sandbox.stored("bitrix24")["leads"])
    assert (item["title"], item["ufCrmCity"]) == ("Анна Пример", None)


def test_a_deals_contact_has_fields_of_its_own(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    settings = {"entity": "deal", "fields": {"begindate": "2026-01-01"}, "contact_fields": {"post": "Директор"}}
    deliver(lead, sandbox, make_call(), settings=settings)

    stored = sandbox.stored("bitrix24")
    assert only(stored["deals"])["begindate"] == "2026-01-01"
    assert only(stored["contacts"])["post"] == "Директор"


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"fields": {"ufCrm_404": "x", "ufCrmCity": "x"}}, "ufCrm_404"),
        ({"fields": {"UF_CRM_GONE": "x", "nonsense": 1}}, "UF_CRM_GONE, nonsense"),
        ({"fields": {"isReturnCustomer": True}}, "isReturnCustomer"),
        ({"fields": {"begindate": "2026-01-01"}}, "begindate"),
        ({"entity": "deal", "contact_fields": {"opportunity": 1}}, "opportunity"),
    ],
    ids=["no such user field", "several", "read-only", "a deal's field on a lead", "a lead's field on a contact"],
)
def test_a_bad_mapping_is_told_before_anything_is_sent(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, settings: dict[str, Any], missing: str
) -> None:
    with pytest.raises(RejectedError, match=f": {missing}\\. Nothing was sent") as refused:
        deliver(lead, sandbox, make_call(), settings=settings)

    assert refused.value.code == "mapping"
    assert methods(sandbox) == [(ASK, 200)]


@pytest.mark.parametrize(
    "target", ["id", "originId", "ORIGIN_ID", "originatorId", "contacts", "companies", "", "ufCrm 1", "a" * 65, "поле"]
)
@pytest.mark.parametrize("name", ["fields", "contact_fields"])
def test_what_holds_our_key_or_is_no_fields_name_is_refused_at_the_door(name: str, target: str) -> None:
    with pytest.raises(ValidationError):
        Bitrix24Settings.model_validate({name: {target: "x"}, "entity": "deal"})


def test_the_portal_is_asked_once_for_many_leads(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    memory = Remembered()
    for number in range(3):
        settings = NO_SEARCH | {"fields": {"ufCrmCity": "Казань"}}
        deliver(lead, sandbox, make_call(key=f"k-{number}", memory=memory), settings=settings)

    assert [name for name, _ in methods(sandbox)] == [ASK, *[f"{ADD}.json"] * 3]
    assert memory.writes == 1


def test_a_field_that_was_made_since_is_asked_for_again(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    memory = Remembered()
    deliver(lead, sandbox, make_call(memory=memory), settings=NO_SEARCH | {"fields": {"ufCrmCity": "x"}})
    new = NO_SEARCH | {"fields": {"ufCrmNew": "x"}}
    with pytest.raises(RejectedError):
        deliver(lead, sandbox, make_call(key="k-1", memory=memory), settings=new)

    sandbox.configure("bitrix24", user_fields={"UF_CRM_CITY": "string", "UF_CRM_NEW": "string"})
    deliver(lead, sandbox, make_call(key="k-1", memory=memory), settings=new)
    deliver(lead, sandbox, make_call(key="k-2", memory=memory), settings=NO_SEARCH | {"fields": {"ufCrmCity": "x"}})

    assert [name for name, _ in methods(sandbox)].count(ASK) == 3
    assert [item.get("ufCrmNew") for item in sandbox.stored("bitrix24")["leads"]] == [None, "x", None]


def test_leads_and_deals_have_other_fields(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    memory = Remembered()
    deliver(lead, sandbox, make_call(memory=memory), settings={"fields": {"companyTitle": "x"}})

    with pytest.raises(RejectedError, match=r"no such field of a deal.*companyTitle"):
        deliver(lead, sandbox, make_call(memory=memory), settings={"entity": "deal", "fields": {"companyTitle": "x"}})


def test_without_an_answer_about_the_fields_nothing_is_sent(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    for fault, expected in (
        ({"kind": "hang_up_after"}, TransientError),
        ({"kind": "non_json", "status": 200}, TransientError),
        ({"kind": "answer", "status": 200, "body": {"result": []}}, TransientError),
        ({"kind": "error", "code": "ACCESS_DENIED", "status": 400}, CredentialsError),
    ):
        sandbox.fault(service="bitrix24", match="crm.item.fields", **fault)
        with pytest.raises(expected):
            deliver(lead, sandbox, make_call(), settings={"fields": {"ufCrmCity": "x"}})
    assert sandbox.stored("bitrix24")["leads"] == []


def test_what_a_custom_field_says_is_not_repeated_in_an_error(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    text = "Недопустимое значение поля ufCrmCity: Тайная улица, 1"
    sandbox.fault(service="bitrix24", kind="error", match=ADD, code="CRM_FIELD_ERROR_VALUE_NOT_VALID", text=text)
    private = replace(lead, custom={"city": "Тайная улица, 1"})

    with pytest.raises(RejectedError) as refused:
        deliver(private, sandbox, make_call(), settings={"fields": {"ufCrmCity": "{{ lead.custom.city }}"}})
    assert "поля ufCrmCity: ***" in str(refused.value)


@pytest.mark.parametrize(
    ("mapped", "sent"),
    [
        ("{{ lead.phone | phone }}", "+89990000001"),
        (["{{ lead.name | upper }}"], "АННА ПРИМЕР"),
        ("{{ lead.custom.inn }}", "771234567890"),
        ("{{ lead.custom.inn - 1 }}", "771234567889"),
    ],
)
def test_nor_is_what_a_mapping_has_made_of_the_lead(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, mapped: Any, sent: str
) -> None:
    text = f"Недопустимое значение поля ufCrmCity: {sent}, а не Казань"
    sandbox.fault(service="bitrix24", kind="error", match=ADD, code="CRM_FIELD_ERROR_VALUE_NOT_VALID", text=text)
    private = replace(lead, phone="8 (999) 000-00-01", custom={"inn": 771234567890})

    with pytest.raises(RejectedError) as refused:
        deliver(private, sandbox, make_call(), settings={"fields": {"ufCrmCity": mapped, "ufCrmArea": "Казань"}})
    assert "поля ufCrmCity: ***, а не Казань" in str(refused.value)


BB_TAG = re.compile(r"\[/?[a-z*]", re.IGNORECASE)
HTML_TAG = re.compile(r"<[/!?]?[a-z]", re.IGNORECASE)


@pytest.mark.parametrize("settings", [{}, {"fields": {"comments": "{lead_comment}"}}], ids=["ours", "mapped"])
@pytest.mark.parametrize(
    "comment",
    [
        "[url=https://evil.example/]счёт[/url] & ещё",
        "[img]https://evil.example/a.png[/img]",
        "[user=1]Директор[/user] [LIST][*]a[/LIST]",
        "<script>alert(1)</script> & more",
        "<!-- a --> <?php",
    ],
)
def test_a_strangers_comment_is_no_markup_and_reads_as_it_was_written(
    sandbox: Sandbox, make_call: MakeCall, comment: str, settings: dict[str, Any]
) -> None:
    deliver(Lead(id="1", comment=comment), sandbox, make_call(), settings=settings)

    stored = sandbox.stored("bitrix24")["leads"][0]["comments"]
    assert not BB_TAG.search(stored)
    assert not HTML_TAG.search(stored)
    assert stored.replace("\u2060", "") == (comment if settings else f"Comment: {comment}")


def test_brackets_that_are_no_tags_stay_as_they_are(sandbox: Sandbox, make_call: MakeCall) -> None:
    deliver(Lead(id="1", comment="размер [42] < 50 & > 10"), sandbox, make_call())

    assert sandbox.stored("bitrix24")["leads"][0]["comments"] == "Comment: размер [42] < 50 & > 10"


def test_how_a_stranger_calls_a_field_passes_for_no_label_of_ours(sandbox: Sandbox, make_call: MakeCall) -> None:
    custom = {"Source": "VIP", "So\u200burce": "VIP", "Source: VIP, Manager": "Eve", "[b]Source[/b]:": "VIP"}
    deliver(Lead(id="1", custom=custom), sandbox, make_call())

    assert sandbox.stored("bitrix24")["leads"][0]["comments"].splitlines() == [
        "«Source»: VIP",
        "«Source»: VIP",
        "«Source: VIP, Manager»: Eve",
        "«[\u2060b]Source[\u2060/b]:»: VIP",
    ]
