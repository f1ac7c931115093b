"""The text of a Telegram message: its limits, its parse mode, what remains of it (vendors.md 3.2, 3.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from leadcast.sandbox.telegram.html import EntityError, parse_html, utf16_length

MAX_RAW_BYTES = 32_768
MAX_CHARS = 4_096


class TextError(ValueError):
    """The text is refused; the message is Telegram's, without 'Bad Request: '."""


def message_text(params: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """What people will see, and its entities; raises `TextError`."""
    source = params.get("text")
    source = "" if source is None else str(source)
    if not source:
        raise TextError("message text is empty")
    try:
        raw = source.encode("utf-8")
    except UnicodeEncodeError:
        raise TextError("strings must be encoded in UTF-8") from None
    if len(raw) > MAX_RAW_BYTES:
        raise TextError("text is too long")
    text, entities = _parsed(source, params)
    text, entities = _trimmed(text, entities)
    if not text:
        raise TextError("text must be non-empty")
    if len(text) > MAX_CHARS:
        raise TextError("message is too long")
    return text, entities


def _parsed(source: str, params: Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    match str(params.get("parse_mode") or "").lower():
        case "":
            return source, _given_entities(params.get("entities"))
        case "markdown" | "markdownv2":
            return source, []
        case "html":
            try:
                return parse_html(source)
            except EntityError as error:
                raise TextError(f"can't parse entities: {error}") from None
        case _:
            raise TextError("unsupported parse_mode")


def _given_entities(entities: Any) -> list[dict[str, Any]]:
    if isinstance(entities, str) and entities:
        try:
            entities = json.loads(entities)
        except (ValueError, RecursionError):
            raise TextError("can't parse entities JSON object") from None
    return [entity for entity in entities if isinstance(entity, dict)] if isinstance(entities, list) else []


def _trimmed(text: str, entities: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Without the spaces around it; entities move along."""
    left = utf16_length(text[: len(text) - len(text.lstrip())])
    text = text.strip()
    length = utf16_length(text)
    moved = []
    for entity in entities:
        start = max(int(entity.get("offset", 0)) - left, 0)
        end = min(int(entity.get("offset", 0)) + int(entity.get("length", 0)) - left, length)
        if end > start:
            moved.append({**entity, "offset": start, "length": end - start})
    return text, moved
