"""How long a Telegram message is, and how a lead that is too long is made to fit (vendors.md 3.2, 3.3)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace

from leadcast.core.errors import Unsendable
from leadcast.core.model import Lead
from leadcast.core.setting_choices import Language
from leadcast.integrations.text import template_values
from leadcast.integrations.text.templating import Templates

MAX_CHARS = 4096
"""Code points of a message after its tags and references are parsed."""
MAX_BYTES = 32_768
"""UTF-8 of a message as it is sent, tags and references included."""
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
# Telegram knows only these four names; others stay as they are and count in full.
_REFERENCE = re.compile(r"&(?:lt|gt|amp|quot|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")
# Longest value, and how many custom fields: when shortening the comment is not enough.
_STEPS = ((1024, 40), (512, 40), (256, 20), (128, 20), (64, 10), (32, 10), (0, 0))


def visible(message: str) -> str:
    """What people see of a message in Telegram's HTML."""
    return _parsed(message).strip()


def cut(text: str) -> str:
    """A text without markup, for a server that counts in units of UTF-16, of which an emoji takes two."""
    units = text.encode("utf-16-le")
    if len(units) <= 2 * MAX_CHARS:
        return text
    return units[: 2 * (MAX_CHARS - 1)].decode("utf-16-le", errors="ignore") + "…"


def fitted(lead: Lead, *, render: Callable[[Lead], str]) -> str | None:
    """The message about a lead, with as much of the lead as fits. None: even a lead without values makes it too long.

    The lead is cut before it is rendered, never the message: that might split a tag. The comment goes first.
    """
    lead = template_values.shortened(lead, limit=MAX_CHARS)
    message = render(lead)
    excess = _excess(message)
    if excess <= 0:
        return message
    comment = lead.comment[: max(0, len(lead.comment) - excess - 1)]
    message = render(replace(lead, comment=comment + "…" if comment else ""))
    for limit, fields in _STEPS:
        if _excess(message) <= 0:
            return message
        message = render(template_values.shortened(lead, limit=limit, fields=fields))
    return message if _excess(message) <= 0 else None


def message_about(
    lead: Lead, *, template: str, templates: Templates, language: Language | None = None, own_labels: bool = False
) -> str:
    """The message about a lead, in Telegram's HTML, at most 4096 visible characters.

    A lead that is too long is shortened before it is rendered (first its comment, then every value), never the
    rendered message: a cut may split a tag (vendors.md 3.3).

    Args:
        template: name of the template.
        own_labels: how the lead's custom fields are called, we ourselves say, and no stranger.

    Raises:
        Unsendable: there is no such template, it cannot be rendered, or is too long even without the lead.
    """

    def rendered(lead: Lead) -> str:
        return templates.part(template, "telegram.html", lead=lead, language=language, own_labels=own_labels).strip()

    message = fitted(lead, render=rendered)
    if message is None:
        raise Unsendable(
            f"Template {template!r} makes more than {MAX_CHARS} characters even for an empty lead.", code="template"
        )
    return message


def _parsed(message: str) -> str:
    return _REFERENCE.sub(lambda found: html.unescape(found[0]), _TAG.sub("", message))


def _excess(message: str) -> int:
    """How many characters have to go, at most: each is at least one of the bytes that are too many.

    Spaces at the ends count, too: which of them Telegram trims is its own affair.
    """
    return max(len(_parsed(message)) - MAX_CHARS, len(message.encode()) - MAX_BYTES)
