"""Field mapping: which of a lead's values goes into which field of a service. Written in an integration's settings.

A value is a constant (a number, true, a list, an object), or text with placeholders (`{lead_phone}`) and Jinja
expressions (`{{ lead.custom.city | upper }}`), also inside of lists and objects. All of it is checked at the door; what
an expression can do, and that it cannot do anything that takes long, is in `expressions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from leadcast.core.absent import as_object
from leadcast.core.errors import Unsendable
from leadcast.core.meant import as_meant
from leadcast.core.model import Lead
from leadcast.core.redact import one_line
from leadcast.integrations.text.expression_filters import MAX_NUMBER, NotComputableError, Work
from leadcast.integrations.text.expressions import parsed, value_of
from leadcast.integrations.text.template_values import text_of

MAX_FIELDS = 200
MAX_TARGET_CHARS = 128
MAX_SOURCE_CHARS = 16_384
"""Of all texts with braces in them; other texts are bounded by the body that they come in."""
MAX_VALUES = 1000
MAX_DEPTH = 10
MERGED_BY_KEY = ("fields", "contact_fields")
"""The settings that hold mappings: their keys are merged one by one."""


def filled(fields: Mapping[str, Any], *, lead: Lead) -> dict[str, Any]:
    """The fields with their values for this lead. Text that is one expression and nothing else keeps its type.

    What the lead does not have is None as such a lone expression, and nothing within a longer text.

    Raises:
        Unsendable: a value cannot be computed for this lead; names the field, not the lead's data.
    """
    work = Work()
    values = {}
    for target, value in fields.items():
        try:
            values[target] = _filled(value, lead, work)
        except NotComputableError as error:
            raise Unsendable(
                f"Field {one_line(target, limit=64)!r} cannot be filled in: {error}.", code="mapping"
            ) from None
    return values


def from_the_lead(values: Any, *, fields: Any) -> set[str]:
    """The texts in filled-in values that do not stand in the fields as they are: no error may repeat them."""
    return set(_texts(values)) - set(_texts(fields))


def merged(model: type[BaseModel], defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A request's settings over the installation's, both as this model takes them: what says "none" is not given.
    Those of `MERGED_BY_KEY` are merged key by key."""
    defaults, own = as_meant(model, defaults), as_meant(model, own)
    together = {**defaults, **own}
    for name in MERGED_BY_KEY:
        ours, theirs = defaults.get(name), own.get(name)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            together[name] = {**ours, **theirs}
    return together


def _filled(value: Any, lead: Lead, work: Work) -> Any:
    if isinstance(value, str):
        return value_of(value, lead=lead, work=work)
    if isinstance(value, Mapping):
        return {key: _filled(item, lead, work) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_filled(item, lead, work) for item in value]
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    else:
        yield text_of(value)


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    if len(fields) > MAX_FIELDS:
        raise ValueError(f"at most {MAX_FIELDS} fields")
    chars, count = 0, 0
    for target, value in fields.items():
        try:
            _check_target(target)
            for leaf in _leaves(value):
                count += 1
                if isinstance(leaf, str):
                    chars += len(leaf) if "{" in leaf else 0
                    if chars > MAX_SOURCE_CHARS or count > MAX_VALUES:
                        break
                    parsed(leaf)
                else:
                    _check_constant(leaf)
        except ValueError as error:
            raise ValueError(f"{one_line(target, limit=64)!r}: {error}") from None
        if chars > MAX_SOURCE_CHARS:
            raise ValueError(f"at most {MAX_SOURCE_CHARS} characters of expressions in all")
        if count > MAX_VALUES:
            raise ValueError(f"at most {MAX_VALUES} values in all")
    return fields


def _check_target(target: str) -> None:
    if not 1 <= len(target) <= MAX_TARGET_CHARS or not target.isprintable():
        raise ValueError(f"a field's name is 1 to {MAX_TARGET_CHARS} printable characters")


def _leaves(value: Any, depth: int = 1) -> Iterator[Any]:
    """Every value in lists and objects, and the lists and objects as None, so that they count."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        yield None
        for key, item in value.items():
            if not isinstance(key, str) or len(key) > MAX_TARGET_CHARS:
                raise ValueError(f"a key is at most {MAX_TARGET_CHARS} characters")
            yield from _leaves(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        yield None
        for item in value:
            yield from _leaves(item, depth + 1)
    else:
        yield value


def _check_constant(value: Any) -> None:
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, (int, float)):
        raise ValueError("a value is text, a number, true, false, null, a list or an object")
    if not abs(value) <= MAX_NUMBER:  # NaN as well
        raise ValueError("is too large a number")


Fields = Annotated[
    dict[str, Any],
    BeforeValidator(as_object),
    AfterValidator(_checked),
    Field(json_schema_extra={"maxProperties": MAX_FIELDS}),
]
"""Target → constant or text with expressions. A pydantic field of this type refuses what cannot be filled in."""
