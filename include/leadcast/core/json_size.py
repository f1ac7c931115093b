"""How many values a JSON text may hold, told before it is parsed: what is done with them costs far more than that.

Light to import: every Airflow process loads it.
"""

from __future__ import annotations

import re

MAX_VALUES = 100_000
"""In one body. One of a mebibyte with more has less than ten characters a value."""
_FEW = 1000
"""So many are not counted anew without the texts."""
# to the end where it has none: a start that is tried again and again would not be linear
_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def most_values(text: str) -> int:
    """How many values it holds at most, with objects and lists. Commas and brackets within texts are none; where there
    are few in all, they may be taken for some."""
    count = _count(text)
    return count if count <= _FEW else _count(_TEXT.sub("", text))


def _count(text: str) -> int:
    return 1 + text.count(",") + text.count("[") + text.count("{")
