"""Finds a lead in amoCRM by the delivery's key, which stands in a text field or in a tag, and of an incoming lead in
`source_uid`, too (vendors.md 1.6, 1.7, 1.9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from leadcast.core.errors import TransientError
from leadcast.integrations.amocrm.client import AmoCrmClient

TAG_PREFIX = "ext:"
LEADS = "/api/v4/leads"
UNSORTED = "/api/v4/leads/unsorted"
PAGE = 250
MAX_PAGES = 10
CLOCKS_DIFFER_BY = timedelta(hours=1)

Found = dict[str, Any]


def find_lead(client: AmoCrmClient, *, key: str, key_field: int | str, not_before: datetime) -> Found | None:
    """The lead with exactly this key; None: there is none.

    First by full-text search, which lags some seconds behind and is said to cover fields, not tags. Then among the
    newest leads, back to `not_before`.

    Raises:
        TransientError, RateLimited, CredentialsError, RejectedError: amoCRM could not be asked, or has more leads since
            then than are looked through, so that none can be said to be missing.
    """
    searched = client.read(LEADS, {"query": key, "with": "contacts", "limit": 50})
    for lead in embedded(searched, "leads"):
        if _has_key(lead, key, key_field):
            return lead
    return _among_newest(
        client, LEADS, "leads", lambda lead: _has_key(lead, key, key_field), not_before=not_before, with_="contacts"
    )


def find_incoming(client: AmoCrmClient, *, key: str, not_before: datetime) -> Found | None:
    """The lead of the incoming form with exactly this key, as far as the list of incoming leads shows it: its id, and
    its contact's.

    Raises: as `find_lead`.
    """
    incoming = _among_newest(
        client, UNSORTED, "unsorted", lambda form: form.get("source_uid") == key, not_before=not_before
    )
    lead = next(iter(embedded(incoming, "leads")), None)
    if lead is None or not isinstance(lead.get("id"), int):
        return None
    return {**lead, "_embedded": {"contacts": embedded(incoming, "contacts")}}


def _among_newest(
    client: AmoCrmClient,
    path: str,
    entity: str,
    is_ours: Callable[[Found], bool],
    *,
    not_before: datetime,
    with_: str = "",
) -> Found | None:
    oldest = (not_before - CLOCKS_DIFFER_BY).timestamp()
    query: dict[str, str | int] = {"order[created_at]": "desc", "limit": PAGE}
    if with_:
        query["with"] = with_
    for page in range(1, MAX_PAGES + 1):
        body = client.read(path, {**query, "page": page})
        newest = embedded(body, entity)
        for item in newest:
            if is_ours(item):
                return item
        if not goes_on(body, newest, limit=PAGE) or (newest and _oldest_of(newest) < oldest):
            return None
    raise TransientError(
        f"amoCRM has more than {PAGE * MAX_PAGES} newer leads, so this one cannot be said to be missing.",
        code="too_many_leads",
    )


def goes_on(body: Any, items: Sequence[Found], *, limit: int) -> bool:
    """Whether there is a page behind this one: it names the next one, or is full. A page may be shorter than was asked
    for and not be the last (vendors.md 1.7)."""
    links = body.get("_links") if isinstance(body, dict) else None
    return len(items) >= limit or (isinstance(links, dict) and bool(links.get("next")))


def embedded(body: Any, name: str) -> list[dict[str, Any]]:
    """The items in `_embedded`, where amoCRM puts them."""
    inner = body.get("_embedded") if isinstance(body, dict) else None
    return mappings(inner.get(name)) if isinstance(inner, dict) else []


def _oldest_of(items: list[Found]) -> float:
    times = [item.get("created_at") for item in items]
    known = [float(at) for at in times if isinstance(at, int)]
    if len(known) < len(times) or any(newer < older for newer, older in pairwise(known)):
        raise TransientError("amoCRM does not list the newest leads first, so none can be said to be missing.")
    return known[-1]


def _has_key(lead: Mapping[str, Any], key: str, key_field: int | str) -> bool:
    if not isinstance(lead.get("id"), int):
        return False
    if not key_field:
        return any(tag.get("name") == TAG_PREFIX + key for tag in embedded(lead, "tags"))
    return any(
        value.get("value") == key
        for custom in mappings(lead.get("custom_fields_values"))
        if _is_field(custom, key_field)
        for value in mappings(custom.get("values"))
    )


def _is_field(custom: Mapping[str, Any], key_field: int | str) -> bool:
    """Whether amoCRM looks at the case of a code is not documented; it shows it as the account has it."""
    if isinstance(key_field, int):
        return custom.get("field_id") == key_field
    return str(custom.get("field_code")).casefold() == key_field.casefold()


def mappings(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in a list; none where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
