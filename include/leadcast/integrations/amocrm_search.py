"""Finds a lead in amoCRM by the delivery's key, which stands in a text field or in a tag (vendors.md 1.7, 1.9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from leadcast.core.errors import TransientError
from leadcast.integrations.amocrm_client import AmoCrmClient

TAG_PREFIX = "ext:"
LEADS = "/api/v4/leads"
PAGE = 100
MAX_PAGES = 10
CLOCKS_DIFFER_BY = timedelta(hours=1)

Found = dict[str, Any]


def find_lead(client: AmoCrmClient, *, key: str, key_field: int | str, not_before: datetime) -> Found | None:
    """The lead with exactly this key; None: there is none.

    First by full-text search, which lags some seconds behind and is said to cover fields, not tags. Then among the
    newest leads, back to `not_before` or 1000 of them.

    Raises:
        TransientError, RateLimited, CredentialsError, RejectedError: amoCRM could not be asked.
    """
    searched = client.read(LEADS, {"query": key, "with": "contacts", "limit": 50})
    for lead in embedded(searched, "leads"):
        if _has_key(lead, key, key_field):
            return lead
    oldest = (not_before - CLOCKS_DIFFER_BY).timestamp()
    for page in range(1, MAX_PAGES + 1):
        query: dict[str, str | int] = {"order[created_at]": "desc", "with": "contacts", "limit": PAGE, "page": page}
        newest = embedded(client.read(LEADS, query), "leads")
        for lead in newest:
            if _has_key(lead, key, key_field):
                return lead
        if len(newest) < PAGE or _oldest_of(newest) < oldest:
            break
    return None


def embedded(body: Any, name: str) -> list[dict[str, Any]]:
    """The items in `_embedded`, where amoCRM puts them."""
    inner = body.get("_embedded") if isinstance(body, dict) else None
    return _mappings(inner.get(name)) if isinstance(inner, dict) else []


def _oldest_of(leads: list[dict[str, Any]]) -> float:
    times = [lead.get("created_at") for lead in leads]
    known = [float(at) for at in times if isinstance(at, int)]
    if len(known) < len(times) or any(newer < older for newer, older in pairwise(known)):
        raise TransientError("amoCRM does not list the newest leads first, so none can be said to be missing.")
    return known[-1]


def _has_key(lead: Mapping[str, Any], key: str, key_field: int | str) -> bool:
    if not isinstance(lead.get("id"), int):
        return False
    if not key_field:
        return any(tag.get("name") == TAG_PREFIX + key for tag in embedded(lead, "tags"))
    name = "field_id" if isinstance(key_field, int) else "field_code"
    return any(
        value.get("value") == key
        for custom in _mappings(lead.get("custom_fields_values"))
        if custom.get(name) == key_field
        for value in _mappings(custom.get("values"))
    )


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
