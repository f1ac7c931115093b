"""What people, forms and secret stores leave around a value of a connection, or in place of one: nothing.

Airflow's form saves a field that was left empty as null; a file mounted as a secret ends with a line end; what is
pasted from a chat brings blanks, some of them invisible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNSEEN = "\x00\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""What is not seen and no blank to Python."""


def trimmed(text: str) -> str:
    """`text` without the blanks, line ends and invisible characters around it."""
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while end > start and _is_blank(text[end - 1]):
        end -= 1
    return text[start:end]


def without_line_ends(text: str) -> str:
    """A password, in which a blank may count at either end, without the line ends around it; empty if it is blank."""
    return text.strip("\r\n") if trimmed(text) else ""


def filled_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of `values` when null and blank text are gone, at every depth; texts are trimmed."""
    return {name: found for name, value in values.items() if (found := meant(value)) is not None}


def meant(value: Any) -> Any:
    """A JSON value without blanks at any depth; None where there was nothing else. False and 0 stay."""
    if isinstance(value, str):
        return trimmed(value) or None
    if isinstance(value, Mapping):
        return filled_in(value)
    if isinstance(value, list):
        return [found for item in value if (found := meant(item)) is not None]
    return value


def _is_blank(character: str) -> bool:
    return character.isspace() or character in _UNSEEN
