"""What an expression may do with a value: the filters and tests of field mapping, and how much work they may make.

Most are Jinja's own by name, written anew because Jinja's have no bound: a `replace` may make gigabytes out of a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from leadcast.integrations.text.template_values import text_of

MAX_CHARS = 80_000
"""The longest text: a lead's longest comment with some words around it."""
MAX_NUMBER = 2**63 - 1
_MAX_WORK = 2_000_000
_STEP = 50
_MAX_NUMBER_CHARS = 64
_MAX_DIGITS = 15
_ALL_BUT_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


class NotComputableError(ValueError):
    """A value cannot be had for this lead. The text never holds a lead's data."""


class Work:
    """How much the expressions of one mapping may do: characters read and written, over all of its fields."""

    def __init__(self) -> None:
        self._left = _MAX_WORK

    def spend(self, *values: Any) -> None:
        """Counts a step over these values.

        Raises:
            NotComputableError: a text is too long, or there were too many steps.
        """
        for value in values:
            if isinstance(value, (list, tuple)):
                self.spend(*value)
            size = len(value) if isinstance(value, str) else 0
            if size > MAX_CHARS:
                raise NotComputableError(f"a text of over {MAX_CHARS} characters")
            self._left -= size + _STEP
        if self._left < 0:
            raise NotComputableError("too much to do for one mapping")


def number(value: Any) -> int | float:
    """`value`, if one can calculate with it.

    Raises:
        NotComputableError: not a number, or too large.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotComputableError("a number is needed; use the filters int or float, and ~ to join texts")
    if not abs(value) <= MAX_NUMBER:  # NaN as well
        raise NotComputableError("a number is too large")
    return value


def joined(values: list[Any], separator: str = "") -> str:
    """The values as one text.

    Raises:
        NotComputableError: it would be too long.
    """
    texts = [text_of(value) for value in values]
    if sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0) > MAX_CHARS:
        raise NotComputableError(f"a text of over {MAX_CHARS} characters")
    return separator.join(texts)


def _default(value: Any, other: Any = "", falsy: bool = False) -> Any:
    return other if value is None or value == "" or (falsy and not value) else value


def _replace(value: Any, old: Any, new: Any) -> str:
    text, gone, put = text_of(value), text_of(old), text_of(new)
    if not gone:
        raise NotComputableError("replace needs to know what to replace")
    if len(text) + text.count(gone) * (len(put) - len(gone)) > MAX_CHARS:
        raise NotComputableError(f"a text of over {MAX_CHARS} characters")
    return text.replace(gone, put)


def _truncate(value: Any, length: Any = 255, killwords: bool = False, end: Any = "...") -> str:
    text, mark, limit = text_of(value), text_of(end), _whole(length)
    if len(text) <= limit:
        return text
    kept = text[: max(limit - len(mark), 0)]
    return (kept if killwords else kept.rsplit(" ", 1)[0]) + mark[:limit]


def _int(value: Any, default: Any = 0) -> Any:
    exact = _parsed(value, int)
    if exact is not None:
        return exact
    near = _parsed(value, float)
    return default if near is None else int(near)


def _float(value: Any, default: Any = 0.0) -> Any:
    found = _parsed(value, float)
    return default if found is None else found


def _parsed(value: Any, kind: Callable[[Any], int | float]) -> int | float | None:
    if not isinstance(value, (str, int, float)) or (isinstance(value, str) and len(value) > _MAX_NUMBER_CHARS):
        return None
    try:
        found = kind(value)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) <= MAX_NUMBER else None  # NaN is not


def _round(value: Any, precision: Any = 0) -> float:
    return round(float(number(value)), min(_whole(precision), _MAX_DIGITS))


def _whole(value: Any) -> int:
    found = number(value)
    if not isinstance(found, int) or found < 0:
        raise NotComputableError("a whole number is needed")
    return found


def _items(value: Any) -> Any:
    if not isinstance(value, (str, list, tuple)):
        raise NotComputableError("a text or a list is needed")
    return value


def _join(value: Any, separator: Any = "") -> str:
    if not isinstance(value, list):
        raise NotComputableError("a list is needed")
    return joined(value, text_of(separator))


def _digits(value: Any) -> str:
    return text_of(value).encode("ascii", "ignore").translate(None, _ALL_BUT_DIGITS).decode()


def _phone(value: Any) -> str:
    digits = _digits(value)
    return f"+{digits}" if digits else ""


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "capitalize": lambda value: text_of(value).capitalize(),
        "default": _default,
        "digits": _digits,
        "first": lambda value: next(iter(_items(value)), None),
        "float": _float,
        "int": _int,
        "join": _join,
        "last": lambda value: next(iter(_items(value)[-1:]), None),
        "length": lambda value: len(_items(value)),
        "lower": lambda value: text_of(value).lower(),
        "phone": _phone,
        "replace": _replace,
        "round": _round,
        "string": text_of,
        "title": lambda value: text_of(value).title(),
        "trim": lambda value: text_of(value).strip(),
        "truncate": _truncate,
        "upper": lambda value: text_of(value).upper(),
    }
)
"""By name. Each takes the value first, and makes no text over `MAX_CHARS` (but for letters that upper case doubles)."""

TESTS: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "boolean": lambda value: isinstance(value, bool),
        "defined": lambda value: value is not None,
        "none": lambda value: value is None,
        "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
        "string": lambda value: isinstance(value, str),
        "undefined": lambda value: value is None,
    }
)
"""What may stand after `is`. A field that the lead does not have is the same as none."""
