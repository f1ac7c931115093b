"""PHP's habits, which Bitrix24 shows to the outside: bracketed parameters, and empty maps that come as `[]`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

MAX_PARAMETERS = 5_000
MAX_DEPTH = 20

_KEY = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")


def parse_query(query: str) -> dict[str, Any]:
    """`a[b][0]=x` as `{"a": {"b": ["x"]}}`: what PHP makes of a query or a form. Raises ValueError when too big."""
    tree: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS):
        match = _KEY.match(key)
        if match is None:
            continue
        parts = [match[1], *_PART.findall(match[2])]
        if len(parts) <= MAX_DEPTH:
            _put(tree, parts, value)
    return {key: _with_lists(value) for key, value in tree.items()}


def map_or_list(value: dict[str, Any]) -> dict[str, Any] | list[Any]:
    """An empty PHP array is `[]` in JSON, whatever it was meant to be."""
    return value or []


def _put(tree: dict[str, Any], parts: list[str], value: str) -> None:
    node = tree
    for position, part in enumerate(parts):
        name = part if part or position == 0 else str(len(node))
        if position == len(parts) - 1:
            node[name] = value
            return
        child = node.get(name)
        if not isinstance(child, dict):
            child = node[name] = {}
        node = child


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    converted = {key: _with_lists(item) for key, item in value.items()}
    is_list = list(converted) == [str(index) for index in range(len(converted))]
    return list(converted.values()) if is_list else converted
