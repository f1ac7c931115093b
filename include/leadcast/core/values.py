"""Values as JSON has them, and as people read them, whatever a caller or a database gave."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

MAX_DEPTH = 100
"""How many lists and objects may stand in one another."""
_MOST_DIGITS = 1000
"""Of a whole number."""
_MOST_BITS = 3322
"""The same."""


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


def is_deep(value: Any) -> bool:
    """Whether more than `MAX_DEPTH` lists and objects stand in one another."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [each for each in level if isinstance(each, Mapping | list | tuple)]
        if not inner:
            return False
        level = [item for each in inner for item in (each.values() if isinstance(each, Mapping) else each)]
    return True


def text_of(value: Any) -> str:
    """A value of JSON as people read it: a list of plain values with commas, an object as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        case list() if not any(isinstance(item, dict | list) for item in value):
            return ", ".join(text for item in value if (text := text_of(item).strip()))
    return json.dumps(value, ensure_ascii=False)
