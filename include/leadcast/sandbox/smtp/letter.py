"""A received letter, read: subject, addresses, text and HTML part."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

MAX_PART_CHARS = 500_000
_HEADERS = {
    "subject": "subject",
    "to": "to",
    "cc": "cc",
    "from": "from",
    "reply_to": "reply-to",
    "message_id": "message-id",
    "date": "date",
}


def read_letter(content: bytes) -> dict[str, Any]:
    """What people and tests ask of a letter; None for what it has not. Never raises: a letter comes from outside."""
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    letter: dict[str, Any] = {name: _header(message, header) for name, header in _HEADERS.items()}
    letter["text"] = _part(message, "plain")
    letter["html"] = _part(message, "html")
    letter["mail_headers"] = [[name, str(value)] for name, value in message.raw_items()][:200]
    letter["size_bytes"] = len(content)
    return letter


def _header(message: EmailMessage, name: str) -> str | None:
    try:
        value = message[name]
    except Exception:  # the header parser raises several kinds on garbage
        return None
    return None if value is None else str(value)


def _part(message: EmailMessage, kind: str) -> str | None:
    try:
        part = message.get_body(preferencelist=(kind,))
        content = None if part is None else part.get_content()
    except Exception:  # unknown charsets, broken encodings
        return None
    return str(content)[:MAX_PART_CHARS] if isinstance(content, str) else None
