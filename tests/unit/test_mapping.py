"""Field mapping: what a text becomes, what is refused at the door, and that a hostile one can do nothing large."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from leadcast.core.errors import RejectedError
from leadcast.core.model import Lead
from leadcast.integrations.amocrm.settings import AmoCrmSettings
from leadcast.integrations.text.expression_filters import FILTERS, MAX_CHARS, TESTS
from leadcast.integrations.text.mapping import Fields, filled, merged

DOOR = TypeAdapter(Fields)
LEAD = Lead(
    id="123",
    name="Анна Пример",
    phone="+7 (999) 000-00-01",
    comment="Перезвоните\nпосле шести",
    source="landing-a",
    utm={"utm_source": "yandex", "medium": "cpc"},
    custom={
        "budget": 15000,
        "roof area": "120.5",
        "urgent": True,
        "nothing": None,
        "items": "three",
        "note": "{lead_id}",
    },
)
LONG = replace(LEAD, comment="x" * 65_536, custom={"long": "aB" * 32_768, "big": 10**3000, "inf": "inf"})


def value(text: Any, lead: Lead = LEAD) -> Any:
    """What the text becomes, checked at the door as a request's would be."""
    return filled(DOOR.validate_python({"target": text}), lead=lead)["target"]


def refusal(text: Any) -> str:
    """What the door says of the text."""
    with pytest.raises(ValidationError) as caught:
        DOOR.validate_python({"target": text})
    return str(caught.value.errors(include_input=False)[0]["msg"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Заявка {lead_name}: {lead_phone}", "Заявка Анна Пример: +7 (999) 000-00-01"),
        ("{lead_name}", "Анна Пример"),
        ("{{ lead.name }}", "Анна Пример"),
        ("{{ lead['name'] }}", "Анна Пример"),
        ("{{ lead.utm.utm_source }}/{{ lead.utm.source }}/{lead_utm_source}", "yandex/yandex/yandex"),
        ("{{ lead.utm.medium }}/{{ lead.utm.utm_medium }}/{lead_utm_medium}", "cpc/cpc/cpc"),
        ("{{ lead.custom['roof area'] }}", "120.5"),
        ("{{ lead.custom['roof area'] | float }}", 120.5),
        ("{{ lead.custom.items }}", "three"),
        ("{{ lead.custom.budget }}", 15000),
        ("{lead_budget}", 15000),
        ("{{ lead.custom.urgent }}", True),
        ("{{ lead.custom.budget + 500 - 1 }}", 15499),
        ("{{ -lead.custom.budget }}", -15000),
        ("from {{ lead.custom.budget }}, {{ lead.custom.urgent }}", "from 15000, true"),
        ("[{{ lead.custom.nothing }}{{ lead.custom.missing }}{lead_missing}]", "[]"),
        ("{{ lead.custom.missing }}", None),
        ("{{ 'big' if lead.custom.budget >= 10000 else 'small' }}", "big"),
        ("{{ 'big' if lead.custom.budget > 99999 }}", None),
        ("{{ lead.company or lead.name }}", "Анна Пример"),
        ("{{ lead.source in ['landing-a', 'landing-b'] and not lead.company }}", True),
        ("{{ 'земля' not in lead.comment }}", True),
        ("{{ 1 < 2 < 3 != 4 }}", True),
        ("{{ lead.source ~ '/' ~ lead.custom.budget }}", "landing-a/15000"),
        ("{{ lead.custom.missing is defined }}", False),
        ("{{ lead.phone is string and lead.custom.nothing is none }}", True),
        ("line\n", "line\n"),
        ("{# said to nobody #}said", "said"),
        ("{% raw %}{{ lead.name }}{% endraw %}", "{{ lead.name }}"),
        ("no braces", "no braces"),
        ("", ""),
    ],
)
def test_a_text_is_filled_in(text: str, expected: Any) -> None:
    result = value(text)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("'aNNa' | capitalize", "Anna"),
        ("lead.company | default('none given')", "none given"),
        ("lead.custom.nothing | default('-')", "-"),
        ("0 | default(7)", 0),
        ("0 | default(7, true)", 7),
        ("lead.phone | digits", "79990000001"),
        ("['a', 'b'] | first", "a"),
        ("'' | first", None),
        ("'1.5' | float", 1.5),
        ("'none' | float(2)", 2),
        ("'42.9' | int", 42),
        ("'none' | int", 0),
        ("'inf' | int(5)", 5),
        ("'nan' | float", 0.0),
        ("['a', 1, true] | join(', ')", "a, 1, true"),
        ("['a', 'b'] | last", "b"),
        ("'abc' | length", 3),
        ("'ПРИВЕТ' | lower", "привет"),
        ("lead.phone | phone", "+79990000001"),
        ("'' | phone", ""),
        ("'a-b-c' | replace('-', '+')", "a+b+c"),
        ("2.345 | round(1)", 2.3),
        ("lead.custom.budget | string", "15000"),
        ("'anna maria' | title", "Anna Maria"),
        ("'  a ' | trim", "a"),
        ("'one two three' | truncate(10)", "one..."),
        ("'one two three' | truncate(length=10, killwords=true, end='…')", "one two t…"),
        ("'short' | truncate(10)", "short"),
        ("'anna' | upper", "ANNA"),
    ],
)
def test_a_filter(use: str, expected: Any) -> None:
    result = value(f"{{{{ {use} }}}}")
    assert result == expected
    assert type(result) is type(expected)


def test_every_filter_is_shown_above() -> None:
    cases = next(mark for mark in test_a_filter.pytestmark if mark.name == "parametrize").args[1]
    shown = {use.split("|")[1].split("(")[0].strip() for use, _ in cases}
    assert shown == set(FILTERS)


def test_constants_stay_as_they_are_and_texts_in_them_are_filled_in() -> None:
    mapping = {"a": 5, "b": [1.5, True, None], "PHONE": [{"VALUE": "{lead_phone}", "VALUE_TYPE": "WORK"}]}
    assert filled(DOOR.validate_python(mapping), lead=LEAD) == {
        "a": 5,
        "b": [1.5, True, None],
        "PHONE": [{"VALUE": "+7 (999) 000-00-01", "VALUE_TYPE": "WORK"}],
    }


def test_a_leads_own_text_is_never_read_as_an_expression() -> None:
    hostile = replace(LEAD, name="{lead_phone} {{ 7 - 1 }} {% raw %} {#", custom={"note": "{{ lead.id }}"})
    assert value("{lead_name}", hostile) == hostile.name
    assert value("<{{ lead.custom.note ~ lead.name }}>", hostile) == f"<{{{{ lead.id }}}}{hostile.name}>"
    assert value("{{ lead.custom.note | default(lead.name) }}", hostile) == "{{ lead.id }}"


def test_a_custom_field_does_not_hide_a_field_of_the_lead() -> None:
    lead = replace(LEAD, custom={"name": "Eve", "utm_source": "eve"})
    assert value("{lead_name} {lead_utm_source}", lead) == "Анна Пример yandex"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ lead.nmae }}", "lead.nmae"),
        ("{{ lead }}", "there are lead.id"),
        ("{{ name }}", "there is lead"),
        ("{{ lead.custom }}", "lead.custom.<name>"),
        ("{{ lead.custom.a.b }}", "lead.custom.a.b"),
        ("{{ lead.custom[lead.name] }}", "in quotes"),
        ("{{ lead.name[0] }}", "in quotes"),
        ("{{ lead.__class__ }}", "lead.__class__"),
        ("{{ ''.__class__ }}", "only a lead"),
        ("{{ lead.name.upper() }}", "no call"),
        ("{{ range(9) }}", "no call"),
        ("{{ self }}", "there is lead"),
        ("{{ 'a' * 9 }}", "no mul"),
        ("{{ 9 ** 9 }}", "no pow"),
        ("{{ 9 / 9 }}", "no div"),
        ("{{ '%s' % lead.name }}", "no mod"),
        ("{{ {'a': 1} }}", "no dict"),
        ("{% for a in lead.custom %}{% endfor %}", "no for"),
        ("{% set a = 1 %}", "no assign"),
        ("{% import 'a' as a %}", "no import"),
        ("{% if lead.name %}a{% endif %}", "no if"),
        ("{% macro a() %}{% endmacro %}", "no macro"),
        ("{{ lead.name | map('upper') }}", "there are capitalize"),
        ("{{ lead.name | attr('id') }}", "no filter 'attr'"),
        ("{{ lead.name | upper(1) }}", "not with these arguments"),
        ("{{ lead.name | upper(*[1]) }}", "no *"),
        ("{{ lead.name is sameas 1 }}", "no test"),
        ("{{ lead.name is string(1) }}", "not with these arguments"),
        ("{{ lead.name", "end of template"),
        ("{{ }}", "Expected an expression"),
        (r"{{ '\x00' }}", "NUL"),
        (r"{{ '\ud83d' ~ '\ude00' }}", "surrogate pair"),
        (r"{{ lead.name | replace('a', '\udfff') }}", "surrogate pair"),
        ("{{ 9e999 }}", "too large"),
        ("{{ 99999999999999999999 }}", "too large"),
        (10**400, "too large"),
        (float("inf"), "too large"),
        ({1, 2}, "a value is text"),
        ("{{ " + "(" * 1500 + "1" + ")" * 1500 + " }}", "nested too deeply"),
        ("{{ " + "[" * 1500 + "]" * 1500 + " }}", "nested too deeply"),
        ("{{ " + "not " * 900 + "1 }}", "nested too deeply"),
        ("{{ " + "-" * 3000 + "1 }}", "nested too deeply"),
        ("{{ " + "1 if 1 else " * 300 + "2 }}", "nested too deeply"),
        ("{{ " + "1 + " * 100 + "1 }}", "nested too deeply"),
        ("{{ 'a'" + " | upper" * 100 + " }}", "nested too deeply"),
        ("{" * 4096, "nested too deeply"),
        ("{{ '" + "a" * 5000 + "' }}", "4096 characters"),
        ("{lead_name}" * 300, "200 steps"),
        ("{{ [" + "1," * 300 + "] }}", "200 steps"),
    ],
)
def test_the_door_refuses(text: Any, says: str) -> None:
    message = refusal(text)
    assert says in message
    assert "'target'" in message
    assert len(message) < 400


def test_the_door_refuses_too_many_or_impossible_targets() -> None:
    for fields, says in [
        ({str(number): 1 for number in range(201)}, "at most 200 fields"),
        ({"a": [1] * 1001}, "at most 1000 values"),
        ({str(number): "{lead_name}" + "-" * 200 for number in range(100)}, "16384"),
        ({"": 1}, "1 to 128"),
        ({"a" * 129: 1}, "1 to 128"),
        ({"a\r\nb": 1}, "1 to 128"),
        ({"a": {"k" * 129: 1}}, "key"),
    ]:
        with pytest.raises(ValidationError, match=says):
            DOOR.validate_python(fields)
    deep: Any = 1
    for _ in range(30):
        deep = [deep]
    assert "nested too deeply" in refusal(deep)


def test_an_empty_php_array_is_an_empty_mapping() -> None:
    assert DOOR.validate_python([]) == {}


@pytest.mark.parametrize(
    "use",
    [
        "lead.name + 'a'",
        "lead.custom.budget + lead.name",
        "lead.custom.missing > 5",
        "lead.custom.budget in lead.name",
        "lead.name | round",
        "lead.custom.budget | first",
        "lead.name | replace('', 'x')",
        "lead.name | truncate(0 - 5)",
        "lead.name | round('x')",
        "lead.custom.urgent + 1",
        "9223372036854775807 + 1",
    ],
)
def test_what_cannot_be_computed_is_rejected_without_the_leads_data(use: str) -> None:
    with pytest.raises(RejectedError, match="'target'") as caught:
        value(f"{{{{ {use} }}}}")
    assert caught.value.code == "mapping"
    assert "Анна" not in caught.value.message


@pytest.mark.parametrize(
    "use",
    [
        "lead.comment | replace('x', lead.comment)",
        "lead.comment ~ lead.comment",
        "'a'" + " | replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaa')" * 20,
        "[lead.comment, lead.comment] | join",
        "['a', 'b', 'c'] | join(lead.custom.long)",
        "lead.comment | truncate(9, true, lead.comment) | replace('x', lead.comment)",
        "lead.custom.big + 1",
    ],
)
def test_nothing_grows_beyond_the_longest_text(use: str) -> None:
    with pytest.raises(RejectedError, match=r"over 80000 characters|too large"):
        value(f"{{{{ {use} }}}}", LONG)


def test_the_longest_comment_fits_with_words_around_it() -> None:
    assert value("Comment: {lead_comment}", LONG) == f"Comment: {LONG.comment}"


def test_the_work_of_a_whole_mapping_is_bounded() -> None:
    chain = "{{ lead.custom.long" + " | upper | lower" * 14 + " }}"
    assert len(value(chain, LONG)) == 65_536
    with pytest.raises(RejectedError, match="too much to do"):
        filled(DOOR.validate_python({f"field {number}": chain for number in range(20)}), lead=LONG)


_ATOMS = st.sampled_from(
    [
        "lead.comment",
        "lead.custom.long",
        "lead.custom.big",
        "lead.custom.inf",
        "lead.utm.a",
        "1",
        "9e9",
        "'a'",
        "[]",
        "none",
    ]
)
_ARGUMENTS = st.sampled_from(["", "('a')", "(9)", "('a', lead.comment)", "(lead.custom.long)", "(0, true, 'b')"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joints = st.sampled_from(["~", "+", "-", "in", "==", "<", "and", "or", "if 1 else"])
    return st.one_of(
        st.tuples(inner, joints, inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, st.sampled_from(sorted(FILTERS)), _ARGUMENTS).map(lambda p: f"({p[0]} | {p[1]}{p[2]})"),
        st.tuples(inner, st.sampled_from(sorted(TESTS))).map(lambda p: f"({p[0]} is {p[1]})"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    )


@settings(derandomize=True)
@given(st.recursive(_ATOMS, _grown, max_leaves=20))
def test_any_expression_gives_a_bounded_value_or_a_refusal(use: str) -> None:
    try:
        result = value("-{{ " + use + " }}", LONG)
    except (RejectedError, ValidationError):
        return
    assert isinstance(result, str)
    assert len(result) <= MAX_CHARS


@settings(derandomize=True)
@given(st.text("{}%#[]()'\"| .~+-leadnmutsco_0\n", max_size=80))
def test_any_text_is_refused_or_filled_in(text: str) -> None:
    try:
        fields = DOOR.validate_python({"target": text})
    except ValidationError:
        return
    with_value = filled(fields, lead=LEAD)
    assert set(with_value) == {"target"}


def test_a_requests_settings_win_over_the_installations_field_by_field() -> None:
    defaults = {"pipeline_id": 1, "tags": ["a"], "fields": {"A": "{lead_name}", "B": 1}, "contact_fields": {"C": 1}}
    own = {"tags": ["b"], "fields": {"B": 2, "D": 3}}
    assert merged(AmoCrmSettings, defaults, own) == {
        "pipeline_id": 1,
        "tags": ["b"],
        "fields": {"A": "{lead_name}", "B": 2, "D": 3},
        "contact_fields": {"C": 1},
    }
    assert defaults["fields"] == {"A": "{lead_name}", "B": 1}


def test_an_empty_php_array_takes_nothing_away_from_the_installations_fields() -> None:
    assert merged(AmoCrmSettings, {"fields": {"A": 1}}, {"fields": []}) == {"fields": {"A": 1}}


def test_what_is_no_mapping_wins_as_it_is_and_is_told_at_the_door() -> None:
    assert merged(AmoCrmSettings, {"fields": {"A": 1}}, {"fields": "wrong"}) == {"fields": "wrong"}


PAGE = (Path(__file__).parents[2] / "docs" / "field-mapping.md").read_text(encoding="utf-8")


def test_every_filter_and_test_is_on_the_page_and_every_mapping_there_is_taken() -> None:
    assert not [name for name in FILTERS if f"`{name}" not in PAGE]
    assert not [name for name in TESTS if f"`is {name}`" not in PAGE]
    blocks = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)]
    mappings = [block["fields"] for block in blocks if "fields" in block]
    assert len(mappings) == 4
    for fields in mappings:
        assert filled(DOOR.validate_python(fields), lead=LEAD)
    for expression in re.findall(r"`(\{\{ .*? \}\})`", PAGE.replace("\\|", "|").replace("{{ … }}", "")):
        if "nmae" not in expression:
            DOOR.validate_python({"target": expression})
