"""What the sandbox's amoCRM account holds: leads, contacts, companies, notes; search and duplicate control."""

from __future__ import annotations

import copy
import itertools
import secrets
import time
from typing import Any

from leadcast.sandbox.amocrm.catalogue import (
    ACCOUNT_ID,
    FIRST_STATUS_ID,
    PIPELINE_ID,
    UNSORTED_STATUS_ID,
    FieldType,
    field_of,
)

ENTITIES = ("leads", "contacts", "companies", "notes")
_FIRST_IDS = {"leads": 9774001, "contacts": 12117001, "companies": 15200001, "notes": 42001}
_LINKED = ("contacts", "companies")
MAX_ITEMS = 200_000


class AmoStore:
    """Entities by kind and id, in the form the API answers them."""

    def __init__(self) -> None:
        self._items: dict[str, dict[int, dict[str, Any]]] = {entity: {} for entity in ENTITIES}
        self._ids = {entity: itertools.count(first) for entity, first in _FIRST_IDS.items()}
        self._incoming: list[dict[str, Any]] = []

    def all(self, entity: str) -> list[dict[str, Any]]:
        return list(self._items[entity].values())

    def get(self, entity: str, item_id: int) -> dict[str, Any] | None:
        return self._items[entity].get(item_id)

    def add_lead(self, given: dict[str, Any], *, with_new_contacts: bool) -> dict[str, Any]:
        """Store a lead. `with_new_contacts`: its contacts and companies are new (complex), else they are ids."""
        embedded = given.get("_embedded") or {}
        is_incoming = "metadata" in embedded
        lead = self._base(given)
        lead["name"] = given.get("name") or f"Сделка #{lead['id']}"
        lead["price"] = given.get("price") or 0
        lead["pipeline_id"] = given.get("pipeline_id") or PIPELINE_ID
        lead["status_id"] = UNSORTED_STATUS_ID if is_incoming else given.get("status_id") or FIRST_STATUS_ID
        tags = [*(embedded.get("tags") or []), *(given.get("tags_to_add") or [])]
        lead["custom_fields_values"] = _filled_in("leads", given)
        lead["_embedded"] = {"tags": copy.deepcopy(tags), "contacts": [], "companies": []}
        if "metadata" in embedded:
            lead["_embedded"]["metadata"] = copy.deepcopy(embedded["metadata"])
        for entity in _LINKED:
            for index, item in enumerate(embedded.get(entity) or []):
                linked_id = self.add_person(entity, item)["id"] if with_new_contacts else item["id"]
                lead["_embedded"][entity].append({"id": linked_id, "is_main": index == 0})
        self._keep("leads", lead)
        if is_incoming:
            self._add_incoming(lead, embedded["metadata"])
        return lead

    def add_form(self, given: dict[str, Any]) -> dict[str, Any]:
        """Store an incoming form with its lead, contacts and companies (vendors.md 1.6)."""
        embedded = given.get("_embedded") or {}
        item = {"pipeline_id": given.get("pipeline_id"), **next(iter(embedded.get("leads") or [{}]))}
        linked = {entity: embedded.get(entity) or [] for entity in _LINKED}
        metadata = {"category": "forms", **given["metadata"]}
        inside = {**(item.get("_embedded") or {}), **linked, "metadata": metadata}
        self.add_lead({**item, "_embedded": inside}, with_new_contacts=True)
        form = self._incoming[-1]
        form |= {name: given[name] for name in ("source_uid", "source_name")}
        return form

    def incoming(self) -> list[dict[str, Any]]:
        """What nobody has accepted yet, newest first."""
        return self._incoming[::-1]

    def accept(self, uid: str, *, status_id: int) -> dict[str, Any] | None:
        """Moves an incoming lead into a stage; None when there is none with this uid."""
        form = next((form for form in self._incoming if form["uid"] == uid), None)
        if form is not None:
            self._incoming.remove(form)
            for lead in form["_embedded"]["leads"]:
                self._items["leads"][lead["id"]]["status_id"] = status_id
        return form

    def _add_incoming(self, lead: dict[str, Any], metadata: dict[str, Any]) -> None:
        ids = {entity: [{"id": link["id"]} for link in lead["_embedded"][entity]] for entity in _LINKED}
        form = {
            "uid": secrets.token_hex(30),
            "source_uid": None,
            "source_name": None,
            "category": metadata["category"],
            "pipeline_id": lead["pipeline_id"],
            "created_at": lead["created_at"],
            "metadata": copy.deepcopy(metadata),
            "account_id": ACCOUNT_ID,
            "_embedded": {"leads": [{"id": lead["id"]}], **ids},
        }
        self._incoming.append(form)

    def add_person(self, entity: str, given: dict[str, Any]) -> dict[str, Any]:
        """Store a contact or a company."""
        person = self._base(given, entity)
        names = (given.get("first_name"), given.get("last_name"))
        person["name"] = given.get("name") or " ".join(name for name in names if name)
        person["first_name"], person["last_name"] = given.get("first_name") or "", given.get("last_name") or ""
        person["custom_fields_values"] = _filled_in(entity, given)
        person["_embedded"] = {"tags": copy.deepcopy((given.get("_embedded") or {}).get("tags") or [])}
        self._keep(entity, person)
        return person

    def add_note(self, given: dict[str, Any], lead_id: int) -> dict[str, Any]:
        note = self._base(given, "notes")
        note |= {"entity_id": lead_id, "note_type": given["note_type"], "params": copy.deepcopy(given["params"])}
        self._keep("notes", note)
        return note

    def change(self, entity: str, item_id: int, given: dict[str, Any]) -> dict[str, Any] | None:
        """Apply a PATCH; None when there is no such entity."""
        item = self.get(entity, item_id)
        if item is None:
            return None
        item |= {name: value for name, value in given.items() if name in item and name not in ("id", "_embedded")}
        if "custom_fields_values" in given:
            item["custom_fields_values"] = _filled_in(entity, given)
        item["updated_at"] = int(time.time())
        return item

    def search(
        self, entity: str, query: str | None, *, not_after: float, with_incoming: bool = True
    ) -> list[dict[str, Any]]:
        """What holds the text in any filled field, newest first; what was created after `not_after` is not seen yet.

        Contacts and companies of an incoming lead are seen when it is accepted. Whether the lead itself is, is not
        documented: `with_incoming`.
        """
        found = [item for item in self.all(entity) if item["_created"] <= not_after]
        if entity != "leads" or not with_incoming:
            hidden = {item["id"] for form in self._incoming for item in form["_embedded"].get(entity, ())}
            found = [item for item in found if item["id"] not in hidden]
        if query:
            found = [item for item in found if self._holds(item, query.casefold())]
        return sorted(found, key=lambda item: -int(item["id"]))

    def as_answer(self, entity: str, item: dict[str, Any], base_url: str) -> dict[str, Any]:
        """The entity as the API shows it."""
        shown = {name: copy.deepcopy(value) for name, value in item.items() if not name.startswith("_created")}
        shown["_links"] = {"self": {"href": f"{base_url}/api/v4/{entity}/{item['id']}"}}
        return shown

    def with_contacts(self, lead: dict[str, Any]) -> dict[str, Any]:
        """A lead with its contacts, companies and notes written out: for tests to look at."""
        shown = {name: copy.deepcopy(value) for name, value in lead.items() if not name.startswith("_")}
        shown["tags"] = copy.deepcopy(lead["_embedded"]["tags"])
        for entity in _LINKED:
            linked = (self.get(entity, link["id"]) for link in lead["_embedded"][entity])
            shown[entity] = [_public(item) for item in linked if item is not None]
        shown["notes"] = [_public(note) for note in self.all("notes") if note["entity_id"] == lead["id"]]
        return shown

    def duplicates(self) -> dict[str, dict[str, Any]]:
        """For every phone and e-mail known: its newest lead."""
        return {key: lead for lead in self.all("leads") for key in self._keys_of(lead)}

    def _keep(self, entity: str, item: dict[str, Any]) -> None:
        items = self._items[entity]
        items[item["id"]] = item
        if len(items) > MAX_ITEMS:
            del items[next(iter(items))]

    def _keys_of(self, lead: dict[str, Any]) -> set[str]:
        contacts = (self.get("contacts", link["id"]) for link in lead["_embedded"]["contacts"])
        return {key for contact in contacts if contact is not None for key in contact_keys(contact)}

    def _holds(self, item: dict[str, Any], text: str) -> bool:
        digits = "".join(filter(str.isdigit, text))
        for value in (str(item["name"]), *_values_of(item)):
            if text in value.casefold():
                return True
            if len(digits) >= 7 and digits in "".join(filter(str.isdigit, value)):
                return True
        return False

    def _base(self, given: dict[str, Any], entity: str = "leads") -> dict[str, Any]:
        now = time.time()
        user_id = given.get("responsible_user_id") or 901
        return {
            "id": next(self._ids[entity]),
            "responsible_user_id": user_id,
            "created_by": given.get("created_by", user_id),
            "updated_by": user_id,
            "created_at": given.get("created_at") or int(now),
            "updated_at": int(now),
            "is_deleted": False,
            "account_id": ACCOUNT_ID,
            "_created": time.monotonic(),
        }


def contact_keys(contact: dict[str, Any]) -> set[str]:
    """What makes two contacts the same for duplicate control: the digits of a phone, an e-mail address."""
    keys = set()
    for value in contact.get("custom_fields_values") or []:
        known = field_of("contacts", field_id=value.get("field_id"), field_code=value.get("field_code"))
        if known is None or known.type is not FieldType.MULTITEXT:
            continue
        for item in value.get("values") or []:
            text = str(item.get("value", "")).strip().casefold()
            keys.add(text if "@" in text else "".join(filter(str.isdigit, text))[-10:])
    return keys - {""}


def _filled_in(entity: str, given: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Custom field values as reading shows them: always with id, code, name and type. `values: []` clears."""
    filled = []
    for value in given.get("custom_fields_values") or []:
        known = field_of(entity, field_id=value.get("field_id"), field_code=value.get("field_code"))
        if known is not None and value["values"]:
            head = {"field_id": known.id, "field_name": known.name, "field_code": known.code}
            filled.append({**head, "field_type": known.type.value, "values": copy.deepcopy(value["values"])})
    return filled or None


def _values_of(item: dict[str, Any]) -> list[str]:
    fields = item.get("custom_fields_values") or []
    return [str(value.get("value", "")) for entry in fields for value in entry["values"]]


def _public(item: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in item.items() if not name.startswith("_")}
