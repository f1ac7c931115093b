"""What the sandbox's Bitrix24 portal holds: leads, deals, contacts, companies, comments; fields and filters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Set
from datetime import UTC, datetime
from typing import Any

from leadcast.sandbox.bitrix24.catalogue import (
    DEAL,
    ENTITY_NAMES,
    FIELDS,
    LEAD,
    READ_ONLY,
    SERVICE,
    USER_FIELDS,
    camel_name,
)

MAX_ITEMS = 200_000
_FIRST_STAGE = {LEAD: "NEW", DEAL: "NEW"}
_ADDRESS = re.compile(r"(?i)^[-=_.0-9a-z+~'!$&*^`|#%/?{}]+@(([-0-9a-z]+\.)+)([a-z0-9-]{2,20})$")
_PREFIX = re.compile(r"^(!=%|!%=|>=|<=|!=|!@|!%|=%|%=|[=!><@%])?(.*)$")
_EXTENSION = re.compile(r"доб|ext|#")


class BitrixError(Exception):
    """An error answer: code, text, HTTP status (vendors.md 2.3, 2.5)."""

    def __init__(self, code: str, text: str, *, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
        self.status = status

    def as_json(self) -> dict[str, Any]:
        return {"error": self.code, "error_description": self.text}


class Portal:
    """Items by entity type. Nothing is unique but the id: the portal does not look at originId (vendors.md 2.5)."""

    def __init__(self, user_fields: Mapping[str, str] = USER_FIELDS) -> None:
        self.user_fields = user_fields
        self._items: dict[int, dict[int, dict[str, Any]]] = {kind: {} for kind in ENTITY_NAMES}
        self._ids = {kind: itertools.count(342) for kind in ENTITY_NAMES}
        self._comment_ids = itertools.count(999)
        self.comments: list[dict[str, Any]] = []

    def items(self, kind: int) -> list[dict[str, Any]]:
        return list(self._items[kind].values())

    def get(self, kind: int, item_id: int) -> dict[str, Any] | None:
        return self._items[kind].get(item_id)

    def add(self, kind: int, given: Mapping[str, Any], *, user_id: int) -> dict[str, Any]:
        """Store an item. Fields it does not know are ignored without a word (vendors.md 2.5)."""
        self._check(kind, given)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        item: dict[str, Any] = dict.fromkeys(self._fields(kind))
        item |= {name: value for name, value in given.items() if name in item and name not in READ_ONLY}
        item |= {"id": next(self._ids[kind]), "createdTime": now, "updatedTime": now}
        item |= {"createdBy": user_id, "updatedBy": user_id, "entityTypeId": kind}
        item["assignedById"] = item["assignedById"] or user_id
        item["opened"] = item["opened"] or "Y"
        if kind in _FIRST_STAGE:
            item["stageId"] = item["stageId"] or _FIRST_STAGE[kind]
            item["title"] = item["title"] or f"{'Лид' if kind == LEAD else 'Сделка'} #{item['id']}"
        if item.get("contactIds") and not item.get("contactId"):
            item["contactId"] = item["contactIds"][0]
        if item.get("fm"):
            item["fm"] = [{"id": index + 1, **entry} for index, entry in enumerate(item["fm"])]
        items = self._items[kind]
        items[item["id"]] = item
        if len(items) > MAX_ITEMS:
            del items[next(iter(items))]
        return item

    def add_comment(self, fields: Mapping[str, Any]) -> int:
        comment_id = next(self._comment_ids)
        self.comments.append({"id": comment_id, **fields})
        del self.comments[:-MAX_ITEMS]
        return comment_id

    def find(self, kind: int, conditions: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The items that pass a filter, by id; raises `BitrixError` for a field that cannot be filtered by."""
        names = self._fields(kind).keys() - {"fm"}
        tests = [_test(names, key, wanted) for key, wanted in conditions.items() if key != "logic"]
        if str(conditions.get("logic", "AND")).upper() == "OR" and tests:
            return [item for item in self.items(kind) if any(test(item) for test in tests)]
        return [item for item in self.items(kind) if all(test(item) for test in tests)]

    def by_communication(self, kind: int, type_id: str, values: set[str]) -> list[int]:
        """Ids of the items with one of these phones (digits only) or e-mails."""
        found = []
        for item in self.items(kind):
            entries = item.get("fm") or []
            own = {normal(type_id, entry.get("value")) for entry in entries if entry.get("typeId") == type_id}
            if own & values:
                found.append(item["id"])
        return found

    def _fields(self, kind: int) -> dict[str, str]:
        """Name → type, as `crm.item.add` names them by default."""
        return {**FIELDS[kind], **{camel_name(name): of for name, of in self.user_fields.items()}}

    def _check(self, kind: int, given: Mapping[str, Any]) -> None:
        fields = self._fields(kind)
        for name, value in given.items():
            is_multiple = name == SERVICE[kind] or fields.get(name, "").endswith("[]")
            if name == SERVICE[kind] or (is_multiple and value not in (None, "") and not isinstance(value, list)):
                raise BitrixError("100", "Expected iterable value for multiple field, but got string instead")
        fm = given.get("fm")
        if fm is not None and not (isinstance(fm, list) and all(isinstance(entry, dict) for entry in fm)):
            raise BitrixError("100", "Expected iterable value for multiple field, but got string instead")
        for entry in fm or ():
            if entry.get("typeId") == "EMAIL" and not _ADDRESS.match(str(entry.get("value"))):
                raise BitrixError("CRM_FIELD_ERROR_VALUE_NOT_VALID", "Поле «E-mail» содержит некорректный адрес")
        opportunity = given.get("opportunity")
        if opportunity not in (None, "") and not _is_number(opportunity):
            raise BitrixError("CRM_FIELD_ERROR_VALUE_NOT_VALID", "Недопустимое значение поля OPPORTUNITY")
        user_id = given.get("assignedById")
        if user_id not in (None, "") and not str(user_id).isdigit():
            raise BitrixError("CRM_FIELD_ERROR_VALUE_NOT_VALID", "Недопустимое значение поля ASSIGNED_BY_ID")


def normal(type_id: str, value: Any) -> str:
    """How two phones or e-mails are compared."""
    text = str(value).strip().casefold()
    # an extension is not looked at (vendors.md 2.7)
    return "".join(filter(str.isdigit, _EXTENSION.split(text)[0])) if type_id == "PHONE" else text


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _test(names: Set[str], key: str, wanted: Any) -> Callable[[dict[str, Any]], bool]:
    if isinstance(wanted, dict):
        raise BitrixError("INVALID_ARG_VALUE", f"Invalid filter: nested group '{key}' is not known to the sandbox")
    match = _PREFIX.match(key)
    assert match is not None
    operator, name = match[1] or "=", match[2]
    if name not in names:
        raise BitrixError("INVALID_ARG_VALUE", f"Invalid filter: field '{name}' is not allowed in filter")
    values = {_text(value) for value in (wanted if isinstance(wanted, list) else [wanted])}
    one = next(iter(values), "")
    bare = one.strip("%").casefold()
    tests: dict[str, Callable[[Any], bool]] = {
        "=": lambda own: _text(own) in values,
        "@": lambda own: _text(own) in values,
        "!": lambda own: _text(own) not in values,
        "!=": lambda own: _text(own) not in values,
        "!@": lambda own: _text(own) not in values,
        "%": lambda own: bare in _text(own).casefold(),
        "=%": lambda own: bare in _text(own).casefold(),
        "%=": lambda own: bare in _text(own).casefold(),
        "!%": lambda own: bare not in _text(own).casefold(),
        "!=%": lambda own: bare not in _text(own).casefold(),
        "!%=": lambda own: bare not in _text(own).casefold(),
        ">": lambda own: _order(own) > _order(one),
        ">=": lambda own: _order(own) >= _order(one),
        "<": lambda own: _order(own) < _order(one),
        "<=": lambda own: _order(own) <= _order(one),
    }
    passes = tests[operator]
    return lambda item: passes(item.get(name))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _order(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if _is_number(value) else (1, 0.0, _text(value))
