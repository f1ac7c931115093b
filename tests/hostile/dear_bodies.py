"""Bodies of at most a mebibyte that are dear to check, each a kind of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_BYTES = 1024 * 1024
LINE_CHARS = 998
TEXT_CHARS = 4096

Grown = Callable[[int], str]
"""A text of this form, of about so many characters."""


def _of(before: str, again: str, after: str = "") -> Grown:
    return lambda size: before + again * ((size - len(before) - len(after)) // len(again)) + after


def _within(opening: str, inner: str, closing: str) -> Grown:
    def grown(size: int) -> str:
        depth = (size - len(inner) - 6) // (len(opening) + len(closing))
        return "{{ " + opening * depth + inner + closing * depth + " }}"

    return grown


TEXTS: Mapping[str, Grown] = {
    "lookups of a stranger": _of("{{ a", ".b", " }}"),
    "lookups": _of("{{ lead", ".b", " }}"),
    "lookups by number": _of("{{ lead", "[0]", " }}"),
    "lookups by lookups": _within("lead[", "1", "]"),
    "self": _of("{{ self", ".b", " }}"),
    "pieces": _of("", "{{a}}"),
    "good pieces": _of("", "{{lead.name}}"),
    "placeholders": _of("", "{lead_name}"),
    "half a placeholder": _of("", "{lead_"),
    "brackets": _within("(", "lead.name", ")"),
    "lists": _within("[", "", "]"),
    "objects": _within("{1:", "1", "}"),
    "a long list": _of("{{ [", "1,", "] }}"),
    "a long object": _of("{{ {", "1:1,", "} }}"),
    "filters": _of("{{ lead.name", "|upper", " }}"),
    "tests": _of("{{ lead.name", " is none", " }}"),
    "joins": _of("{{ lead.name", "~1", " }}"),
    "sums": _of("{{ 1", "+1", " }}"),
    "powers": _of("{{ 1", "**1", " }}"),
    "signs": _of("{{ ", "-", "1 }}"),
    "nots": _of("{{ ", "not ", "1 }}"),
    "ands": _of("{{ 1", " and 1", " }}"),
    "comparisons": _of("{{ 1", "<1", " }}"),
    "choices": _of("{{ ", "1 if 1 else ", "1 }}"),
    "arguments": _of("{{ lead.name|replace(", "1,", "1) }}"),
    "calls": _of("{{ lead", "()", " }}"),
    "strings": _of("{{ ", "'a'", " }}"),
    "escapes": _of("{{ '", "\\n", "' }}"),
    "a long number": _of("{{ ", "9", " }}"),
    "a huge power of ten": _of("{{ 1e", "9", " }}"),
    "blocks": _of("", "{% if a %}"),
    "raw blocks": _of("", "{% raw %}"),
    "comments": _of("", "{##}"),
    "line ends": _of("{{ ", "\n", "1 }}"),
    "openings": _of("", "{{"),
    "braces": _of("", "{"),
}


def _asked(**more: Any) -> dict[str, Any]:
    return {"lead_id": 1, "integrations": [{"type": "telegram"}], **more}


def _lines(grown: Grown) -> dict[str, Any]:
    # each its own, so that none is remembered
    subjects = [f"{number:02}{grown(LINE_CHARS - 2)}" for number in range(50)]
    return _asked(integrations=[{"type": "email", "settings": {"subject": subject}} for subject in subjects])


def _mappings(grown: Grown) -> dict[str, Any]:
    def fields(number: int) -> dict[str, str]:
        return {f"f{index}": f"{number:02}{index}{grown(TEXT_CHARS - 100)}" for index in range(2)}

    return _asked(integrations=[{"type": "webhook", "settings": {"fields": fields(number)}} for number in range(50)])


def _small_mappings() -> dict[str, Any]:
    def fields(number: int) -> dict[str, str]:
        return {f"f{index}": f"{{{{lead.name}}}}{number}-{index}" for index in range(200)}

    return _asked(integrations=[{"type": "webhook", "settings": {"fields": fields(number)}} for number in range(50)])


def _many(count: int, value: Any = 1) -> dict[str, Any]:
    return {f"f{number}": value for number in range(count)}


def _account(kind: str, **values: Any) -> dict[str, Any]:
    return _asked(integrations=[{"type": kind}], credentials={kind: values})


def _forms() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name, grown in TEXTS.items():
        yield f"lines: {name}", lambda grown=grown: _lines(grown)  # type: ignore[misc]
        yield f"mappings: {name}", lambda grown=grown: _mappings(grown)  # type: ignore[misc]
    yield "mappings: many small texts", _small_mappings


FORMS: Mapping[str, Callable[[], Any]] = {
    **dict(_forms()),
    "unknown fields": lambda: _asked(**_many(90_000)),
    "unknown settings": lambda: _asked(integrations=[{"type": "telegram", "settings": _many(80_000)}]),
    "unknown settings, fifty times": lambda: _asked(integrations=[{"type": "telegram", "settings": _many(95)}] * 50),
    "unknown fields of an account": lambda: _account("telegram", **_many(80_000)),
    "accounts of nobody": lambda: _asked(credentials=_many(60_000, {"a": 1})),
    "accounts that are none": lambda: _asked(credentials=_many(80_000)),
    "names without end": lambda: _asked(**{"x" * 10_000 + str(number): 1 for number in range(100)}),
    "integrations that are none": lambda: _asked(integrations=[1] * 500_000),
    "integrations without a type": lambda: _asked(integrations=[{}] * 300_000),
    "integrations as an object": lambda: _asked(
        integrations={str(number): {"type": "telegram"} for number in range(30_000)}
    ),
    "types without end": lambda: _asked(integrations=[{"type": "x" * 20_000}] * 50),
    "addresses": lambda: _account("email", emails=["a@b.example"] * 60_000),
    "addresses in one text": lambda: _account("email", emails="a@b.example," * 80_000),
    "addresses that are none": lambda: _account("email", emails=[1] * 400_000),
    "an address without end": lambda: _account("email", emails=["a@" + "b." * 450_000 + "x"]),
    "a quoted address": lambda: _account("email", emails=['"' * 400_000]),
    "a call back to dots": lambda: _asked(callback_url="http://" + "a." * 450_000),
    "a call back to letters": lambda: _asked(callback_url="http://" + "ü" * 400_000),
    "a call back to digits": lambda: _asked(callback_url="http://a:" + "9" * 900_000),
    "headers": lambda: _account("webhook", url="https://a.example", headers=_many(60_000, "1")),
    "an account's address": lambda: _account("webhook", url="https://" + "ü" * 400_000),
    "a portal's address": lambda: _account("bitrix24", webhook_url="https://" + "a." * 400_000),
    "a name of an account": lambda: _account("amocrm", subdomain="a-" * 400_000, access_token="x"),
    "an id without end": lambda: {**_asked(), "lead_id": "a" * 900_000},
    "a priority without end": lambda: _asked(priority="x" * 900_000),
    "a mapping's list": lambda: _asked(
        integrations=[{"type": "webhook", "settings": {"fields": {"a": [1] * 400_000}}}]
    ),
    "a mapping of many": lambda: _asked(integrations=[{"type": "webhook", "settings": {"fields": _many(80_000)}}]),
    "custom fields": lambda: _asked(lead={"custom": _many(60_000, "x")}),
    "fields that a lead has not": lambda: _asked(lead=_many(60_000, "x")),
    "names that are one": lambda: _asked(lead={"custom": {"x" * 130 + f"{number:05}": "x" for number in range(6000)}}),
    "a comment that turns": lambda: _asked(lead={"comment": "\u202e" * 150_000}),
    "a comment in lines": lambda: _asked(lead={"comment": "\r\n" * 200_000}),
    "a phone of links": lambda: _asked(lead={"phone": "tel:" * 200_000}),
    "a phone of blanks": lambda: _asked(lead={"phone": " " * 900_000 + "tel"}),
    "a name of joiners": lambda: _asked(lead={"name": "a" + "\u200d" * 150_000 + "a"}),
}
"""By name; each makes the body's JSON."""

DEEP = 90


def _among(before: str, again: str, after: str) -> Callable[[int], str]:
    return lambda count: before + ",".join([again] * count) + after


LEADS: Mapping[str, tuple[int, Callable[[int], str]]] = {
    "lists within lists": (4, _among('{"phone":"+7","name":[', "[[[[1]]]]", "]}")),
    "numbers": (1, _among('{"phone":"+7","name":[', "1.5", "]}")),
    "empty objects": (2, _among('{"phone":"+7","name":[', "{}", "]}")),
    "small objects": (2, _among('{"phone":"+7","name":[', '{"a":1}', "]}")),
    "empty lists of fields": (2, _among('{"phone":"+7","custom":[', "[]", "]}")),
    "objects of fields": (2, _among('{"phone":"+7","custom":[', '{"a":1}', "]}")),
    "names that repeat, deep down": (
        3,
        _among('{"phone":"+7","custom":' + "[" * DEEP, '{"":1,"":1}', "]" * DEEP + "}"),
    ),
}
"""By name: how many values one of its pieces has at least, and the lead's JSON with so many pieces."""


def lead_of_values(name: str, count: int) -> str:
    """The JSON of a lead with about so many values, in at most a mebibyte."""
    each, made = LEADS[name]
    text = made(count // each)
    assert len(text) <= MAX_BYTES, f"{name} has {len(text)} characters"
    return text


def phones_of_values(count: int) -> str:
    """A lead whose phone is as a CRM writes it, but with so many values."""
    return _among('{"name":"Anna","phone":[', '{"value":1}', "]}")(count // 3)


FOREIGN: Mapping[str, Callable[[], str]] = {
    "lists": lambda: '{"a":[' + "[]," * 330_000 + '[]],"integrations":1}',
    "objects": lambda: '{"a":[' + '{"":1},' * 140_000 + '1],"integrations":1}',
    "names that are nearly one": lambda: json.dumps(
        {"integrations": [{"type": "telegram"}], "lead_id": 1, **{f"sdrect{n}xyzw": 1 for n in range(40_000)}}
    ),
    "escapes": lambda: json.dumps(["\\u0069"] * 90_000, separators=(",", ":")),
    "half lists as texts": lambda: json.dumps(["[\\u0069"] * 90_000, separators=(",", ":")),
    "lists as texts": lambda: json.dumps(['["\\\\u0069"]'] * 40_000, separators=(",", ":")),
    "a list as a text": lambda: json.dumps({"integrations": 1, "a": f'["integrations",{"[]," * 330_000}1]'}),
}
"""By name: JSON that Airflow may be sent, and that is dear to look through for a request of ours."""


def as_bytes(name: str) -> bytes:
    """The body of this name."""
    body = json.dumps(FORMS[name](), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    assert len(body) <= MAX_BYTES, f"{name} has {len(body)} bytes"
    return body
