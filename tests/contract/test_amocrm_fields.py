"""amoCRM: custom fields of lead and contact, by id or code, filled in from the lead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from leadcast.core.errors import RejectedError
from leadcast.core.model import Lead
from leadcast.integrations.amocrm.settings import AmoCrmSettings
from leadcast.sandbox import Sandbox
from tests.contract.amocrm_deliveries import MakeCall, calls, deliver, find, stored_lead


def values_of(entity: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Field code → values."""
    return {field["field_code"]: field["values"] for field in entity["custom_fields_values"] or []}


def test_fields_of_the_lead_are_given_by_id_or_code(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    fields = {
        "88003": "{lead_source}",
        "UTM_SOURCE": "{{ lead.utm.utm_source }}",
        "BUDGET": "{{ lead.custom['Площадь'] }}",
        "URGENT": "{{ lead.custom['Срочно'] }}",
        "88006": {"enum_id": 880061},
        "88007": 1767225600,
    }
    deliver(lead, sandbox, make_call(), settings={"fields": fields})

    assert values_of(stored_lead(sandbox)) == {
        "SOURCE": [{"value": "landing-a"}],
        "UTM_SOURCE": [{"value": "yandex"}],
        "BUDGET": [{"value": 42}],
        "URGENT": [{"value": True}],
        "CITY": [{"enum_id": 880061}],
        "DEADLINE": [{"value": 1767225600}],
    }


def test_a_number_for_a_text_field_is_sent_once_more_as_text(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    fields = {"SOURCE": "{{ lead.custom['Площадь'] }}", "COMMENT": ["x", 5.0, 5.25], "BUDGET": 7}
    deliver(lead, sandbox, make_call(), settings={"fields": fields, "contact_fields": {"POSITION": 5}})

    stored = stored_lead(sandbox)
    assert values_of(stored) == {
        "SOURCE": [{"value": "42"}],
        "COMMENT": [{"value": "x"}, {"value": "5"}, {"value": "5.25"}],
        "BUDGET": [{"value": 7}],
    }
    assert values_of(stored["contacts"][0])["POSITION"] == [{"value": "5"}]
    assert [status for _, path, status in calls(sandbox) if path == "/api/v4/leads/complex"] == [400, 200]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"SOURCE": 5, "NO_SUCH_FIELD": "x"}, "custom_fields_values.1.field_code NotSupportedChoice (NO_SUCH_FIELD)"),
        ({"URGENT": "yes"}, "custom_fields_values.0.values.0.value InvalidType (URGENT)"),
        ({"88007": "tomorrow"}, "custom_fields_values.0.values.0.value InvalidType (88007)"),
        ({"SOURCE": True}, "custom_fields_values.0.values.0.value InvalidType (SOURCE)"),
    ],
)
def test_what_is_no_number_for_text_is_refused_at_once_and_named(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(RejectedError) as refused:
        deliver(lead, sandbox, make_call(), settings={"fields": fields, "find_contact": False})

    assert words in str(refused.value)
    assert len(calls(sandbox)) == 1


def test_a_refusal_names_the_mapped_field(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    settings = {"fields": {"SOURCE": "x", "99999": "y"}, "contact_fields": {"NO_SUCH_FIELD": "x"}}
    with pytest.raises(RejectedError) as refused:
        deliver(lead, sandbox, make_call(), settings=settings)

    assert "custom_fields_values.1.field_id NotSupportedChoice (99999)" in str(refused.value)
    assert "contacts.0.custom_fields_values.2.field_code NotSupportedChoice (NO_SUCH_FIELD)" in str(refused.value)


def test_name_and_price_of_the_lead_may_be_mapped(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    fields = {"name": "Заявка {lead_id}: {lead_name}", "price": "{{ lead.custom['Площадь'] }}00"}
    deliver(lead, sandbox, make_call(), settings={"fields": fields, "price": 7})

    stored = stored_lead(sandbox)
    assert (stored["name"], stored["price"]) == ("Заявка 7781: Анна Пример", 4200)


@pytest.mark.parametrize("number", [10**400, -(10**400), 1e300, -1], ids=["huge", "low", "float", "negative"])
def test_a_number_that_is_no_price_is_refused_before_anything_is_sent(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, number: float
) -> None:
    asking = replace(lead, custom={"price": number})
    with pytest.raises(RejectedError, match="negative or too large"):
        deliver(asking, sandbox, make_call(), settings={"fields": {"price": "{{ lead.custom.price }}"}})
    assert calls(sandbox) == []


def test_what_gives_nothing_is_left_out_and_the_settings_own_value_counts(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    fields = {"name": "", "price": "{{ lead.custom['Пусто'] }}", "SOURCE": None, "COMMENT": ["", None], "88005": False}
    deliver(lead, sandbox, make_call(), settings={"fields": fields, "price": 7})

    stored = stored_lead(sandbox)
    assert (stored["name"], stored["price"]) == ("Анна Пример", 7)
    assert values_of(stored) == {"URGENT": [{"value": False}]}


def test_fields_of_the_contact_stand_beside_its_phone_and_e_mail(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    fields = {"first_name": "Анна", "last_name": "Пример", "POSITION": "Директор"}
    deliver(lead, sandbox, make_call(), settings={"contact_fields": fields})

    [contact] = stored_lead(sandbox)["contacts"]
    assert (contact["first_name"], contact["last_name"]) == ("Анна", "Пример")
    assert list(values_of(contact)) == ["PHONE", "EMAIL", "POSITION"]


def test_a_mapped_phone_stands_instead_of_the_leads_own_and_a_list_gives_several(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    phones = [{"value": "{lead_phone}", "enum_code": "MOB"}, "+79990000002", {"value": "", "enum_code": "HOME"}]
    deliver(lead, sandbox, make_call(), settings={"contact_fields": {"PHONE": phones, "EMAIL": None}})

    [contact] = stored_lead(sandbox)["contacts"]
    assert values_of(contact) == {
        "EMAIL": [{"value": "anna@example.com", "enum_code": "WORK"}],
        "PHONE": [{"value": "+79990000001", "enum_code": "MOB"}, {"value": "+79990000002"}],
    }


def test_the_contact_is_looked_for_by_the_mapped_phone(sandbox: Sandbox, make_call: MakeCall) -> None:
    settings = {"contact_fields": {"PHONE": "{{ lead.custom.mobile }}"}}
    first = deliver(Lead(id="1", custom={"mobile": "89990000007"}), sandbox, make_call(), settings=settings)

    second = deliver(
        Lead(id="2", custom={"mobile": "+7 999 000-00-07"}), sandbox, make_call(key="b-0"), settings=settings
    )

    assert second.detail["contact_id"] == first.detail["contact_id"]


def test_a_mapped_name_makes_a_contact_and_a_constant_alone_does_not(sandbox: Sandbox, make_call: MakeCall) -> None:
    deliver(Lead(id="1"), sandbox, make_call(), settings={"contact_fields": {"POSITION": "Директор"}})
    deliver(Lead(id="2"), sandbox, make_call(key="b-0"), settings={"contact_fields": {"name": "Лид {lead_id}"}})

    assert [contact["name"] for contact in sandbox.stored("amocrm")["contacts"]] == ["Лид 2"]


def test_the_key_has_its_field_beside_the_mapped_ones(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    settings = {"key_field": "EXT_ID", "fields": {"SOURCE": "{lead_source}"}}
    call = make_call()
    deliver(lead, sandbox, call, settings=settings)

    assert list(values_of(stored_lead(sandbox))) == ["EXT_ID", "SOURCE"]
    assert find(lead, sandbox, call, **settings) is not None


@pytest.mark.parametrize(
    ("price", "expected"),
    [(15000, 15000), (99.5, 100), ("15 000", 15000), ("15\u00a0000,49", 15000), ("0", 0), ("", None), (None, None)],
)
def test_a_price_is_a_whole_number_however_it_is_written(
    sandbox: Sandbox, make_call: MakeCall, price: Any, expected: int | None
) -> None:
    lead = Lead(id="1", custom={"price": price})
    deliver(lead, sandbox, make_call(), settings={"fields": {"price": "{{ lead.custom.price }}"}})

    assert stored_lead(sandbox)["price"] == (expected or 0)


@pytest.mark.parametrize("price", ["дорого", "15000 руб.", "-1", "1e5", True, [1], {"value": 5}, -1, 10**15, "9" * 400])
def test_a_price_that_is_no_number_is_told_before_anything_is_sent(
    sandbox: Sandbox, make_call: MakeCall, price: Any
) -> None:
    lead = Lead(id="1", phone="+79990000001", custom={"price": price})

    with pytest.raises(RejectedError, match="price") as refused:
        deliver(lead, sandbox, make_call(), settings={"fields": {"price": "{{ lead.custom.price }}"}})
    assert "дорого" not in str(refused.value)
    assert calls(sandbox) == []


def test_more_values_than_amocrm_takes_are_told_before_anything_is_sent(sandbox: Sandbox, make_call: MakeCall) -> None:
    lead = Lead(id="1", name="Анна", custom={"many": ["x"] * 41})

    for name in ("fields", "contact_fields"):
        with pytest.raises(RejectedError, match="amoCRM takes 40"):
            deliver(lead, sandbox, make_call(), settings={name: {"POSITION": "{{ lead.custom.many }}"}})
    assert calls(sandbox) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fields": {"Мой номер": "x"}}, "fields: 'Мой номер' can be no field"),
        ({"fields": {"first-name": "x"}}, "fields: 'first-name' can be no field"),
        ({"fields": {"0": "x"}}, "fields: '0' can be no field"),
        ({"fields": {"9" * 40: "x"}}, "can be no field"),
        ({"key_field": 88001, "fields": {"088001": "x"}}, "can be no field"),
        ({"contact_fields": {"x" * 65: "x"}}, "can be no field"),
        ({"fields": {"status_id": 5}}, "fields: 'status_id' is a setting of its own"),
        ({"fields": {"price": "дорого"}}, "fields: 'price' is no number"),
        ({"fields": {"price": [1]}}, "fields: 'price' is no number"),
        ({"key_field": 88001, "fields": {"88001": "x"}}, "holds the delivery's key"),
        ({"key_field": "EXT_ID", "fields": {f"F{n}": "x" for n in range(40)}}, "fields: 41 custom values"),
        ({"fields": {"A": ["x"] * 41}}, "fields: 41 custom values"),
        ({"contact_fields": {f"F{n}": "x" for n in range(39)}}, "contact_fields: 41 custom values"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_at_the_door(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AmoCrmSettings.model_validate(settings)
    assert words in str(refused.value)


def test_forty_values_pass_the_door() -> None:
    ways = {"PHONE": "1", "EMAIL": "2"}
    AmoCrmSettings.model_validate({"fields": {"name": "x", "price": 1} | {f"F{n}": "x" for n in range(40)}})
    AmoCrmSettings.model_validate({"contact_fields": {"name": "x"} | ways | {f"F{n}": "x" for n in range(38)}})
