"""What a lead says that a CRM has no field of its own for, as plain text for a note or a comment.

A lead's words are a stranger's: they must not pass for a line of ours ("Source: VIP" in the third line of a comment).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from leadcast.core.model import Lead
from leadcast.core.setting_choices import Language
from leadcast.integrations.text.labels import LABELS, label_of, utm_label, utm_name
from leadcast.integrations.text.ways import addresses_in, each_phone

MAX_CHARS = 10_000


def remarks(
    lead: Lead,
    *,
    language: Language,
    region: str,
    with_company: bool = False,
    with_ways: bool = True,
    with_email: bool = False,
    without_utm: Collection[str] = (),
) -> str:
    """One `Label: value` a line, at most 10 000 characters; empty when there is nothing to say.

    Of too much, the comment is cut first, to half of that at most: what stands behind it is mostly short.

    Args:
        region: where a phone number without its country is from.
        with_company: say the company's name, too.
        with_ways: say a phone and an e-mail address that are stored otherwise than they were typed: names, extensions
            and what was found to be no number stand only there.
        with_email: say the e-mail address, too: the service takes what stands there for none.
        without_utm: these have a field of their own, as in `utm_source`.
    """
    utm = [(utm_label(name), value) for name, value in lead.utm.items() if utm_name(name) not in without_utm]
    custom = [(label_of(name), _text(value)) for name, value in lead.custom.items()]

    phone = lead.phone if with_ways and each_phone(lead.phone, region=region) != [lead.phone] else ""
    is_changed = (addresses_in(lead.email) or [lead.email]) != [lead.email]
    email = lead.email if with_email or (with_ways and is_changed) else ""

    def with_comment(comment: str) -> str:
        company = lead.company if with_company else ""
        own = {
            "phone": said(phone),
            "email": said(email),
            "company": said(company),
            "comment": comment,
            "source": said(lead.source),
        }
        pairs = [
            *((LABELS[language][name], value) for name, value in own.items()),
            *((label, said(value)) for label, value in (*utm, *custom)),
        ]
        return "\n".join(f"{label}:{value}" for label, value in pairs if value)

    comment = said(lead.comment)
    text = with_comment(comment)
    if len(text) > MAX_CHARS:
        room = max(len(comment) - (len(text) - MAX_CHARS), MAX_CHARS // 2)
        text = with_comment(_cut(comment, limit=room))
    return _cut(text, limit=MAX_CHARS)


def said(value: str) -> str:
    """What stands behind a label's colon: the value; of several lines each on its own, behind a `> `, as letters quote
    somebody else. Empty where there is nothing."""
    lines = value.splitlines()
    if not value.strip():
        return ""
    return "".join(f"\n> {line}".rstrip() for line in lines) if len(lines) > 1 else f" {value.strip()}"


def _cut(text: str, *, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
