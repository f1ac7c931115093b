"""A lead and its contact as amoCRM takes them (vendors.md 1.5, 1.6). Pure; what the mapping gives wins over our own."""

from __future__ import annotations

from typing import Any

from leadcast.core.model import Lead, Priority
from leadcast.integrations.amocrm.fields import (
    CONTACT_TARGETS,
    LEAD_TARGETS,
    custom_values,
    field_key,
    price_of,
    refuse_too_many,
    text_of,
)
from leadcast.integrations.amocrm.search import TAG_PREFIX
from leadcast.integrations.amocrm.settings import AmoCrmSettings
from leadcast.integrations.text.mapping import filled
from leadcast.integrations.text.ways import addresses_in, each_phone

MAX_NAME_CHARS = 255

Item = dict[str, Any]


def lead_item(lead: Lead, *, settings: AmoCrmSettings, key: str) -> Item:
    """The lead without its contact and company.

    Raises:
        RejectedError: a mapped value cannot be computed, or is none that amoCRM takes.
    """
    mapped = filled(settings.fields, lead=lead)
    price = price_of(mapped.get("price"))
    tags = list(settings.tags)
    if settings.priority is not Priority.NORMAL:
        tags.append(f"priority:{settings.priority.value}")
    values = custom_values(mapped, own=LEAD_TARGETS)
    if settings.key_field:
        values.insert(0, {**field_key(settings.key_field), "values": [{"value": key}]})
        refuse_too_many(values)
    else:
        tags.append(TAG_PREFIX + key)
    return without_empty(
        name=(text_of(mapped.get("name")) or lead.name or f"Lead {lead.id}")[:MAX_NAME_CHARS],
        price=settings.price if price is None else price,
        pipeline_id=settings.pipeline_id,
        status_id=settings.status_id,
        responsible_user_id=settings.responsible_user_id,
        request_id=key,
        custom_fields_values=values,
        _embedded={"tags": [{"name": tag} for tag in dict.fromkeys(tags)]},
    )


def contact_item(lead: Lead, *, settings: AmoCrmSettings, region: str) -> Item:
    """The contact; empty where the lead names neither a person nor a way to reach one.

    Args:
        region: where a phone number without its country is from.

    Raises:
        RejectedError: a mapped value cannot be computed, or there are more than amoCRM takes.
    """
    mapped = filled(settings.contact_fields, lead=lead)
    names = {name: text_of(mapped.get(name))[:MAX_NAME_CHARS] for name in CONTACT_TARGETS}
    values = custom_values(mapped, own=CONTACT_TARGETS)
    given = {entry.get("field_code") for entry in values}
    own = {"PHONE": each_phone(lead.phone, region=region), "EMAIL": addresses_in(lead.email) or [lead.email]}
    ways = [
        {"field_code": code, "values": [{"value": value, "enum_code": "WORK"} for value in found]}
        for code, found in own.items()
        if any(found) and code not in given
    ]
    refuse_too_many([*ways, *values])
    if not (lead.name or ways or any(names.values()) or given & {"PHONE", "EMAIL"}):
        return {}
    if not (names["name"] or names["first_name"]):
        names["first_name"] = (lead.name or lead.phone or lead.email)[:MAX_NAME_CHARS]
    return without_empty(
        **names, responsible_user_id=settings.responsible_user_id, custom_fields_values=[*ways, *values]
    )


def company_item(lead: Lead) -> Item:
    """The company, by its name alone."""
    return {"name": lead.company[:MAX_NAME_CHARS]} if lead.company else {}


def without_empty(**values: Any) -> Item:
    """What amoCRM is told: a field that holds nothing is left out, so that the account's own default counts."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}
