"""What becomes of a lead as people send it: nothing in it is worth losing the lead for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcast.core.model import Lead
from leadcast.core.notes import MAX_NOTES, Notes
from leadcast.core.tidy import FIELDS, tidy
from leadcast.flow.request import LeadData

EMPTY = {**dict.fromkeys(FIELDS, ""), "utm": {}, "custom": {}}
EVERY_TEXT = [*FIELDS, "utm.utm_content", "custom.answer"]


def data_with(field: str, value: Any) -> dict[str, Any]:
    """A lead with this value in a field, `utm.<name>` and `custom.<name>` included."""
    group, _, name = field.partition(".")
    return {group: {name: value}} if name else {field: value}


def in_field(field: str, value: Any) -> Any:
    """What becomes of it."""
    group, _, name = field.partition(".")
    data = tidy(data_with(field, value)).data
    return data[group][name] if name else data[field]


def notes_of(data: dict[str, Any]) -> list[tuple[str, str]]:
    return [(".".join(map(str, note.loc)), note.msg) for note in tidy(data).notes]


def test_a_lead_has_all_its_fields() -> None:
    assert tidy({}).data == EMPTY
    assert tidy({}).lead("7") == Lead(id="7")


BLANKS = [
    " ", "\n", "\u00a0", "\u200b", "\ufeff", "\u202e", "\u200e\u200f", "\u2066\u2069", "\u2060", "\u3000", "\u00ad",
    "\u200d", "\x00", "\x80", "\x85", "\x9b", "\x9f", "\u2028", "\u2029", " \u202e\u00a0\u200b ",
]  # fmt: skip
UNSEEN_FORMATS = ["\u180f", "\u2065", "\u206a", "\u206f", "\ufff9", "\ufffb", "\U0001bca0", "\U0001d173", "\U0001d17a"]


@pytest.mark.parametrize("field", EVERY_TEXT)
@pytest.mark.parametrize("blank", BLANKS)
def test_what_nobody_sees_goes_from_the_ends_and_is_nothing_alone(field: str, blank: str) -> None:
    assert in_field(field, f"{blank}anna@example.com{blank}") == "anna@example.com"
    assert in_field(field, blank) == ""


@pytest.mark.parametrize("field", EVERY_TEXT)
@pytest.mark.parametrize(
    "blank", ["\u2800", "\u3164", "\u115f\u1160", "\ufe0f", "\U000e0061", "\u034f", *UNSEEN_FORMATS]
)
def test_what_shows_nothing_is_nothing(field: str, blank: str) -> None:
    assert in_field(field, f" {blank}") == ""


@pytest.mark.parametrize("field", ["name", "phone", "email", "company"])
@pytest.mark.parametrize("control", "\u202a\u202c\u202e\u2066\u2069\u200e\u200f\u061c")
def test_nobody_turns_a_name_a_phone_or_an_address_around(field: str, control: str) -> None:
    assert in_field(field, f"Anna{control}Maria") == "AnnaMaria"


@pytest.mark.parametrize("field", ["comment", "utm.utm_content", "custom.answer", "source"])
def test_other_texts_may_have_two_directions(field: str) -> None:
    assert in_field(field, "\u200fשלום\u200e abc \u202bשלום\u202c.") == "שלום\u200e abc \u202bשלום\u202c."


@pytest.mark.parametrize("field", ["name", "comment", "custom.answer"])
@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d👩\u200d👧 Ann", "می\u200cخواهم", "🏳️\u200d🌈", "क्\u200dष", "❤️", "e\u0301",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    ],
)  # fmt: skip
def test_what_holds_letters_and_emoji_together_stays(field: str, text: str) -> None:
    assert in_field(field, f" {text}\u200b") == text
    assert tidy(data_with(field, text)).notes == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("mailto:anna@example.com", "anna@example.com"),
        ("MAILTO: anna@example.com?subject=Hi", "anna@example.com"),
        ("\u200bmailto:mailto:anna@example.com", "anna@example.com"),
        ("anna@\u200bexample\u00ad.com\r\n", "anna@example.com"),
        ("anna@example.com ", "anna@example.com"),
        ("anna@почта.рф", "anna@почта.рф"),
        ("who?what@example.com", "who?what@example.com"),
    ],
)
def test_an_address_is_kept_as_it_was_meant(given: str, kept: str) -> None:
    assert in_field("email", given) == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("tel:+79990000001", "+79990000001"),
        ("Tel: 8 (999) 000-00-01", "8 (999) 000-00-01"),
        ("\u202a+7 999\u200b 000\u202c", "+7 999 000"),
        (79990000001, "79990000001"),
        (7.9990000001e10, "79990000001"),
        (["+7 999 000-00-01", None, " +7 999 000-00-02 "], "+7 999 000-00-01, +7 999 000-00-02"),
        ("тел.: 8-999", "тел.: 8-999"),
    ],
)
def test_a_phone_is_kept_as_it_was_meant(given: object, kept: str) -> None:
    assert in_field("phone", given) == kept


AS_TEXT: list[tuple[object, str]] = [
    (None, ""), ("", ""), ([], ""), (False, ""), (True, "true"), (5, "5"), (5.0, "5"), (0.5, "0.5"),
    (10**30, str(10**30)), (["a", "b"], "a, b"), (["a", "", None, 5, True], "a, 5, true"),
    ({"a": "б"}, '{"a": "б"}'), ([["a"], "b"], '[["a"], "b"]'), (Decimal("10.50"), "10.50"),
    (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23T00:00:00+00:00"), (b"abc", "abc"), (float("inf"), ""),
    (float("nan"), ""), (10**4000, ""),
]  # fmt: skip


@pytest.mark.parametrize("field", [*FIELDS, "utm.utm_source"])
@pytest.mark.parametrize(("value", "text"), AS_TEXT)
def test_any_value_is_text_in_a_field_of_text(field: str, value: object, text: str) -> None:
    assert in_field(field, value) == text


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None), (True, True), (False, False), (5, 5), (0.5, 0.5), ("a", "a"), (10**30, 10**30), ("", ""),
        (["окна", "двери"], "окна, двери"), ([], ""), ({"a": [1, None]}, '{"a": [1, null]}'),
        ([{"a": 1}], '[{"a": 1}]'), (Decimal("3"), 3), (float("inf"), None), (-float("inf"), None),
        (float("nan"), None), (10**4000, None),
    ],
)  # fmt: skip
def test_a_custom_field_keeps_its_kind_and_check_boxes_become_one_text(value: object, kept: object) -> None:
    assert in_field("custom.answer", value) == kept


def test_what_is_mended_is_noted_without_its_value() -> None:
    secret = "Анна"
    own_name = "kept under this name, since its own was empty, too long or taken"
    data = {
        "name": f"{secret}\x00",
        "comment": f"{secret}\ud83d",
        "source": "https://example.com/" + "x" * 2000,
        "company": [secret],
        "phone": {"a": secret},
        "email": False,
        "utm": {"utm_content": "x" * 4310, "": secret, "n" * 200: secret},
        "custom": {"sum": float("inf"), "rooms": ["1", "2"], "deep": json.loads("[" * 200 + "]" * 200)},
        "first_name": secret,
        "utm_term": secret,
    }
    assert notes_of(data) == [
        ("lead.first_name", "no field of a lead: taken into custom"),
        ("lead.utm_term", "no field of a lead: taken into utm"),
        ("lead.name", "held control characters: they were taken out"),
        ("lead.phone", "an object: written as JSON"),
        ("lead.email", "false: taken for nothing"),
        ("lead.company", "a list: written as one text"),
        ("lead.comment", "held what is no character: U+FFFD stands for it"),
        ("lead.source", "cut to 1024 characters (had 2020)"),
        ("lead.utm.utm_content", "cut to 1024 characters (had 4310)"),
        ("lead.utm.no name", own_name),
        (f"lead.utm.{'n' * 128}", own_name),
        ("lead.custom.sum", "too large a number, or none: left out"),
        ("lead.custom.rooms", "a list: written as one text"),
        ("lead.custom.deep", "nested too deeply: left out"),
    ]


def test_nothing_is_noted_of_what_every_form_sends() -> None:
    """A note is for what somebody has to look at."""
    data: dict[str, Any] = {"name": " Anna ", "phone": None, "email": "", "utm": [], "custom": {"a": 5}}
    data["comment"] = "a\r\nb"
    assert notes_of(data) == []


@pytest.mark.parametrize(
    ("field", "limit"), [("name", 1024), ("source", 1024), ("utm.a", 1024), ("comment", 65_536), ("custom.a", 65_536)]
)
def test_what_is_too_long_is_cut(field: str, limit: int) -> None:
    assert in_field(field, "x" * limit) == "x" * limit
    assert in_field(field, "x" * (limit + 1)) == "x" * limit
    assert in_field(field, "x" * (limit - 1) + " x") == "x" * (limit - 1)


@pytest.mark.parametrize(("group", "limit"), [("utm", 50), ("custom", 200)])
def test_of_too_many_fields_the_first_are_kept(group: str, limit: int) -> None:
    given = {f"f{number}": str(number) for number in range(limit + 3)}
    assert list(tidy({group: given}).data[group]) == list(given)[:limit]
    assert notes_of({group: given}) == [(f"lead.{group}", f"the first {limit} fields were kept, 3 left out")]


def test_a_21st_field_of_utm_is_not_too_many() -> None:
    given = {f"utm_{number}": "x" for number in range(21)}
    assert tidy({"utm": given}).data["utm"] == given
    assert notes_of({"utm": given}) == []


def test_what_is_no_field_of_a_lead_goes_where_people_see_it() -> None:
    given = {"first_name": "Анна", "utm_source": "news", "id": 5, "deleted_at": None, "custom": {"city": "Омск"}}
    custom = {"city": "Омск", "first_name": "Анна", "id": 5}
    assert tidy(given).data == EMPTY | {"utm": {"utm_source": "news"}, "custom": custom}


def test_utm_fields_are_known_in_capitals_and_two_of_one_meaning_are_both_kept() -> None:
    given = {"utm": {"id": "77"}, "utm_id": "88", "UTM_Source": "news"}
    assert tidy(given).data["utm"] == {"id": "77", "utm_id (2)": "88", "UTM_Source": "news"}
    assert tidy(tidy(given).data).data == tidy(given).data


def test_two_fields_of_one_name_are_both_kept() -> None:
    custom = {"a": 1, " a": 2, "": 3, " ": 4, "x" * 128: 5, "x" * 129: 6, None: 7}
    assert tidy({"custom": custom, "a": 8}).data["custom"] == {
        "a": 1, "a (2)": 2, "no name": 3, "no name (2)": 4, "x" * 128: 5, "x" * 118 + " (2)": 6, "None": 7, "a (3)": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["a", "b"], {"1": "a", "2": "b"}),
        ("a=b", {"utm": "a=b"}),
        (5, {"utm": "5"}),
        ([{"name": "x"}], {"1": '{"name": "x"}'}),
    ],
)
def test_a_group_that_is_no_object_is_kept_all_the_same(given: object, kept: dict[str, Any]) -> None:
    assert tidy({"utm": given}).data["utm"] == kept
    assert notes_of({"utm": given})[0] == ("lead.utm", "no object: its values were taken as fields of it")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([{"VALUE": "+7999", "VALUE_TYPE": "WORK"}], "+7999"),
        ([{"ID": "5", "VALUE": " +7999 "}, {"VALUE": ""}, {"VALUE": "+7998"}], "+7999, +7998"),
        ([{"value": "+7999", "enum_code": "WORK"}, "+7998"], "+7999, +7998"),
        ({"Value": "+7999"}, "+7999"),
        ({"0": {"VALUE": "+7999"}, "2": {"VALUE": "+7998"}}, "+7999, +7998"),
        ({"0": "+7999", "2": "+7998"}, "+7999, +7998"),
        ({"VALUE": None}, ""),
        ({"VALUE": {"a": 1}}, '{"a": 1}'),
        ([{"number": "+7999"}], '[{"number": "+7999"}]'),
    ],
)
def test_a_phone_as_a_crm_exports_it_is_its_value(given: object, kept: str) -> None:
    assert in_field("phone", given) == kept
    assert in_field("email", given) == kept


def test_that_a_value_was_taken_out_of_an_object_is_noted() -> None:
    assert notes_of({"phone": {"VALUE": "+7999"}}) == [("lead.phone", "an object: its value was taken")]
    assert notes_of({"phone": [{"VALUE": "+7999"}]}) == [("lead.phone", "a list: written as one text")]
    assert in_field("company", {"VALUE": "A"}) == '{"VALUE": "A"}'


def test_a_fields_name_is_known_in_any_case_where_that_is_not_given() -> None:
    given = {
        "Name": "Anna",
        "PHONE": "+7999",
        " eMail ": "a@example.com",
        "UTM": {"utm_source": "x"},
        "Custom": {"a": 1},
    }
    assert tidy(given).data == EMPTY | {
        "name": "Anna", "phone": "+7999", "email": "a@example.com", "utm": {"utm_source": "x"}, "custom": {"a": 1},
    }  # fmt: skip
    assert ("lead.PHONE", "taken for phone") in notes_of(given)


@pytest.mark.parametrize("order", [1, -1])
def test_a_field_that_is_given_stands_above_one_in_another_case(order: int) -> None:
    given = dict([("name", "Anna"), ("NAME", "Eve")][::order])
    assert tidy(given).data == EMPTY | {"name": "Anna", "custom": {"NAME": "Eve"}}
    nothing: tuple[Any, ...] = (None, "", " ", [], False)
    for none in nothing:
        assert tidy({**given, "name": none}).data == EMPTY | {"name": "Eve"}
        assert tidy({"name": "Anna", "Name": none}).data["name"] == "Anna"
    assert tidy({"NAME": "Eve", "Name": "Ann"}).data == EMPTY | {"name": "Eve", "custom": {"Name": "Ann"}}


def test_lines_stay_lines_where_there_may_be_some() -> None:
    text = "one\r\ntwo\rthree\tfour\x0bfive\x07\x85s\x9bix\u2028seven\u2029eight"
    for field in ("comment", "custom.a"):
        assert in_field(field, text) == "one\ntwo\nthree\tfour\nfive\nsix\nseven\neight"
    for field in ("name", "company", "source", "utm.utm_term"):
        assert in_field(field, text) == "one two three four five six seven eight"


def test_halves_of_one_character_that_came_apart_are_joined() -> None:
    assert in_field("comment", "fox \ud83e\udd8a") == "fox 🦊"
    assert in_field("comment", "fox \ud83e") == "fox \ufffd"
    assert list(tidy({"custom": {"\ud83e": 1}}).data["custom"]) == ["\ufffd"]


def test_notes_are_few_and_fit_a_database() -> None:
    notes = Notes(above=("lead",))
    for number in range(MAX_NOTES + 7):
        notes.add((f"\ud800\x00{number}" + "x" * 500,), "mended")
    listed = list(notes)
    assert len(listed) == MAX_NOTES + 1
    assert (listed[-1].loc, listed[-1].msg) == (("lead",), "and 7 more")
    text = json.dumps([note.to_data() for note in listed], ensure_ascii=False)
    assert "\\u0000" not in text
    assert len(text.encode()) < 20_000


ODD = ["mailto:tel:", "tel:tel: 1", "\u202e", "\x00", "\ud83d", "x" * 1025, "y" * 65_537, "a \u200b" * 400]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*FIELDS, "utm", "custom", "utm_source"]) | st.text(max_size=10)


@given(data=st.dictionaries(NAMES, ANYTHING, max_size=8))
def test_any_lead_fits_what_a_lead_is_and_tidied_again_stays_as_it_is(data: dict[str, Any]) -> None:
    tidied = tidy(data)
    assert LeadData.model_validate(tidied.data).model_dump() == tidied.data
    again = tidy(tidied.data)
    assert (again.data, again.notes) == (tidied.data, ())
    json.dumps([tidied.data, *(note.to_data() for note in tidied.notes)], ensure_ascii=False).encode()
