"""What the doors take, and what they refuse with the field that is at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from leadcast.core.json_body import parse_body
from leadcast.core.model import Lead, Priority
from leadcast.core.request_errors import InvalidRequest
from leadcast.flow.request import fingerprint, lead_of, validate

EXAMPLES = Path(__file__).parents[2] / "examples"
MINIMAL: dict[str, Any] = {"lead_id": 1, "integrations": [{"type": "telegram"}]}


def refused(data: Any) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(InvalidRequest) as caught:
        validate(data)
    return [(error.loc, error.msg) for error in caught.value.errors]


def lead_in(request: dict[str, Any]) -> Lead:
    """The lead of a request, when it has come in as a body."""
    read = validate(parse_body(json.dumps(request).encode()))
    assert read.lead is not None
    return read.lead.to_lead(read.lead_id)


def test_the_request_of_the_laravel_system_is_taken_to_the_letter() -> None:
    request = validate(parse_body((EXAMPLES / "laravel-request.json").read_bytes()))
    assert request.lead_id == "123"
    assert request.types() == ("amocrm", "email", "telegram")
    assert request.priority is Priority.NORMAL


@pytest.mark.parametrize("lead_id", [123, 0, "123", "crm:7781", "a-b_c.d@e", "1.0"])
def test_a_lead_id_may_be_a_number_or_a_string(lead_id: object) -> None:
    assert validate({**MINIMAL, "lead_id": lead_id}).lead_id == str(lead_id)


@pytest.mark.parametrize("lead_id", [1.0, " 1", "1\r\n", "\u200b1\ufeff", "\xa01 "])
def test_what_stands_around_a_lead_id_is_no_part_of_it(lead_id: object) -> None:
    assert validate({**MINIMAL, "lead_id": lead_id}).lead_id == "1"


@pytest.mark.parametrize("lead_id", [True, False, None, "", "a/b", "a b", "x" * 129, 1.5, 2.0**60, 1e300, [1], [], {}])
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
    assert (request.integrations[0].settings, request.credentials) == ({}, {})
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
            "credentials": {"email": {"emails": "not a list"}, "amocrm": {"access_token": "secret"}},
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


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_no_service_takes_is_refused_where_it_tells_what_to_do(text: str) -> None:
    settings = [{"type": "telegram", "settings": {"template": text}}]
    for data, way in (
        ({**MINIMAL, "integrations": settings}, ("integrations", 0, "settings", "template")),
        ({**MINIMAL, "credentials": {"telegram": {"bot_token": text}}}, ("credentials", "telegram", "bot_token")),
        ({**MINIMAL, "callback_url": f"https://example.com/{text}/"}, ("callback_url",)),
    ):
        ((loc, _),) = refused(data)
        assert loc == way


@pytest.mark.parametrize("text", ["<b>&", "{{ 7*7 }} {lead_name}", "🦊" * 500, "=?utf-8?b?0JA=?="])
def test_hostile_but_possible_text_is_taken_as_it_is(text: str) -> None:
    request = validate({**MINIMAL, "lead": {"name": text, "custom": {"field": text}}})
    assert request.lead is not None
    assert request.lead.name == text
    assert request.lead.custom == {"field": text}
    assert request.notes == ()


def test_a_number_beyond_all_bounds_is_refused_with_its_place_where_it_tells_what_to_do() -> None:
    body = parse_body(b'{"lead_id": 1, "integrations": [{"type": "webhook", "settings": {"fields": {"x": 1e999}}}]}')
    assert refused(body)[0][0] == ("integrations", 0, "settings", "fields", "x")


NOTHING: dict[str, Any] = {
    "lead": {
        "name": None, "phone": None, "email": None, "company": None, "comment": None, "source": None,
        "utm": {"utm_source": None}, "custom": {"city": None},
    },
    "integrations": [{"type": "telegram", "settings": None}, {"type": "email", "settings": {"template": None}}],
    "credentials": {"telegram": None, "email": {"emails": ["a@example.com", None, ""], "subject": None}},
    "callback_url": None,
    "priority": None,
}  # fmt: skip


def test_null_is_nothing_wherever_it_is_not_required() -> None:
    """Laravel's own middleware makes null of every empty field of a form."""
    request = validate({"lead_id": 1, **NOTHING})
    assert request == validate(
        {
            "lead_id": 1,
            "lead": {"utm": {"utm_source": ""}, "custom": {"city": None}},
            "integrations": [{"type": "telegram"}, {"type": "email"}],
            "credentials": {"email": {"emails": ["a@example.com"]}},
        }
    )
    assert request.notes == ()


@pytest.mark.parametrize("name", ["lead", "credentials", "callback_url", "priority"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_an_empty_member_of_a_request_is_none(name: str, value: object) -> None:
    assert validate({**MINIMAL, name: value}) == validate(MINIMAL)


@pytest.mark.parametrize("name", ["utm", "custom"])
@pytest.mark.parametrize("value", [None, "", [], {}, False])
def test_an_empty_group_of_fields_is_none(name: str, value: object) -> None:
    request = validate({**MINIMAL, "lead": {name: value}})
    assert request == validate({**MINIMAL, "lead": {}})
    assert request.notes == ()


def test_blank_credentials_are_none_and_the_connection_is_taken() -> None:
    blank = {"bot_token": "", "chat_id": None}
    assert validate({**MINIMAL, "credentials": {"telegram": blank}}).credentials == {}
    assert validate({**MINIMAL, "credentials": {"telegram": {"conn_id": " "}}}).credentials == {}


@pytest.mark.parametrize("kind", ["telegram", "webhook", "email"])
@pytest.mark.parametrize("blank", [{"bot_token": "", "chat_id": None}, {}, [], "", "\u200b", None])
def test_blank_credentials_are_none_whether_their_integration_is_asked_for_or_not(kind: str, blank: object) -> None:
    assert validate({**MINIMAL, "credentials": {kind: blank}}) == validate(MINIMAL)


@pytest.mark.parametrize("blank", ["", " ", "\u200b", None])
def test_a_setting_that_is_blank_is_not_given(blank: object) -> None:
    item = {"type": "telegram", "settings": {"chat_id": blank, "language": blank}}
    assert validate({**MINIMAL, "integrations": [item]}).integrations[0].settings == {}


def test_a_callback_url_that_nobody_sees_is_none() -> None:
    assert validate({**MINIMAL, "callback_url": "\u200b"}) == validate(MINIMAL)


def test_null_in_a_mapping_stays_a_constant_of_its_own() -> None:
    fields = {"fields": {"city": None, "name": "{lead_name}"}}
    request = validate({"lead_id": 1, "integrations": [{"type": "webhook", "settings": fields}]})
    assert request.integrations[0].settings == fields


@pytest.mark.parametrize(
    "wrong",
    [
        {"lead_id": None},
        {"integrations": None},
        {"integrations": [None]},
        {"integrations": [{"type": None}]},
        {"lead": "Anna"},
        {"lead": ["Anna"]},
        {"credentials": "secret"},
        {"integrations": {"type": "telegram"}},
        {"integrations": ["telegram"]},
        {"integrations": {"a": {"type": "telegram"}}},
        {"integrations": False},
        {"callback_url": 5},
        {"callback_url": True},
        {"callback_url": ["https://example.com"]},
        {"credentials": True},
        {"credentials": {"telegram": True}},
        {"credentials": {"telegram": "secret"}},
        {"credentials": {"Fax": {"number": 5}}},
        {"callbackurl": "https://example.com"},
    ],
)
def test_what_cannot_be_acted_on_is_refused(wrong: dict[str, Any]) -> None:
    assert refused({**MINIMAL, **wrong})[0][0][0] == next(iter(wrong))


@pytest.mark.parametrize("wrong", [[1], {"a": {}}, 1.5])
def test_no_error_names_the_types_that_pydantic_has_tried(wrong: object) -> None:
    """Of a field that is a number or a text, it calls one of them `constrained-str`."""
    data = {"lead_id": 1, "integrations": [{"type": "amocrm", "settings": {"key_field": wrong}}]}
    assert {loc for loc, _ in refused(data)} == {("integrations", 0, "settings", "key_field")}


def test_what_was_mended_in_the_lead_is_noted() -> None:
    request = validate({**MINIMAL, "lead": {"utm": {"utm_content": "x" * 4310}}})
    [note] = request.notes
    assert note.to_data() == {"loc": ["lead", "utm", "utm_content"], "msg": "cut to 1024 characters (had 4310)"}


def test_half_an_emoji_and_a_huge_number_come_in_with_the_body() -> None:
    lead = rb'{"comment": "fox \ud83e", "custom": {"a": 1e999}}'
    body = b'{"lead_id": 1, "integrations": [{"type": "email"}], "lead": ' + lead + b"}"
    request = validate(parse_body(body))
    assert request.lead is not None
    assert (request.lead.comment, request.lead.custom) == ("fox \ufffd", {"a": None})
    assert [note.loc[-1] for note in request.notes] == ["comment", "a"]
    assert len(fingerprint(parse_body(body))) == 64


LEFT_OUT = [{"loc": ["lead", "custom", "a"], "msg": "nested too deeply: left out"}]


@pytest.mark.parametrize("depth", [150, 500])
@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_in_a_lead_what_is_nested_too_deeply_is_left_out(depth: int, opens: bytes, closes: bytes) -> None:
    deep = opens * depth + b"0" + closes * depth
    body = b'{"lead_id": 1, "integrations": [{"type": "email"}], "lead": {"name": "A", "custom": {"a": ' + deep + b"}}}"
    request = validate(parse_body(body))
    assert request.lead is not None
    assert (request.lead.name, request.lead.custom) == ("A", {"a": None})
    assert [note.to_data() for note in request.notes] == LEFT_OUT
    assert fingerprint(parse_body(body)) == fingerprint(parse_body(body))


@pytest.mark.parametrize("way", [b'"settings":%s', b'"settings": {"fields": {"a": %s}}'])
def test_elsewhere_a_body_is_nested_only_so_deep(way: bytes) -> None:
    for depth in (150, 500):
        deep = way % (b"[" * depth + b"]" * depth)
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            validate(parse_body(b'{"lead_id": 1, "integrations": [{"type": "webhook", ' + deep + b"}]}"))


def test_what_other_doors_bring_is_nested_only_so_deep() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for data in ({**MINIMAL, "lead": {"name": deep}}, {**MINIMAL, "priority": deep}):
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            validate(data)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        lead_of({"name": deep})


NONE_OF_PHP = [False, 0, 0.0, [], {}]


@pytest.mark.parametrize("none", NONE_OF_PHP)
@pytest.mark.parametrize("name", ["credentials", "callback_url", "priority"])
def test_phps_none_is_none_wherever_nothing_is_required(name: str, none: object) -> None:
    request = validate({**MINIMAL, name: none})
    assert (request, request.notes) == (validate(MINIMAL), ())


@pytest.mark.parametrize("none", [False, 0])
def test_phps_none_for_a_lead_is_none(none: object) -> None:
    assert validate({**MINIMAL, "lead": none}).lead is None


@pytest.mark.parametrize("none", NONE_OF_PHP)
def test_phps_none_for_settings_and_credentials_is_none(none: object) -> None:
    request = {
        "lead_id": 1,
        "integrations": [{"type": "telegram", "settings": none}],
        "credentials": {"telegram": none},
    }
    assert validate(request) == validate(MINIMAL)


def test_a_list_of_phps_that_lost_an_item_is_a_list() -> None:
    integrations = {"0": {"type": "telegram"}, "2": {"type": "email"}}
    assert validate({"lead_id": 1, "integrations": integrations}).types() == ("telegram", "email")
    assert validate({"lead_id": 1, "integrations": [None, {"type": "email"}]}).types() == ("email",)


@pytest.mark.parametrize("written", [" telegram ", "Telegram", "TELEGRAM\u200b"])
def test_an_integration_is_known_however_it_is_written(written: str) -> None:
    credentials = {written: {"bot_token": " 1:a\u200b", "chat_id": -100123.0}}
    request = validate({"lead_id": 1, "integrations": [{"type": written}], "credentials": credentials})
    assert request.types() == ("telegram",)
    assert request.credentials == {"telegram": {"bot_token": "1:a", "chat_id": -100123.0}}


def test_of_two_credentials_for_one_type_none_is_chosen() -> None:
    account = {"bot_token": "1:a", "chat_id": "@a"}
    for two in (["telegram", "Telegram"], ["Telegram", "TELEGRAM"]):
        [(loc, _)] = refused({**MINIMAL, "credentials": dict.fromkeys(two, account)})
        assert loc == ("credentials", two[1])


@pytest.mark.parametrize("written", ["high", "High", " HIGH "])
def test_a_priority_is_known_however_it_is_written(written: str) -> None:
    request = validate({**MINIMAL, "priority": written})
    assert (request.priority, request.notes) == (Priority.HIGH, ())


@pytest.mark.parametrize(
    "unknown", ["urgent", 1, True, ["high"], {"a": 1}, "hi\x00gh", json.loads("[" * 150 + "]" * 150)]
)
def test_an_unknown_priority_is_normal_with_a_note(unknown: object) -> None:
    request = validate({**MINIMAL, "priority": unknown, "lead": {"name": ["A"]}})
    assert request.priority is Priority.NORMAL
    assert [note.loc for note in request.notes] == [("priority",), ("lead", "name")]


def test_a_connection_is_found_with_blanks_around_its_name() -> None:
    request = validate({**MINIMAL, "credentials": {"telegram": {"conn_id": " my_bot\n"}}})
    assert request.credentials == {"telegram": {"conn_id": "my_bot"}}


@pytest.mark.parametrize(
    ("wrong", "msg"),
    [
        ({"lead": "Anna"}, "Input should be an object"),
        ({"integrations": 5}, "Input should be a list"),
        ({"integrations": ["telegram"]}, "Input should be an object"),
        ({"integrations": [{"type": 5}]}, "unknown integration '5'; there are: email, amocrm"),
        ({"integrations": [{"type": ["a"]}]}, "Input should be a valid string"),
        ({"integrations": []}, "Input should have a length of at least 1"),
        ({"integrations": [{"type": "amocrm", "settings": {"tags": {"a": "b"}}}]}, "Input should be a list"),
        (
            {"integrations": [{"type": "amocrm", "settings": {"colour": 1}}]},
            "no such field; there are: priority, pipeline_id,",
        ),
        ({"integrations": [{"type": "telegram", "settings": {"chatid": 1}}]}, "no such field; is chat_id meant?"),
        ({"integrations": [{"type": "email", "settings": {"emails": 1}}]}, "here; it belongs to credentials.email"),
        ({"credentials": {"telegram": {"parse_mode": "HTML"}}}, "no such field"),
        ({"integrations": [{"type": "telegram", "setings": {}}]}, "no such field; is settings meant?"),
        ({"callbackurl": "https://example.com"}, "no such field; is callback_url meant?"),
        ({"credentials": {"telegram": "a"}}, "Input should be an object"),
        ({"lead_id": "a/b"}, "1 to 128 letters"),
        ([1], "Input should be an object"),
    ],
)
def test_what_is_wrong_is_said_without_the_names_of_classes(wrong: Any, msg: str) -> None:
    said = " ".join(said for _, said in refused({**MINIMAL, **wrong} if isinstance(wrong, dict) else wrong))
    assert msg in said
    for inner in ("LeadData", "SendBatch", "IntegrationRequest", "tuple", "dictionary", "Value error", "instance"):
        assert inner not in said


def test_a_lead_on_its_own_is_mended_too_and_must_be_one() -> None:
    assert lead_of({"name": None}).data["name"] == ""
    assert lead_of([]).data == lead_of({}).data
    for wrong in (None, "Anna", ["Anna"], 5):
        with pytest.raises(InvalidRequest, match="must be an object"):
            lead_of(wrong)


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
    lead = lead_in({**MINIMAL, "lead": {"custom": {"age": 30, "vip": True, "ratio": 0.5, "note": None}}})
    assert lead.custom == {"age": 30, "vip": True, "ratio": 0.5, "note": None}
    assert isinstance(lead.custom["age"], int)


def test_equal_requests_have_one_fingerprint_however_they_are_written() -> None:
    one = json.loads('{"lead_id": 1, "integrations": [{"type": "email", "settings": {}}]}')
    two = json.loads('{ "integrations":[{"settings":{},"type":"email"}],"lead_id":1 }')
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint({**one, "lead_id": 2})
