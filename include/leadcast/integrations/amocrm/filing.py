"""The three calls that file a lead: with a new contact, with one that was found, and as an incoming form.

A found contact is linked by `POST /leads`, the one call that is documented to take a contact's id (vendors.md 1.6). It
takes no new company, so that one's name goes into the note.

An incoming lead goes to `POST /leads/unsorted/forms`, not to `/leads/complex` with `metadata`: whether `GET /leads`
shows leads that nobody has accepted yet is not documented, and the list of incoming leads names theirs by id only. But
it does show `source_uid`, which only that call takes. So the delivery's key goes there, too, and is found before and
after the lead is accepted (vendors.md 1.5 to 1.7). amoCRM looks for doubled contacts itself when one is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from leadcast.core.errors import RejectedError, UnknownOutcome
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.amocrm.client import AmoCrmClient
from leadcast.integrations.amocrm.items import Item, without_empty
from leadcast.integrations.amocrm.search import LEADS, UNSORTED, embedded
from leadcast.integrations.amocrm.settings import AmoCrmSettings

CONTACT_FOUND = "contact_found"
OUR_FORM = "leadcast"
MAX_CHARS = 255


def file_new(client: AmoCrmClient, item: Item, *, contact: Item, company: Item) -> Receipt:
    """Creates lead, contact and company. amoCRM's duplicate control may answer with a lead that it had: `merged`."""
    inside = without_empty(**item["_embedded"], contacts=_one(contact), companies=_one(company))
    body = client.write(f"{LEADS}/complex", [without_empty(**item | {"_embedded": inside})])
    created = body[0] if isinstance(body, list) and body else None
    lead_id = _id_of(created)
    assert isinstance(created, dict)
    detail = {name: created[name] for name in ("contact_id", "company_id") if type(created.get(name)) is int}
    return Receipt(external_id=str(lead_id), merged=created.get("merged") is True, detail=detail)


def file_with(client: AmoCrmClient, item: Item, *, contact_id: int) -> Receipt | None:
    """Creates a lead of a contact that is there; None: amoCRM refused it and did nothing. The search may have named a
    contact that has just been deleted."""
    inside = {**item["_embedded"], "contacts": [{"id": contact_id}]}
    try:
        body = client.write(LEADS, [item | {"_embedded": inside}])
    except RejectedError as error:
        if type(error) is RejectedError and error.code == "400":
            return None
        raise
    lead_id = _id_of(next(iter(embedded(body, "leads")), None))
    return Receipt(external_id=str(lead_id), detail={"contact_id": contact_id, CONTACT_FOUND: True})


def file_incoming(client: AmoCrmClient, item: Item, *, contact: Item, company: Item, form: Item) -> Receipt:
    """Creates an incoming lead, which a person accepts or declines."""
    body = client.write(
        f"{UNSORTED}/forms",
        [
            {
                **form,
                **({"pipeline_id": item["pipeline_id"]} if "pipeline_id" in item else {}),
                "_embedded": without_empty(leads=[item], contacts=_one(contact), companies=_one(company)),
            }
        ],
    )
    incoming: Mapping[str, Any] = next(iter(embedded(body, "unsorted")), {})
    lead_id = _id_of(next(iter(embedded(incoming, "leads")), None))
    ids = {
        name: linked[0].get("id")
        for name, entity in (("contact_id", "contacts"), ("company_id", "companies"))
        if (linked := embedded(incoming, entity))
    }
    detail = {name: value for name, value in ids.items() if type(value) is int}
    return Receipt(external_id=str(lead_id), detail={**detail, "unsorted": True})


def form_of(lead: Lead, *, settings: AmoCrmSettings, key: str, sent_at: datetime) -> Item:
    """What an incoming lead says of its form: settings first, then what the lead's custom fields `form_page`, `referer`
    and `ip` say, then its source. amoCRM wants name, id and page."""
    said = {name: value for name, value in lead.custom.items() if isinstance(value, str)}
    name = settings.form_name or lead.source or OUR_FORM
    return {
        "request_id": key,
        "source_name": (lead.source or name)[:MAX_CHARS],
        "source_uid": key,
        "metadata": without_empty(
            form_id=settings.form_id or OUR_FORM,
            form_name=name[:MAX_CHARS],
            form_page=(settings.form_page or said.get("form_page") or name)[:MAX_CHARS],
            form_sent_at=int(sent_at.timestamp()),
            referer=said.get("referer", "")[:MAX_CHARS],
            ip=_ip(said.get("ip", "")),
        ),
    }


def _one(item: Item) -> list[Item]:
    return [item] if item else []


def _id_of(item: Any) -> int:
    lead_id = item.get("id") if isinstance(item, dict) else None
    if type(lead_id) is not int:
        raise UnknownOutcome("amoCRM said yes without naming the lead; it may have been created.", code="no_id")
    return lead_id


def _ip(text: str) -> str:
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return ""
