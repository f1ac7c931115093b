"""A lead as templates see it: everything is text, and every `{lead_…}` placeholder has its value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from leadcast.core.model import Lead
from leadcast.core.redact import one_line

_PLAIN_FIELDS = ("id", "name", "phone", "email", "company", "comment", "source")
_ONE_LINE = ("id", "name", "phone", "email", "company", "source")
_UTM = "utm_"


def values_of(lead: Lead) -> dict[str, Any]:
    """What a template about this lead may use: `lead` and, for `{lead_name}`-style placeholders, `placeholders`.

    Only the comment and custom fields have several lines: what else a stranger wrote must not begin lines of a letter.
    """
    lead = replace(
        lead,
        **{name: _on_one_line(getattr(lead, name)) for name in _ONE_LINE},
        utm={_on_one_line(name): _on_one_line(text_of(value)) for name, value in lead.utm.items()},
        custom={_on_one_line(name): text_of(value) for name, value in lead.custom.items()},
    )
    return {"lead": lead, "placeholders": _placeholders(lead)}


def shortened(lead: Lead, *, limit: int, fields: int | None = None) -> Lead:
    """The lead with each value cut to `limit` characters, and at most `fields` custom fields (and as many of utm)."""
    cut = {name: _cut(getattr(lead, name), limit=limit) for name in _PLAIN_FIELDS if name != "id"}
    return replace(
        lead,
        **cut,
        utm=_few(lead.utm, limit=limit, fields=fields),
        custom=_few(lead.custom, limit=limit, fields=fields),
    )


def _placeholders(lead: Lead) -> dict[str, str]:
    # The later ones win: a custom field called "name" does not hide the lead's name.
    return (
        {f"lead_{name}": value for name, value in lead.custom.items()}
        | {f"lead_{_UTM}{name.removeprefix(_UTM)}": value for name, value in lead.utm.items()}
        | {f"lead_{name}": getattr(lead, name) for name in _PLAIN_FIELDS}
    )


def _few(items: Mapping[str, Any], *, limit: int, fields: int | None) -> dict[str, str]:
    return {_cut(name, limit=limit): _cut(text_of(value), limit=limit) for name, value in islice(items.items(), fields)}


def _cut(text: str, *, limit: int) -> str:
    return text if len(text) <= limit else text[: max(0, limit - 1)] + "…"


def _on_one_line(text: str) -> str:
    return text if text.splitlines() in ([], [text]) else one_line(text, limit=len(text))


def text_of(value: Any) -> str:
    """A value as people read it: nothing for None, and what is no text as JSON has it (`true`, `15000`)."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
