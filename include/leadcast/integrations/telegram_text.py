"""How long a Telegram message is, and how a lead that is too long is made to fit (vendors.md 3.2, 3.3)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace

from leadcast.core.model import Lead
from leadcast.integrations import template_values

MAX_CHARS = 4096
"""Code points of a message after its tags and references are parsed."""
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
# Telegram knows only these four names; others stay as they are and count in full.
_REFERENCE = re.compile(r"&(?:lt|gt|amp|quot|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")
# Longest value, and how many custom fields: when shortening the comment is not enough.
_STEPS = ((1024, 40), (512, 40), (256, 20), (128, 20), (64, 10), (32, 10), (0, 0))


def visible(message: str) -> str:
    """What people see of a message in Telegram's HTML."""
    return _REFERENCE.sub(lambda found: html.unescape(found[0]), _TAG.sub("", message)).strip()


def fitted(lead: Lead, *, render: Callable[[Lead], str]) -> str | None:
    """The message about a lead, with as much of the lead as fits. None: even a lead without values makes it too long.

    The lead is cut before it is rendered, never the message: that might split a tag. The comment goes first.
    """
    lead = template_values.shortened(lead, limit=MAX_CHARS)
    message = render(lead)
    excess = len(visible(message)) - MAX_CHARS
    if excess <= 0:
        return message
    comment = lead.comment[: max(0, len(lead.comment) - excess - 1)]
    message = render(replace(lead, comment=comment + "…" if comment else ""))
    for limit, fields in _STEPS:
        if len(visible(message)) <= MAX_CHARS:
            return message
        message = render(template_values.shortened(lead, limit=limit, fields=fields))
    return message if len(visible(message)) <= MAX_CHARS else None
