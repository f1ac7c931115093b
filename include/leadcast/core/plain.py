"""Text and numbers from outside, made such that a database, a log and a page can hold them.

Half a character (a lone surrogate), NUL and numbers without end can be written nowhere; what turns the reading
direction around hides what follows it. Words stay as they are, emoji that are joined of several included.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

LONGEST_S = 30 * 86400.0
_NOT_A_CHARACTER = re.compile(r"[\x00\ud800-\udfff]")
_UNSEEN = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]")
_MOST = 2**63 - 1


def writable(text: str) -> str:
    """`text` with U+FFFD for what is no character: half of one, or NUL."""
    return text if text.isprintable() else _NOT_A_CHARACTER.sub("\ufffd", text)


def plain_text(text: str) -> str:
    """The same, without controls other than tab and line ends, and without those that turn the reading direction."""
    return text if text.isprintable() else _UNSEEN.sub("", writable(text))


def plain(value: Any) -> Any:
    """What a service says in JSON, all texts in it plain, names included. A number that is none, or has more than 64
    bits, is None.

    Raises:
        RecursionError: it goes down too deep.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -_MOST <= value <= _MOST else None
    return _each(value, plain_text, plain)


def as_json(value: Any) -> str:
    """The JSON that a database takes, whatever `value` holds: the last line of defence, which changes no ordinary word.

    What JSON cannot hold becomes the name of its type.
    """
    try:
        return json.dumps(_storable(value))
    except RecursionError:
        return "null"


def _storable(value: Any) -> Any:
    return _each(value, writable, _storable)


def _each(value: Any, text: Callable[[str], str], inner: Callable[[Any], Any]) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return {text(str(name)): inner(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [inner(held) for held in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int):
        return value
    return f"<{type(value).__name__}>"  # not its text, which may hold anything


def seconds(value: float | None) -> float | None:
    """A number of seconds to wait, 0 to a month; None where it is no number."""
    return None if value is None or math.isnan(value) else min(max(value, 0.0), LONGEST_S)
