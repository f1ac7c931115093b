"""Items of Bitrix24's CRM: made and found under a key of ours (vendors.md 2.5, 2.7)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from leadcast.core.errors import TransientError, UnknownOutcome
from leadcast.integrations.bitrix24.client import Bitrix24Client
from leadcast.integrations.bitrix24.settings import Entity

ADD = "crm.item.add"
ORIGINATOR = "LEADCAST"
"""`originatorId` of all that we create; `originId` is the delivery's key."""

Item = dict[str, Any]


class EntityType(IntEnum):
    """Bitrix24's `entityTypeId` (vendors.md 2.5)."""

    LEAD = 1
    DEAL = 2
    CONTACT = 3

    @classmethod
    def of(cls, entity: Entity) -> EntityType:
        """The number of what the settings name."""
        return cls[entity.name]


def is_empty(value: Any) -> bool:
    """A field without a value is left to the portal's default. A text of blanks says nothing either."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def id_of(value: Any) -> int | None:
    """An id as a number; None for 0 and what is none. PHP writes some of them as text."""
    is_number = (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and value.isdecimal()
    )
    return (int(value) or None) if is_number else None


def added(client: Bitrix24Client, entity_type: EntityType, fields: Mapping[str, Any], *, key: str) -> Item:
    """Creates the item and returns it, with its `id` as a number."""
    given = {name: value for name, value in fields.items() if not is_empty(value)}
    ours = {"originatorId": ORIGINATOR, "originId": key}
    result = client.write(ADD, {"entityTypeId": entity_type.value, "fields": {**given, **ours}})
    item = result.get("item")
    item_id = id_of(item.get("id")) if isinstance(item, dict) else None
    if not isinstance(item, dict) or item_id is None:
        raise UnknownOutcome("Bitrix24 said yes without naming the item; it may have been created.", code="no_id")
    return {**item, "id": item_id}


def found(client: Bitrix24Client, entity_type: EntityType, *, key: str) -> Item | None:
    """The item with our key; None: there is none. The portal filters exactly (vendors.md 2.7)."""
    beside = ["contactId", "stageId"] if entity_type is not EntityType.CONTACT else []
    result = client.read(
        "crm.item.list",
        {
            "entityTypeId": entity_type.value,
            "select": ["id", "originId", *beside],
            "filter": {"=originatorId": ORIGINATOR, "=originId": key},
            "order": {"id": "ASC"},
            "start": -1,
        },
    )
    items = result.get("items")
    if not isinstance(items, list):  # what cannot be read must not pass for "nothing found"
        raise TransientError("Bitrix24's answer holds no list of items.", code="not_json")
    exact = (item for item in items if isinstance(item, dict) and item.get("originId") == key)
    return next(({**item, "id": item_id} for item in exact if (item_id := id_of(item.get("id"))) is not None), None)
