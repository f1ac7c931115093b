"""What a lead says that a CRM has no field of its own for, as plain text for a note or a comment."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from leadcast.core.model import Lead
from leadcast.core.settings import Language

MAX_CHARS = 10_000
MAX_LABEL_CHARS = 128
_LABELS = {
    Language.RU: {"company": "Компания", "comment": "Комментарий", "source": "Источник"},
    Language.EN: {"company": "Company", "comment": "Comment", "source": "Source"},
}


def remarks(lead: Lead, *, language: Language, with_company: bool = False, without_utm: Collection[str] = ()) -> str:
    """One `Label: value` a line, at most 10 000 characters; empty when there is nothing to say.

    Args:
        with_company: say the company's name, too.
        without_utm: these have a field of their own, as in `utm_source`.
    """
    company = {"company": lead.company} if with_company else {}
    own = company | {"comment": lead.comment, "source": lead.source}
    utm = {utm_name(name): value for name, value in lead.utm.items() if utm_name(name) not in without_utm}
    custom = {name[:MAX_LABEL_CHARS]: _text(value) for name, value in lead.custom.items()}
    pairs = [*((_LABELS[language][name], value) for name, value in own.items()), *utm.items(), *custom.items()]
    text = "\n".join(f"{label}: {value}" for label, value in pairs if value)
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def utm_name(name: str) -> str:
    """`source` and `utm_source` are the same."""
    return f"utm_{name.lower().removeprefix('utm_')}"


def personal_data(lead: Lead) -> list[str]:
    """The values that must not be repeated when a service's error quotes them."""
    return [lead.name, lead.phone, lead.email, lead.company, lead.comment]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
