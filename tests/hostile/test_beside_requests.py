"""What only resembles a request of ours, in what Airflow keeps: it is somebody else's, and stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from leadcast.engine.seal import shown_rows
from leadcast.engine.seal.request_shape import MASKED, holds_request, looks_like_request, masked

REQUEST: dict[str, Any] = {
    "lead_id": 7,
    "integrations": [{"settings": {"a": 1}, "type": "telegram"}],
    "credentials": {"telegram": {"bot_token": "N33DLE"}},
}
SQL = """SELECT '{"' || name || '"}' FROM integrations JOIN credentials USING (id) WHERE type = 'email' AND lead = 1"""
BASH = "integrations={{ params.x }}; type: telegram; export credentials=$(cat key)"
JINJA = "{{ params.integrations }} of {'type': 'crm'}: [] with {'credentials': {'user': 'x'}}"
PYTHON = str({"integrations": [{"type": "crm"}], "credentials": {"user": "x"}})


@pytest.mark.parametrize(
    "theirs",
    [
        {"integrations": [{"type": "crm"}], "since": "2026"},
        {"integrations": [{"type": "email"}], "since": "2026"},
        {"integrations": [{"type": "email"}], "lead_id": 7, "deadline": "2026"},
        {"integrations": [{"type": "crm"}], "credentials": {"user": "a"}},
        {"integrations": ["telegram"], "credentials": {"user": "a"}},
        {"integrations": [{"type": "telegram"}], "credentials": {}, "lead": None, "callback_url": ""},
        {"integrations": 5, "lead": "x"},
        {"integrations": [{"type": ["telegram"]}, 7], "lead": "x"},
        {"integrations": [], "lead_id": 7, "lead": {"name": "x"}},
        {"bash_command": SQL},
        {"bash_command": BASH},
        {"sql": JINJA},
        {"yaml": "integrations: {{ params.x }}\ntype: telegram\ncredentials: {{ conn.x.password }}"},
        {"sql": PYTHON},
        {"sql": "integrations: [{type: telegram}], credentials: null"},
        {"sql": str(REQUEST | {"credentials": {"sealed": "gAAAA"}})},
    ],
)
def test_what_is_none_of_ours_is_not_masked(theirs: Any) -> None:
    for value in (theirs, json.dumps(theirs), [theirs]):
        assert not holds_request(value)
        assert masked(value) == value
        assert shown_rows._shown(value) == value


@pytest.mark.parametrize(
    "ours",
    [
        REQUEST,
        REQUEST | {"integrations": [{"type": "telegarm"}]},
        REQUEST | {"integrations": "telegram"},
        {"integrations": {"2": {"Type": " Telegram "}}, "callback_url": "N33DLE"},
        {"INTEGRATIONS": [{"type": "bitrix24"}], "Lead": {"name": "N33DLE"}},
        REQUEST | {"credentials": None, "creds": "N33DLE"},
    ],
)
def test_a_request_still_is_one(ours: dict[str, Any]) -> None:
    assert looks_like_request(ours)
    assert "N33DLE" not in json.dumps(masked({"x": [json.dumps(ours), ours]}))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(REQUEST)[:-1],
        json.dumps(REQUEST, indent=2)[:-2],
        json.dumps(json.dumps(REQUEST))[:-1],
        str(REQUEST),
        f"curl -d '{json.dumps(REQUEST)}' https://example.com",
        json.dumps(REQUEST).replace('"', ""),
        "{lead_id:7,integrations:[{type:email}],lead:{name:N33DLE}}",
    ],
)
def test_so_is_a_piece_of_one_and_one_as_python_or_a_shell_leaves_it(text: str) -> None:
    assert shown_rows._shown(text) == MASKED
    assert shown_rows._shown({"bash_command": text}) == {"bash_command": MASKED}


def _deep(depth: int, value: Any, *, by_list: bool = False) -> Any:
    for _ in range(depth):
        value = [value] if by_list else {"a": value}
    return value


@pytest.mark.parametrize("by_list", [True, False])
@pytest.mark.parametrize("depth", [10, 49, 50, 51, 600, 5000, 100_000])
def test_however_deep_it_lies_airflow_may_write_and_nothing_is_shown(depth: int, by_list: bool) -> None:
    kwargs = {"rendered_fields": {"conf": _deep(depth, REQUEST, by_list=by_list), "other": "x"}}
    shown_rows._as_made(_named("RenderedTaskInstanceFields"), (), kwargs)
    left: list[Any] = [kwargs["rendered_fields"]]
    is_shown = False
    while left:
        value = left.pop()
        is_shown = is_shown or value == "N33DLE"
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    assert not is_shown
    assert kwargs["rendered_fields"]["other"] == "x"


@pytest.mark.parametrize("depth", [49, 600, 5000])
def test_what_is_deep_and_none_of_ours_stays(depth: int) -> None:
    theirs = _deep(depth, {"integrations": [{"type": "crm"}]})
    left = shown_rows._shown({"conf": theirs})["conf"]
    for _ in range(depth):
        left = left["a"]
    assert left == {"integrations": [{"type": "crm"}]}


@pytest.mark.parametrize("depth", [10, 600, 5000])
def test_so_in_a_text_of_the_audit_log(depth: int) -> None:
    text = "[" * depth + json.dumps(REQUEST) + "]" * depth
    row = SimpleNamespace(event="trigger_dag_run", extra=text)
    of_log = {"local_table": SimpleNamespace(name="log"), "class_": SimpleNamespace(__module__="airflow.models.log")}
    shown_rows._before_insert(SimpleNamespace(**of_log), None, row)  # type: ignore[arg-type]
    assert "N33DLE" not in row.extra


def _named(name: str) -> Any:
    return type(name, (), {})()


@pytest.mark.parametrize("made", [json.dumps, lambda body: [json.dumps(body)], lambda body: {"json": json.dumps(body)}])
def test_a_rendered_field_that_airflow_has_cut_shows_no_person(made: Callable[[Any], Any]) -> None:
    from airflow.serialization.helpers import serialize_template_field

    lead = {"name": "N33DLE", "comment": "x" * 5000}
    field: Any = serialize_template_field(made({"lead_id": 7, "lead": lead, "integrations": []}), "data")
    theirs = serialize_template_field("N33DLE " * 1000, "data")
    assert "N33DLE" in field
    kwargs = {"rendered_fields": {"data": field, "other": theirs, "short": "lead_id: 7, lead: {}"}}
    shown_rows._as_made(_named("RenderedTaskInstanceFields"), (), kwargs)
    assert kwargs["rendered_fields"] == {"data": MASKED, "other": theirs, "short": "lead_id: 7, lead: {}"}
