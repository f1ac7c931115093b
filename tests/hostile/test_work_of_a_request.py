"""What it costs to check a request is bounded, whatever is in it: counted in calls and in units, never in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from cProfile import Profile
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import Environment

from leadcast.api import foreign_bodies
from leadcast.api.addresses import must_not_be_logged
from leadcast.api.problems import MAX_ERRORS, MAX_NAME_CHARS, of_error
from leadcast.core.budget import PER_VALUE, TOO_MUCH, UNITS, Budget, SpentError, measured, spend, spend_on_values
from leadcast.core.errors import LeadcastError
from leadcast.core.json_body import MAX_BODY_BYTES, parse_body
from leadcast.core.json_size import MAX_VALUES, most_values
from leadcast.core.model import Lead
from leadcast.core.request_errors import FieldError, InvalidRequest
from leadcast.core.tidy import MAX_VALUES as MAX_VALUES_OF_LEAD
from leadcast.engine.seal import shown_rows
from leadcast.engine.seal.request_shape import holds_request
from leadcast.flow.request import lead_of, validate
from leadcast.integrations import registry
from leadcast.integrations.text import caller_lines, expressions
from leadcast.integrations.text.caller_lines import check_line
from leadcast.integrations.text.templating import Templates
from tests.hostile.dear_bodies import FOREIGN, FORMS, LEADS, TEXTS, as_bytes, lead_of_values, phones_of_values

MAX_CALLS = 2_000_000
FEW_CALLS = 5_000
CALLS_A_UNIT = 75
SHARE = 10
"""What is told of a whole budget here, is shown with this part of it: it takes less time."""
IN_TEXTS = [name for name in FORMS if name.startswith(("lines", "mappings"))]
MAX_ANSWER_BYTES = 32 * 1024
LEAD = Lead(id="1", name="Anna", custom={"city": "Omsk"})


def calls_of(work: Callable[[], Any]) -> tuple[int, LeadcastError | None]:
    """How many functions were called, of Python's and of C's, and what it was refused with."""
    profile, refused = Profile(), None
    profile.enable()
    try:
        work()
    except LeadcastError as error:
        refused = error
    finally:
        profile.disable()
    return sum(entry.callcount for entry in profile.getstats()), refused


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    for kind in registry.types():  # what it costs to import them is no request's
        registry.get(kind)
    expressions._parsed.cache_clear()
    caller_lines._parsed.cache_clear()


@pytest.mark.parametrize("name", IN_TEXTS)
def test_what_is_done_with_texts_is_in_measure_to_what_is_spent(name: str) -> None:
    body = as_bytes(name)

    def checked() -> None:
        with measured(Budget(UNITS // SHARE)):
            validate(parse_body(body))

    calls, _ = calls_of(checked)
    assert calls <= CALLS_A_UNIT * UNITS // SHARE


@pytest.mark.parametrize("name", [name for name in FORMS if name not in IN_TEXTS])
def test_no_body_is_dear_and_no_answer_is_long(name: str) -> None:
    body = as_bytes(name)
    calls, refused = calls_of(lambda: validate(parse_body(body)))
    assert calls <= MAX_CALLS
    if refused is not None:
        said = of_error(refused).as_json()
        assert said["status"] == 422
        assert len(json.dumps(said).encode()) < MAX_ANSWER_BYTES
        assert len(said["errors"]) <= MAX_ERRORS
        for error in said["errors"]:
            assert all(len(str(step)) <= MAX_NAME_CHARS for step in error["loc"])


@pytest.mark.parametrize("name", [name for name, make in FORMS.items() if "lead" in make() and make()["lead"]])
def test_no_lead_is_dear_to_mend(name: str) -> None:
    lead = json.dumps(FORMS[name]()["lead"]).encode()
    calls, refused = calls_of(lambda: lead_of(parse_body(lead, lead_at=())))
    assert (calls <= MAX_CALLS, refused) == (True, None)


@pytest.mark.parametrize("name", TEXTS)
def test_no_line_of_a_caller_is_compiled_or_costs_more_than_its_length(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*_: Any, **__: Any) -> Any:
        raise AssertionError("compiled")

    monkeypatch.setattr(Environment, "compile", compiled)
    source = TEXTS[name](607)

    def used() -> None:
        try:
            check_line(source)
            Templates().line(source, lead=LEAD)
        except ValueError:
            pass

    calls, _ = calls_of(used)
    assert calls <= 100 * len(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ a" + ".b" * 300 + " }}",
        "{{ self }}",
        "{{ self._x }}",
        "{{ range }}",
        "{{ loop.index }}",
        "{{ lead" + ".b" * 31 + " }}",
        "{{ lead" + "[0]" * 31 + " }}",
        "{{ lead[lead.name] }}",
        "{{ lead[1.5] }}",
        "{{ lead[1:2] }}",
        "{{ 'a'.b }}",
        "{{ ('a') ~ 'b' }}",
        "{% set a = 1 %}",
        "{{ [] }}",
        "{{ {} }}",
        "{{ lead() }}",
    ],
)
def test_a_line_looks_up_what_is_known_and_not_far(source: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_line(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ lead.custom.city }}", "Omsk"),
        ("{{ lead['custom']['city'] }}", "Omsk"),
        ("{{ placeholders.lead_name }} {lead_city}", "Anna Omsk"),
        ("{{ lead.custom }}", '{"city": "Omsk"}'),
        ("{{ 'a' }}{{ 7 }}{# no #}", "a7"),
        ("{{ lead }}{{ lead.custom.items }}{{ lead.name.upper }}{{ lead.to_data }}{{ lead.name[0] }}", ""),
    ],
)
def test_what_a_line_looks_up_is_what_the_lead_has_and_nothing_of_python(source: str, text: str) -> None:
    assert Templates().line(check_line(source), lead=LEAD) == text


def test_all_of_a_request_spends_from_one_measure() -> None:
    """One such mapping passes, and so does one such line; fifty are too much, though each of them would pass."""

    def asked(count: int) -> dict[str, Any]:
        text = "{{lead.name}}" * 150
        items = [{"type": "webhook", "settings": {"fields": {"a": f"{text}{n}"}}} for n in range(count)]
        return {"lead_id": 1, "integrations": items}

    validate(asked(5))
    for _ in range(2):  # what is remembered of the first time changes nothing
        with pytest.raises(InvalidRequest, match="too much in this request"):
            validate(asked(50))


def test_a_budget_within_another_is_the_same() -> None:
    with measured() as outer, measured() as inner:
        spend(7)
    assert inner is outer
    assert outer.spent == 7


def test_a_budget_is_spent_to_the_last_unit_and_no_further() -> None:
    with measured(Budget(10)):
        spend(10)
    with pytest.raises(InvalidRequest) as refused, measured(Budget(10)):
        spend(11)
    assert refused.value.detail == TOO_MUCH


def test_without_a_request_nothing_is_counted() -> None:
    spend(10 * UNITS)


def test_values_are_counted_before_they_are_looked_at() -> None:
    budget = Budget(PER_VALUE * 4)
    with measured(budget):
        spend_on_values({"a": [1, 2], "b": {}})
    assert budget.spent == PER_VALUE * 4
    with pytest.raises(InvalidRequest), measured(Budget(10)):
        spend_on_values([[0] * 1000] * 2)


def test_no_check_of_a_field_takes_it_for_a_fault_of_the_field() -> None:
    assert not issubclass(SpentError, ValueError)


def test_of_many_errors_fifty_are_told_and_the_others_counted() -> None:
    unknown = {"lead_id": 1, "integrations": [{"type": "telegram"}], **{f"f{number}" * 40: 1 for number in range(3000)}}
    with pytest.raises(InvalidRequest) as refused:
        validate(unknown)
    said = of_error(refused.value).as_json()
    assert len(said["errors"]) == MAX_ERRORS
    assert said["detail"].endswith("(and 2999 more)")
    assert {len(error["loc"][-1]) for error in said["errors"]} == {MAX_NAME_CHARS}


def test_an_answer_repeats_no_message_without_end() -> None:
    told = of_error(InvalidRequest("x" * 100_000, errors=[FieldError(("a",), "y" * 100_000)] * 60)).as_json()
    assert len(json.dumps(told)) < MAX_ANSWER_BYTES


def _within_a_request(lead: str) -> bytes:
    return f'{{"lead_id":1,"integrations":[{{"type":"telegram"}}],"lead":{lead}}}'.encode()


@pytest.mark.parametrize("name", LEADS)
def test_a_lead_of_no_end_of_values_is_refused_before_it_is_parsed(name: str) -> None:
    lead = lead_of_values(name, 2 * MAX_VALUES)
    for work in (
        lambda: lead_of(parse_body(lead.encode(), lead_at=())),
        lambda: validate(parse_body(_within_a_request(lead))),
    ):
        calls, refused = calls_of(work)
        assert calls <= FEW_CALLS
        assert isinstance(refused, InvalidRequest)
        assert refused.detail == TOO_MUCH


@pytest.mark.parametrize("name", LEADS)
def test_a_lead_of_very_many_values_is_mended_and_its_phone_is_kept(name: str) -> None:
    lead = lead_of_values(name, MAX_VALUES * 3 // 5)
    for work in (
        lambda: lead_of(parse_body(lead.encode(), lead_at=())).data,
        lambda: validate(parse_body(_within_a_request(lead))).lead.model_dump(),  # type: ignore[union-attr]
    ):
        made: list[Any] = []
        calls, refused = calls_of(lambda work=work, made=made: made.append(work()))  # type: ignore[misc]
        assert (calls <= MAX_CALLS, refused) == (True, None)
        assert made[0]["phone"] == "+7"


def test_what_is_left_out_of_a_lead_is_noted() -> None:
    tidied = lead_of(parse_body(phones_of_values(MAX_VALUES_OF_LEAD * 2).encode(), lead_at=()))
    assert tidied.data["name"] == "Anna"
    assert [note.msg for note in tidied.notes if "values" in note.msg] == [
        f"more than {MAX_VALUES_OF_LEAD} values: those that lie less deep were kept"
    ]
    whole = {"custom": {f"f{number}": [number] * 90 for number in range(200)}, "name": "Anna"}
    assert not [note for note in lead_of(whole).notes if "values" in note.msg]


@pytest.mark.parametrize("text", ["," * 500_000, "[" * 500_000, '\\",[{' * 80_000, "{" * 900_000])
def test_what_stands_in_a_text_is_no_value(text: str) -> None:
    lead = json.dumps({"comment": text}, separators=(",", ":"))
    assert len(lead) <= MAX_BODY_BYTES
    assert most_values(lead) == 2
    comment = lead_of(parse_body(lead.encode(), lead_at=())).data["comment"]
    assert comment == text[: len(comment)]


@pytest.mark.parametrize(
    "text",
    ["1", "[]", "{}", "[1,2,[3]]", '{"a":{"b":[]}}', json.dumps([['a"', ",[{", "\\", {"\\": [1, 2]}]] * 500)],
)
def test_no_value_is_missed(text: str) -> None:
    waiting, count = [json.loads(text)], 0
    while waiting:
        value, count = waiting.pop(), count + 1
        waiting += list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    assert most_values(text) >= count


@pytest.mark.parametrize("field", ["tags", "emails"])
@pytest.mark.parametrize("text", ["x,", ",", ";", "x\n"])
def test_a_text_is_not_taken_apart_into_no_end_of_items(field: str, text: str) -> None:
    text *= 400_000 // len(text)
    tagged = _asked({"type": "amocrm", "settings": {"tags": text}})
    addressed = _asked({"type": "email"}) | {"credentials": {"email": {"emails": text}}}
    calls, refused = calls_of(lambda: validate(tagged if field == "tags" else addressed))
    assert calls <= FEW_CALLS
    assert isinstance(refused, InvalidRequest)
    assert refused.detail == TOO_MUCH


def test_fifty_tags_may_be_one_text() -> None:
    tags = ", ".join(f"tag {number}" for number in range(50))
    validate(_asked({"type": "amocrm", "settings": {"tags": tags}}))


def _asked(item: dict[str, Any]) -> dict[str, Any]:
    return {"lead_id": 1, "integrations": [item]}


def test_what_repeats_too_deep_is_in_nobodys_way() -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        parse_body((opening * 300 + '{"x":1,"x":2}' + closing * 300).encode())


@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_that_airflow_is_sent_is_dear_to_look_through(name: str) -> None:
    body = FOREIGN[name]().encode()
    assert len(body) <= MAX_BODY_BYTES
    calls, refused = calls_of(lambda: foreign_bodies._refuse_request("/api/v2/pools", body))
    assert calls <= MAX_CALLS
    assert isinstance(refused, InvalidRequest)
    assert refused.detail == TOO_MUCH


def test_what_airflow_is_sent_in_good_faith_is_looked_through() -> None:
    entities = [{"key": f"k{number}", "value": "caf\u00e9 integrations", "description": "é"} for number in range(5000)]
    body = json.dumps({"actions": [{"action": "create", "entities": entities}]}).encode()
    foreign_bodies._refuse_request("/api/v2/variables", body)


def test_an_address_is_not_dear_to_look_through() -> None:
    query = b"x=integrations&y=" + b"[integrations" + b"[]," * 20_000
    asked: list[bool] = []
    scope = {"type": "http", "method": "POST", "path": "/api/v2/variables", "query_string": query}
    calls, _ = calls_of(lambda: asked.append(must_not_be_logged(scope)))
    assert calls <= FEW_CALLS
    assert asked == [True]
    assert must_not_be_logged(scope | {"query_string": b"&".join([b"a=1"] * 1001)})


def test_a_row_that_is_too_dear_to_look_through_is_masked() -> None:
    log: Any = SimpleNamespace(
        local_table=SimpleNamespace(name="log"), class_=SimpleNamespace(__module__="airflow.models.log")
    )
    row = SimpleNamespace(event="trigger_dag_run", extra='{"integrations":1,"a":[' + "[]," * 5_000_000 + "[]]}")
    none: Any = None
    calls, _ = calls_of(lambda: shown_rows._before_insert(log, none, row))
    assert calls <= FEW_CALLS
    assert row.extra == "***"


def test_where_nothing_is_measured_all_is_looked_through() -> None:
    assert holds_request([json.dumps({"lead_id": 1, "integrations": [[]] * 60_000, "credentials": 1})])
