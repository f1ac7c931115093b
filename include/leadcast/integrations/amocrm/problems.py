"""What amoCRM's refusals say: `validation-errors` of what was sent, by paths and codes, and its own numbers of what is
wrong with the account. Its texts are localised (vendors.md 1.4)."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAX_SHOWN = 10
_NUMBER = re.compile(r"[^0-9\n]{1,40}([0-9]{3})(?![0-9])")
_SUPPORT = "support@"
_ABOUT_ACCOUNT = {
    "101": "there is no such account",
    **dict.fromkeys(("110", "112"), "it does not let this user in"),
    "113": "it does not let this machine's address in",
    **dict.fromkeys(("202", "244", "288"), "its user may not add this, or the subscription is over"),
    "402": "it has not paid for this",
    **dict.fromkeys(("425", "426", "428"), "this is switched off in it"),
}
"""amoCRM's own numbers, from its list of error codes. 244 is what it answers to `POST /leads` without the right to add
them, and in an account whose subscription is over (amocrm/amocrm-api-php#33)."""
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


def account_problem(body: Any) -> tuple[str, str] | None:
    """The number and what it says of the account; None: the answer is about what was sent, or not understood.

    The number stands only in the text: "Код ошибки 244. …", "Error code 244. …", and whom to write to about it.
    """
    detail = body.get("detail") if isinstance(body, dict) and not problems_in(body) else None
    if not isinstance(detail, str) or _SUPPORT not in detail:
        return None
    found = _NUMBER.match(detail)
    return (found[1], _ABOUT_ACCOUNT[found[1]]) if found and found[1] in _ABOUT_ACCOUNT else None


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
