"""Values as JSON has them, and as people read them, whatever a caller or a database gave."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import Any

MAX_DEPTH = 100
"""How many lists and objects may stand in one another."""
MAX_DEPTH_OF_BODY = 2 * MAX_DEPTH
"""The same of all that is looked into: in a lead, what lies too deep is left out."""
_MOST_DIGITS = 1000
"""Of a whole number."""
_MOST_BITS = 3322
"""The same."""
_ALONE = (str, int, float, type(None))
"""In which nothing else can be."""
_EXACT = 2**53
"""From here on, floats lack digits."""


def plain(value: Any) -> Any:
    """A value as JSON has it; None for a number that no service can read."""
    match value:
        case None | bool() | str():
            return value
        case int() | float():
            return value if is_sendable(value) else None
        case Decimal():
            return int(value) if _is_whole(value) else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return bytes(value).decode("utf-8", errors="replace")
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
    return str(value)


def is_sendable(value: Any) -> bool:
    """Whether it is no number, or one that a service can read: finite, and of at most 1000 digits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or value.bit_length() <= _MOST_BITS


def _is_whole(value: Decimal) -> bool:
    return value.is_finite() and value.adjusted() < _MOST_DIGITS and value == value.to_integral_value()


def is_whole(value: float) -> bool:
    """Whether a number is a whole one, and is known to the last digit."""
    return isinstance(value, int) or (value.is_integer() and abs(value) < _EXACT)


def is_deep(value: Any, *, than: int = MAX_DEPTH) -> bool:
    """Whether more than so many lists and objects stand in one another."""
    return bool(_at_depth(value, than))


def cut_below(value: Any, depth: int) -> None:
    """Empties, in place, the lists and objects that lie deeper than this."""
    for each in _at_depth(value, depth):
        each.clear()


def first_values(data: Mapping[Any, Any], at_most: int) -> Mapping[Any, Any]:
    """A copy with so many of its values, those first that lie less deep, and the lists and objects among them cut to
    what is left; the very same, if it holds no more."""
    if not _holds_more(data, at_most):
        return data
    kept: dict[Any, Any] = {}
    waiting: deque[tuple[Any, Any]] = deque([(data, kept)])
    while waiting and at_most:
        source, into = waiting.popleft()
        items: Iterable[Any] = source.items() if isinstance(source, Mapping) else enumerate(source)
        for name, value in islice(items, at_most):
            at_most -= 1
            copied = value
            if _within([value]):
                copied = {} if isinstance(value, Mapping) else []
                waiting.append((value, copied))
            if isinstance(into, dict):
                into[name] = copied
            else:
                into.append(copied)
    return kept


def _holds_more(value: Any, than: int) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        than -= len(each)
        if than < 0:
            return True
        waiting += _within(list(each.values() if isinstance(each, Mapping) else each))
    return False


def _at_depth(value: Any, depth: int) -> list[Any]:
    """The lists and objects within so many others."""
    level = _within([value])
    for _ in range(depth):
        if not level:
            break
        level = _within([item for each in level for item in (each.values() if isinstance(each, Mapping) else each)])
    return level


def _within(values: list[Any]) -> list[Any]:
    # there may be very many, most of them plain: what is dear is asked last
    return [value for value in values if not isinstance(value, _ALONE) and isinstance(value, Mapping | list | tuple)]


def text_of(value: Any) -> str:
    """A value of JSON as people read it: a list of plain values with commas, an object as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case float() if is_whole(value):
            return str(int(value))
        case list() if not any(isinstance(item, dict | list) for item in value):
            return ", ".join(text for item in value if (text := text_of(item).strip()))
    return json.dumps(value, ensure_ascii=False)
