"""Whether some JSON holds what looks like a request of ours, and what is left of it without its secrets.

For doors that are not ours: what comes through them is none of our business, unless somebody has taken the wrong one.
Light to import: every Airflow process loads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from leadcast.core.budget import PER_EXPRESSION, PER_VALUE, spend
from leadcast.core.json_size import most_values
from leadcast.core.sealed_form import is_sealed

MASKED = "***"
_TEXTS_WITHIN_TEXTS = 3
"""JSON within a text within JSON: how far it is followed."""
_DEEPEST = 50
"""How many levels are masked piece by piece. Whatever lies deeper is masked as a whole, if it is a matter of ours."""
_ASKED = "integrations"
_TYPE = "type"
_ID = "lead_id"
SECRET_MEMBERS = frozenset({"credentials", "callback_url", "lead"})
_OPEN = frozenset({_ASKED, _ID, "priority"})
"""What a request may show."""
_NOTHING: tuple[Any, ...] = (None, "", {}, [])
_AIRFLOWS = frozenset({"method"})
"""What Airflow writes beside the members of a body."""
_NEAR_ENOUGH = 0.6
_LONGEST_NAME = 80
_LETTER_AS_ESCAPE = re.compile(r"\\u00[4-7]")
"""One that can be of these words, or the backslash of another one. Letters of most languages are none of them."""
_ASKED_IN_TEXT = re.compile(r"""(?<![\w-])integrations[\\"']{0,8}\s{0,8}:\s{0,8}[\\"']{0,8}(?:\[|\{(?!\{))""")
_TYPE_IN_TEXT = re.compile(r"""(?<![\w-])type[\\"']{0,8}\s{0,8}:\s{0,8}[\\"']{0,8}([\w-]{1,64})""")
_ID_IN_TEXT = re.compile(r"""(?<![\w-])lead_id[\\"']{0,8}\s{0,8}:""")
_SECRET_IN_TEXT = re.compile(
    r"""(?<![\w-])(?:credentials|callback_url|lead)[\\"']{0,8}\s{0,8}:"""
    r"""(?!\s{0,8}(?:null|none|\[\]|\{\}|[\\"']{0,8}[,}\]]|\{[\\"']{0,8}sealed))"""
)


def may_hold_request(text: str) -> bool:
    """Whether a longer look into this text, JSON or not, is worth it. It may be none of ours all the same."""
    return _ASKED in text.lower() or _LETTER_AS_ESCAPE.search(text) is not None


def holds_request(data: Any, *, but: Collection[str] = ()) -> bool:
    """Whether there is, at any depth, an object that looks like a request with something secret in it.

    Args:
        but: members that are not looked into, say since Airflow seals them itself.

    Raises:
        SpentError: the JSON in its texts is more than is left to spend. Where nothing is measured, never.
    """
    waiting = [(data, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Mapping):
            if looks_like_request(value):
                return True
            waiting += [(inner, depth) for name, inner in value.items() if name not in but]
        elif isinstance(value, list | tuple):
            waiting += [(inner, depth) for inner in value]
        elif isinstance(value, str) and depth < _TEXTS_WITHIN_TEXTS and may_hold_request(value):
            read = _read(value)
            if read is None and _reads_like_request(value):
                return True
            waiting.append((read, depth + 1))
    return False


def is_cut_request(text: str) -> bool:
    """Whether a text that somebody has cut off may be a request: what it asks for may have stood behind the cut."""
    low = text.lower()
    return _ID_IN_TEXT.search(low) is not None and _SECRET_IN_TEXT.search(low) is not None


def looks_like_request(value: Mapping[Any, Any]) -> bool:
    """Whether this very object does: it asks for an integration of ours, and brings something that is not to be shown.
    Another program may have integrations, too; of types that are none of ours it is a request only by its `lead_id`.
    What is sealed may be shown."""
    members = [(_bare(name), inner) for name, inner in value.items()]
    asked = [inner for name, inner in members if name == _ASKED]
    if not asked:
        return False
    given = {name for name, inner in members if inner not in _NOTHING and not is_sealed(inner)}
    if given & SECRET_MEMBERS:
        return {_ASKED, _ID} <= given or any(map(_asks_for_ours, asked))
    may_be = _ID in given and any(map(_is_misspelt, given - _OPEN - _AIRFLOWS))
    return may_be and any(map(_asks_for_ours, asked))


def masked(data: Any) -> Any:
    """The same, but of what looks like a request only what it may show."""
    return _masked(data, 0, 0)


def _masked(value: Any, texts: int, level: int) -> Any:
    if level >= _DEEPEST:
        return MASKED if holds_request(value) else value
    if isinstance(value, Mapping):
        is_request = looks_like_request(value)
        return {
            name: MASKED
            if is_request and _bare(name) not in _OPEN | _AIRFLOWS and inner not in _NOTHING
            else _masked(inner, texts, level + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(inner, texts, level + 1) for inner in value]
    if not isinstance(value, str) or texts >= _TEXTS_WITHIN_TEXTS or not may_hold_request(value):
        return value
    read = _read(value)
    if read is None:
        return MASKED if _reads_like_request(value) else value
    return _as_text(_masked(read, texts + 1, level + 1)) if holds_request(read) else value


def _as_text(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return MASKED


def _read(text: str) -> Any:
    """An object or a list; None: the text is neither."""
    spend(PER_EXPRESSION)
    if not text.lstrip().startswith(("{", "[", '"')):
        return None
    spend_on(text)
    try:
        read = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict | list | str) else None


def spend_on(text: str) -> None:
    """Takes what it costs to look through this JSON, before it is parsed.

    Raises:
        SpentError: there is not that much left.
    """
    spend(PER_VALUE * most_values(text))


def _reads_like_request(text: str) -> bool:
    """Of what is no JSON: a piece of it, what a shell has left of it, or the way in which Python writes it. A script or
    a statement that only has the same words is none."""
    low = text.lower()
    asked = _ASKED_IN_TEXT.search(low)
    if asked is None or _SECRET_IN_TEXT.search(low) is None:
        return False
    ours = _ours()
    return any(found[1] in ours for found in _TYPE_IN_TEXT.finditer(low, asked.end()))


def _asks_for_ours(asked: Any) -> bool:
    items = list(asked.values()) if isinstance(asked, Mapping) else asked
    if not isinstance(items, list | tuple):
        return False
    objects = [item for item in items if isinstance(item, Mapping)]
    kinds = {_bare(kind) for item in objects for name, kind in item.items() if _bare(name) == _TYPE}
    return bool(kinds) and not kinds.isdisjoint(_ours())


def _ours() -> set[str]:
    """The types of integrations that are installed, in small letters."""
    from leadcast.integrations import registry

    return {name.lower() for name in registry.types()}


def _is_misspelt(name: str) -> bool:
    from difflib import get_close_matches

    spend(PER_EXPRESSION)  # dear, where many names are nearly one of these
    return bool(get_close_matches(name[:_LONGEST_NAME], SECRET_MEMBERS, n=1, cutoff=_NEAR_ENOUGH))


def _bare(name: Any) -> str:
    return str(name).strip().lower()
