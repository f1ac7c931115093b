"""What the doors take, and what they refuse with the field that is at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leadcast.core.errors import BodyTooLarge, InvalidRequest
from leadcast.core.model import Priority
from leadcast.request import MAX_BODY_BYTES, LeadData, check, fingerprint, parse_body, validate

EXAMPLES = Path(__file__).parents[2] / "examples"
MINIMAL: dict[str, Any] = {"lead_id": 1, "integrations": [{"type": "telegram"}]}


def refused(data: Any) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(InvalidRequest) as caught:
        validate(data)
    return [(error.loc, error.msg) for error in caught.value.errors]


def test_the_seeds_request_is_taken_to_the_letter() -> None:
    request = validate(parse_body((EXAMPLES / "seed-request.json").read_bytes()))
    assert request.lead_id == "123"
    assert request.types() == ("amocrm", "email", "telegram")
    assert request.priority is Priority.NORMAL


@pytest.mark.parametrize("lead_id", [123, "123", "crm:7781", "a-b_c.d@e"])
def test_a_lead_id_may_be_a_number_or_a_string(lead_id: object) -> None:
    assert validate({**MINIMAL, "lead_id": lead_id}).lead_id == str(lead_id)


@pytest.mark.parametrize("lead_id", [True, None, "", " 1", "a/b", "x" * 129, 1.5, [1]])
def test_any_other_lead_id_is_refused(lead_id: object) -> None:
    assert refused({**MINIMAL, "lead_id": lead_id})[0][0] == ("lead_id",)


def test_an_empty_array_of_phps_is_an_empty_object() -> None:
    request = validate(
        {
            "lead_id": 1,
            "integrations": [{"type": "telegram", "settings": []}],
            "credentials": {"telegram": []},
            "lead": {"name": "Ann", "utm": [], "custom": []},
        }
    )
    assert (request.integrations[0].settings, request.credentials) == ({}, {"telegram": {}})
    assert validate({**MINIMAL, "credentials": []}).credentials == {}
    assert refused({**MINIMAL, "credentials": [1]})[0][0] == ("credentials",)


def test_an_unknown_integration_is_named_with_those_there_are() -> None:
    ((loc, msg),) = refused({"lead_id": 1, "integrations": [{"type": "telegram"}, {"type": "fax"}]})
    assert loc == ("integrations", 1, "type")
    assert "'fax'" in msg
    assert "email, amocrm, telegram, bitrix24, webhook" in msg


def test_every_field_at_fault_is_named_at_once() -> None:
    found = refused(
        {
            "lead_id": 1,
            "integrations": [{"type": "telegram", "settings": {"nonsense": 1}}, {"type": "email"}],
            "credentials": {"email": {"emails": "not a list"}, "amocrm": {}},
        }
    )
    assert {loc for loc, _ in found} >= {
        ("integrations", 0, "settings", "nonsense"),
        ("credentials", "email", "emails"),
        ("credentials", "amocrm"),
    }


def test_no_error_repeats_a_value_that_was_sent() -> None:
    secret = "s3cret-value-that-must-not-come-back"
    data = {**MINIMAL, "credentials": {"telegram": {"bot_token": {"x": secret}, "chat_id": [secret]}}, "junk": secret}
    with pytest.raises(InvalidRequest) as caught:
        validate(data)
    assert secret not in str(caught.value)
    assert secret not in repr(caught.value.errors)


def test_credentials_may_name_an_airflow_connection() -> None:
    validate({**MINIMAL, "credentials": {"telegram": {"conn_id": "my_bot"}}})
    assert refused({**MINIMAL, "credentials": {"telegram": {"conn_id": "no spaces"}}})[0][0][-1] == "conn_id"


@pytest.mark.parametrize("count", [0, 51])
def test_a_batch_has_1_to_50_integrations(count: int) -> None:
    assert refused({"lead_id": 1, "integrations": [{"type": "telegram"}] * count})[0][0] == ("integrations",)


@pytest.mark.parametrize("body", [b"", b"{", b"[1,]", b'{"a": NaN}', b"\xff\xfe", b"nul", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_body(body)


def test_a_key_that_stands_twice_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="'lead_id' stands twice"):
        parse_body(b'{"lead_id": 1, "integrations": [], "lead_id": 2}')


def test_a_body_over_1_mib_is_refused() -> None:
    with pytest.raises(BodyTooLarge, match=str(MAX_BODY_BYTES)):
        parse_body(b" " * (MAX_BODY_BYTES + 1))


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_no_service_takes_is_refused_with_its_place(text: str) -> None:
    ((loc, _),) = refused({**MINIMAL, "lead": {"name": text}})
    assert loc == ("lead", "name")


@pytest.mark.parametrize("text", ["<b>&", "a\r\nBcc: x@y", "{{ 7*7 }} {lead_name}", "‮evil", "🦊" * 500])
def test_hostile_but_possible_text_is_taken_as_it_is(text: str) -> None:
    request = validate({**MINIMAL, "lead": {"name": text, "custom": {"field": text}}})
    assert request.lead is not None
    assert request.lead.name == text
    assert request.lead.custom == {"field": text}


def test_a_number_beyond_all_bounds_is_refused_with_its_place() -> None:
    body = parse_body(b'{"lead_id": 1, "integrations": [{"type": "email"}], "lead": {"custom": {"x": 1e999}}}')
    assert refused(body)[0][0] == ("lead", "custom", "x")


def test_over_long_values_are_refused_with_their_place() -> None:
    assert refused({**MINIMAL, "lead": {"name": "x" * 1025}})[0][0] == ("lead", "name")


def test_a_mapping_that_cannot_be_filled_in_is_refused_with_its_place() -> None:
    settings = {"fields": {"city": "{{ lead.town }}"}}
    [(loc, msg)] = refused({"lead_id": 1, "integrations": [{"type": "webhook", "settings": settings}]})
    assert loc == ("integrations", 0, "settings", "fields")
    assert "'city': no 'lead.town'" in msg


def test_a_request_is_checked_together_with_the_settings_that_it_starts_from() -> None:
    request = {"lead_id": 1, "integrations": [{"type": "webhook", "settings": {"fields": {"phone.home": 1}}}]}
    validate(request, defaults={"webhook": {"fields": {"phone.work": 2}}, "email": {"fields": {"phone": 2}}})
    with pytest.raises(InvalidRequest, match=r"'phone\.home': 'phone' stands there as well"):
        validate(request, defaults={"webhook": {"fields": {"phone": 2}}})


def test_custom_fields_keep_their_kind() -> None:
    lead = check(LeadData, {"custom": {"age": 30, "vip": True, "ratio": 0.5, "note": None}})
    assert lead.custom == {"age": 30, "vip": True, "ratio": 0.5, "note": None}
    assert isinstance(lead.custom["age"], int)


def test_equal_requests_have_one_fingerprint_however_they_are_written() -> None:
    one = json.loads('{"lead_id": 1, "integrations": [{"type": "email", "settings": {}}]}')
    two = json.loads('{ "integrations":[{"settings":{},"type":"email"}],"lead_id":1 }')
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint({**one, "lead_id": 2})
