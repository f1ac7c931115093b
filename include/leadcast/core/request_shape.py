"""Whether some JSON holds what looks like a request of ours, and what is left of it without its secrets.

For doors that are not ours: what comes through them is none of our business, unless somebody has taken the wrong one.
Light to import: every Airflow process loads it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

MASKED = "***"
_TEXTS_WITHIN_TEXTS = 3
"""JSON within a text within JSON: how far it is followed."""
_ASKED = "integrations"
SECRET_MEMBERS = frozenset({"credentials", "callback_url", "lead"})
_SECRET_IN_TEXT = ("credentials", "callback_url", "lead'", 'lead"', "lead:")
_OPEN = frozenset({_ASKED, "lead_id", "priority"})
"""What a request may show."""
_NOTHING: tuple[Any, ...] = (None, "", {}, [])
_AIRFLOWS = frozenset({"method"})
"""What Airflow writes beside the members of a body."""


def may_hold_request(text: str) -> bool:
    """Whether a longer look into this text, JSON or not, is worth it. It may be none of ours all the same."""
    low = text.lower()
    # a letter may be written as an escape
    return _ASKED in low or "\\u00" in low


def holds_request(data: Any, *, but: Collection[str] = ()) -> bool:
    """Whether there is, at any depth, an object that looks like a request with something secret in it.

    Args:
        but: members that are not looked into, say since Airflow seals them itself.
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


def looks_like_request(value: Mapping[Any, Any]) -> bool:
    """Whether this very object does: it asks for integrations, and brings something that is not to be shown. What is
    sealed may be."""
    members = {_bare(name): inner for name, inner in value.items()}
    if _ASKED not in members:
        return False
    given = {name for name, inner in members.items() if inner not in _NOTHING and not _is_sealed(inner)}
    return bool(given & SECRET_MEMBERS) or (_lists_types(members[_ASKED]) and bool(given - _OPEN - _AIRFLOWS))


def masked(data: Any) -> Any:
    """The same, but of what looks like a request only what it may show."""
    return _masked(data, 0)


def _masked(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        is_request = looks_like_request(value)
        return {
            name: MASKED
            if is_request and _bare(name) not in _OPEN | _AIRFLOWS and inner not in _NOTHING
            else _masked(inner, depth)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(inner, depth) for inner in value]
    if not isinstance(value, str) or depth >= _TEXTS_WITHIN_TEXTS or not may_hold_request(value):
        return value
    read = _read(value)
    if read is None:
        return MASKED if _reads_like_request(value) else value
    return json.dumps(_masked(read, depth + 1)) if holds_request(read) else value


def _read(text: str) -> Any:
    """An object or a list; None: the text is neither."""
    try:
        read = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict | list | str) else None


def _reads_like_request(text: str) -> bool:
    """Of what is no JSON: a piece of it, or the way in which Python writes it."""
    low = text.lower()
    return _ASKED in low and "{" in low and any(name in low for name in _SECRET_IN_TEXT)


def _lists_types(asked: Any) -> bool:
    items = list(asked.values()) if isinstance(asked, Mapping) else asked
    return isinstance(items, list) and any(isinstance(item, Mapping) and "type" in item for item in items)


def _is_sealed(value: Any) -> bool:
    return isinstance(value, Mapping) and list(value) == ["sealed"] and isinstance(value["sealed"], str)


def _bare(name: Any) -> str:
    return str(name).strip().lower()
