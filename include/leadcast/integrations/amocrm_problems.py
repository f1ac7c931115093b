"""What amoCRM's `validation-errors` say of what was sent: paths and codes. Its texts are localised (vendors.md 1.4)."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAX_SHOWN = 10
_FIELD = re.compile(r".*custom_fields_values\.[0-9]{1,4}")


class Problem(NamedTuple):
    """One thing that is wrong. `path` is dotted, places in lists are numbers."""

    path: str
    code: str


def problems_in(body: Any) -> list[Problem]:
    """All that an answer names, of all items."""
    items = body.get("validation-errors") if isinstance(body, dict) else None
    return [
        Problem(str(error.get("path", "?")), str(error.get("code", "?")))
        for item in _list(items)
        if isinstance(item, Mapping)
        for error in _list(item.get("errors"))
        if isinstance(error, Mapping)
    ]


def told(problems: Sequence[Problem], *, sent: Any) -> str:
    """`path code` for each, and in brackets which custom field is meant, if one is."""
    words = [f"{path} {code}{_named(_FIELD.match(path), sent)}" for path, code in problems[:MAX_SHOWN]]
    if len(problems) > MAX_SHOWN:
        words.append(f"and {len(problems) - MAX_SHOWN} more")
    return ", ".join(words) or "no field is named"


def numbers_as_text(sent: Any, problems: Sequence[Problem]) -> Any:
    """What was sent, with the numbers that amoCRM wants as text as such; None where something else is wrong, too.

    A field's type is only known to the account, and a lead's numbers go into text fields as well.
    """
    mended = copy.deepcopy(sent)
    for path, code in problems:
        *way, last = path.split(".")
        holder = _at(mended, way)
        value = holder.get(last) if isinstance(holder, dict) else None
        if code != "InvalidType" or last != "value" or type(value) not in (int, float):
            return None
        holder["value"] = f"{value:.15g}" if isinstance(value, float) else str(value)
    return mended if problems else None


def _named(field: re.Match[str] | None, sent: Any) -> str:
    entry = _at(sent, field[0].split(".")) if field else None
    name = (entry.get("field_code") or entry.get("field_id")) if isinstance(entry, dict) else None
    return f" ({name})" if name else ""


def _at(sent: Any, way: Sequence[str]) -> Any:
    """What stands at this place of the one item that was sent; None: nothing does."""
    here = sent[0] if isinstance(sent, list) and len(sent) == 1 else None
    for step in way:
        if isinstance(here, dict):
            here = here.get(step)
        elif isinstance(here, list) and step.isdecimal() and len(step) < 5 and int(step) < len(here):
            here = here[int(step)]
        else:
            return None
    return here


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
