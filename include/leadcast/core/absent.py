"""What of a request counts as not given. Laravel turns every empty field of a form into null, others send empty text,
PHP writes an empty array as `[]`, whether a list or an object was meant, and false or 0 for "there is none": where
something else is wanted, none of them means more than nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leadcast.core import blanks


def is_blank(value: Any) -> bool:
    """Whether nobody sees anything of it: null, or text of blanks."""
    return value is None or (isinstance(value, str) and not blanks.bare(value))


def is_none(value: Any) -> bool:
    """Whether it says "there is none", where neither a flag nor a number is wanted."""
    return is_blank(value) or (isinstance(value, bool | int | float | list | Mapping) and not value)


def as_object(value: Any) -> Any:
    """An empty object for PHP's empty array."""
    return {} if value == [] else value


def without_blanks(values: Any) -> Any:
    """The members of an object that are given. Not within one: a null or an empty text in a mapping is a value."""
    if not isinstance(values, Mapping):
        return values
    return {name: value for name, value in values.items() if not is_blank(value)}


def filled_in(values: Any) -> Any:
    """An account's fields without blanks, nor any around them, at every depth: a form that was left empty says nothing
    of the account."""
    if isinstance(values, Mapping):
        return {name: filled_in(value) for name, value in values.items() if not is_blank(value)}
    if isinstance(values, list | tuple):
        return [filled_in(value) for value in values if not is_blank(value)]
    return blanks.bare(values) if isinstance(values, str) else values
