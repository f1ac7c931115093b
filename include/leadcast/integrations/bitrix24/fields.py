"""What a lead says, in Bitrix24's fields: those that every portal has, and those that the settings map."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from leadcast.core.errors import TransientError, Unsendable
from leadcast.core.model import Lead
from leadcast.integrations.base import Call, Memory
from leadcast.integrations.bitrix24.client import Bitrix24Client
from leadcast.integrations.bitrix24.items import EntityType, is_empty
from leadcast.integrations.bitrix24.settings import Bitrix24Settings, Entity
from leadcast.integrations.text.labels import utm_name
from leadcast.integrations.text.mapping import filled, from_the_lead
from leadcast.integrations.text.remarks import remarks
from leadcast.integrations.text.ways import addresses_in, each_phone

MAX_NAME_CHARS = 255
LAST_LABEL_CHARS = range(2, 21)
"""Of the name of a host in an address: so PHP's `check_email` of the portal has it."""
KNOWN_FOR_S = 3600.0
"""How long it is believed that the portal has a field."""
COMMENTS = "comments"
_TAG = re.compile(r"[\[<](?=[A-Za-z/*!?])")
_UTM_FIELDS = {f"utm_{name.lower()}": f"utm{name}" for name in ("Source", "Medium", "Campaign", "Content", "Term")}


def item_fields(lead: Lead, *, settings: Bitrix24Settings, call: Call) -> dict[str, Any]:
    """The fields of the lead or deal."""
    title = call.templates.line(settings.title, lead=lead) if settings.title else lead.name
    is_deal, region = settings.entity is Entity.DEAL, call.settings.phone_region
    text = remarks(
        lead,
        language=call.settings.language,
        region=region,
        with_company=is_deal,
        with_email=not addresses_of(lead),
        without_utm=_UTM_FIELDS,
    )
    utm = {_UTM_FIELDS[utm_name(name)]: value for name, value in lead.utm.items() if utm_name(name) in _UTM_FIELDS}
    own = (
        {"categoryId": settings.category}
        if is_deal
        else _person(lead, region=region) | {"companyTitle": lead.company[:255]}
    )
    return {
        "title": (title or f"Lead {lead.id}")[:MAX_NAME_CHARS],
        "stageId": settings.stage_id,
        COMMENTS: _as_text(text),
        **_filed(lead, settings),
        **utm,
        **own,
    }


def contact_fields(lead: Lead, *, settings: Bitrix24Settings, region: str) -> dict[str, Any]:
    """The fields of the contact that a deal gets: a deal has no phone and e-mail of its own (vendors.md 2.5)."""
    person = _person(lead, region=region)
    return person | _filed(lead, settings) | {"name": person["name"] or lead.phone or lead.email}


def _as_text(text: str) -> str:
    """What a lead wrote is no markup. The field takes BB code (Bitrix24's page `crm-deal-add`), older portals HTML,
    and each shows the other's escapes as they are. An unseen sign behind the bracket keeps both from seeing a tag."""
    return _TAG.sub("\\g<0>\u2060", text)


def _filed(lead: Lead, settings: Bitrix24Settings) -> dict[str, Any]:
    return {
        "sourceId": settings.source_id,
        "sourceDescription": lead.source,
        "assignedById": settings.assigned_by_id,
        "opened": "Y",
    }


def _person(lead: Lead, *, region: str) -> dict[str, Any]:
    """An item whose e-mail address is none is refused as a whole (Bitrix24's page `crm-company-add`); any phone is
    taken."""
    own = {"PHONE": each_phone(lead.phone, region=region), "EMAIL": addresses_of(lead)}
    ways = [
        {"typeId": kind, "valueType": "WORK", "value": value} for kind, found in own.items() for value in found if value
    ]
    return {"name": lead.name[:MAX_NAME_CHARS], "fm": ways}


def addresses_of(lead: Lead) -> list[str]:
    """The lead's addresses as Bitrix24 takes them: for one that is none it would refuse the whole item."""
    last_labels = {address: address.rpartition(".")[2] for address in addresses_in(lead.email)}
    return [address for address, label in last_labels.items() if len(label) in LAST_LABEL_CHARS]


def mapped_fields(
    client: Bitrix24Client, entity_type: EntityType, fields: Mapping[str, Any], *, lead: Lead, memory: Memory
) -> dict[str, Any]:
    """The mapped fields that have a value for this lead, under the portal's own names.

    The portal ignores what it does not know without a word (vendors.md 2.5), so it is asked first; what it has is
    believed for an hour. It alone knows how it writes `UF_CRM_3_DIGIT10`: `ufCrm_3_DIGIT10`, since that could also be
    `…DIGIT_10` (Bitrix24's page on the universal methods).

    Raises:
        Unsendable: it has no such field, or takes no value for it; names the targets.
    """
    if not fields:
        return {}
    values = {target: value for target, value in filled(fields, lead=lead).items() if not is_empty(value)}
    client.hide(from_the_lead(values, fields=fields))
    ways = _ways(client, entity_type, fields.keys(), memory=memory)
    written = {}
    for target, value in values.items():
        name, is_multiple = ways[target]
        if name == COMMENTS and isinstance(value, str):
            value = _as_text(value)
        written[name] = [value] if is_multiple and not isinstance(value, list) else value
    return written


_Way = tuple[str, bool]
"""The field's name in `crm.item.add`, and whether it takes a list."""


def _ways(
    client: Bitrix24Client, entity_type: EntityType, targets: Collection[str], *, memory: Memory
) -> dict[str, _Way]:
    place = f"fields of a {entity_type.name.lower()}"
    known: dict[str, _Way] = memory.recall(place) or {}
    if not set(targets) <= set(known):
        described = client.read("crm.item.fields", {"entityTypeId": entity_type.value}).get("fields")
        if not isinstance(described, dict):
            raise TransientError("Bitrix24's answer holds no list of fields.", code="not_json")
        asked = {target: _way(described, target) for target in {*known, *targets}}
        missing = sorted(target for target in targets if asked[target] is None)
        if missing:
            raise Unsendable(
                f"Bitrix24 has no such field of a {entity_type.name.lower()}, or it cannot be written: "
                f"{', '.join(missing)}. Nothing was sent.",
                code="mapping",
            )
        known = {target: way for target, way in asked.items() if way is not None}
        memory.remember(place, known, for_s=KNOWN_FOR_S)
    return known


def _way(described: Mapping[str, Any], target: str) -> _Way | None:
    for name, facts in described.items():
        if isinstance(facts, dict) and target in (name, facts.get("upperName")):
            return None if facts.get("isReadOnly") else (name, bool(facts.get("isMultiple")))
    return None
