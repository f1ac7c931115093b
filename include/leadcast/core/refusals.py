"""What is refused of a request, and how it is said: by the way to each field, never with a value that was sent."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from leadcast.core.field_words import place_of, words_of
from leadcast.core.request_errors import FieldError, InvalidRequest
from leadcast.core.unknown_fields import UNKNOWN_FIELD, unknown_field
from leadcast.core.values import MAX_DEPTH, is_deep

M = TypeVar("M", bound=BaseModel)
Way = tuple[str | int, ...]
_MOST_HINTS = 20
_SURROGATE = re.compile("[\ud800-\udfff]")


def check(model: type[M], data: Any) -> M:
    """`data` as this model.

    Raises:
        InvalidRequest: with every field at fault.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        reject(field_errors(error, model, data=data))


def field_errors(
    error: ValidationError,
    model: type[BaseModel],
    *,
    data: Any,
    prefix: Way = (),
    elsewhere: Mapping[str, Collection[str]] = MappingProxyType({}),
    is_part: bool = False,
) -> list[FieldError]:
    """Pydantic's findings as ours: without the values, and without the names of types on the way to them.

    Args:
        model: what has refused.
        data: what was validated.
        prefix: the way to it.
        elsewhere: the fields that stand in other places of the request, by the name of the place.
        is_part: the rest comes from elsewhere: what is missing here, or does not fit together, is no fault.
    """
    found = error.errors(include_input=False, include_url=False)
    if is_part:
        found = [item for item in found if item["loc"] and item["type"] != "missing"]
    ways = [_way(item["loc"], data, is_missing=item["type"] == "missing") for item in found]

    def words(index: int, item: Mapping[str, Any]) -> str:
        # a body has room for very many of them, and looking for what is meant takes its time
        if item["type"] == UNKNOWN_FIELD and index < _MOST_HINTS:
            return unknown_field(model, item["loc"], elsewhere=elsewhere)
        return words_of(item)

    errors = [
        FieldError((*prefix, *way), words(index, item))
        for index, (way, item) in enumerate(zip(ways, found, strict=True))
    ]
    return list(dict.fromkeys(errors))


def reject(errors: Sequence[FieldError]) -> NoReturn:
    """Refuses a request for these."""
    raise InvalidRequest(in_short(errors), errors=errors)


def in_short(errors: Sequence[FieldError]) -> str:
    """The first of them, and how many more there are."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place_of(first.loc) or 'body'}: {first.msg}{more}"


def refuse_deep(data: Any, *, than: int = MAX_DEPTH) -> None:
    """Refuses lists and objects that nobody has nested by hand."""
    if is_deep(data, than=than):
        raise InvalidRequest("The body is nested too deeply.")


def refuse_unstorable(data: Any, *, loc: Way = ()) -> None:
    """Refuses what no database and no service takes: NUL characters, halves of surrogate pairs, infinite numbers."""
    if isinstance(data, float):
        if not math.isfinite(data):
            reject([FieldError(loc, "is too large a number, or none")])
    elif isinstance(data, str):
        if "\x00" in data or _SURROGATE.search(data):
            reject([FieldError(loc, "holds a NUL character, or what is no character")])
    elif isinstance(data, Mapping):
        for key, value in data.items():
            refuse_unstorable(key, loc=(*loc, "(key)"))
            refuse_unstorable(value, loc=(*loc, str(key)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            refuse_unstorable(value, loc=(*loc, index))


def _way(loc: Way, data: Any, *, is_missing: bool) -> Way:
    """The steps that lead through the data. Between them pydantic names what it has tried, as `constrained-str`."""
    way: list[str | int] = []
    here = data
    for step in loc:
        is_list = isinstance(here, list | tuple) and isinstance(step, int) and step < len(here)
        if is_list or (isinstance(here, Mapping) and step in here):
            way.append(step)
            here = here[step]
    return (*way, loc[-1]) if is_missing else tuple(way)
