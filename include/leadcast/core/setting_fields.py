"""What a setting says of itself beyond its type: its unit, whether it is a secret, what is wrong with its value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Secret, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from leadcast.core.field_words import words_of
from leadcast.core.redact import one_line
from leadcast.core.unknown_fields import UNKNOWN_FIELD, nearest

_LONGEST_SHOWN = 80
_NOTHING = ("", "{}", "()")


@dataclass(frozen=True)
class Unit:
    """What the number of a setting counts: seconds, days, attempts. Shown beside it in docs and in errors."""

    name: str


Seconds = Annotated[float, Unit("seconds")]
WholeSeconds = Annotated[int, Unit("seconds")]


def unit_of(field: FieldInfo) -> str:
    """The unit of a number; empty for anything else."""
    return next((rule.name for rule in field.metadata if isinstance(rule, Unit)), "")


def is_secret(field: FieldInfo) -> bool:
    """Whether the value is never to be shown, and may come from a command or a secrets backend."""
    return isinstance(field.get_default(call_default_factory=True), (Secret, SecretStr))


def default_text(field: FieldInfo) -> str:
    """The default as a configuration file would hold it; empty: there is none."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, (Secret, SecretStr)):
        return ""
    text = ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
    return "" if text in _NOTHING else text


def comma_separated(value: Any) -> Any:
    """The items of a text with commas; anything else as it is."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def parsed_json(value: Any) -> Any:
    """What a JSON text holds, an empty one nothing; anything else as it is.

    Raises:
        ValueError: it is not JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def what_is_wrong(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong: which setting, why, and the value that was given unless it is a secret."""
    first = error.errors(include_url=False)[0]
    # pydantic names the way through its validators, too: lax-or-strict[…]
    loc = [str(part) for part in first["loc"] if "[" not in str(part)]
    if first["type"] == UNKNOWN_FIELD:
        return no_such_setting(loc[0], model.model_fields)
    # what two settings contradict each other in has no place of its own; its text names them
    where = f"{'.'.join(loc)}: " if loc else ""
    return where + words_of(first) + _given(first["input"], loc, model.model_fields)


def no_such_setting(name: str, known: Iterable[str]) -> str:
    """Says that a name is unknown, and which one it may be meant for."""
    name = one_line(name, limit=_LONGEST_SHOWN)
    near = nearest(name, known)
    return f"{name}: there is no such setting" + (f". Is {near} meant?" if near else "")


def _given(value: Any, loc: list[str], fields: Mapping[str, FieldInfo]) -> str:
    field = fields.get(loc[0]) if loc else None
    if field is None or is_secret(field) or isinstance(value, (Mapping, list)):
        return ""
    return f" (you gave {one_line(str(value), limit=_LONGEST_SHOWN) or 'nothing'})"
