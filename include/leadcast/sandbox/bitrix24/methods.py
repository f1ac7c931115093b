"""The REST methods of the sandbox's Bitrix24 portal (vendors.md 2.5 to 2.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from leadcast.sandbox.bitrix24.catalogue import (
    COMPANY,
    CONTACT,
    DEAL,
    ENTITY_NAMES,
    FIELDS,
    LEAD,
    camel_name,
    describe,
)
from leadcast.sandbox.bitrix24.php import map_or_list
from leadcast.sandbox.bitrix24.store import BitrixError, Portal, normal

PAGE = 50
_STATUSES = {
    "STATUS": {"NEW": "Не обработан", "IN_PROCESS": "В работе", "PROCESSED": "Обработан", "JUNK": "Некачественный лид"}
    | {"CONVERTED": "Качественный лид"},
    "SOURCE": {"CALL": "Звонок", "EMAIL": "Электронная почта", "WEB": "Веб-сайт", "ADVERTISING": "Реклама"}
    | {"PARTNER": "Существующий клиент", "RECOMMENDATION": "По рекомендации", "TRADE_SHOW": "Выставка"}
    | {"WEBFORM": "CRM-форма", "CALLBACK": "Обратный звонок", "STORE": "Интернет-магазин", "OTHER": "Другое"},
    "DEAL_STAGE": {
        "NEW": "Новая",
        "PREPARATION": "Подготовка документов",
        "WON": "Сделка успешна",
        "LOSE": "Провалена",
    },
}
_OLD_NAMES = {"STATUS_ID": "stageId", "ASSIGNED_BY_ID": "assignedById"}
_OLD_MULTIFIELDS = ("PHONE", "EMAIL", "WEB", "IM")
_OLD_ADD = re.compile(r"^crm\.(lead|deal|contact|company)\.add$")


@dataclass
class Outcome:
    """What a method gives: its result, the list keys beside it, what it created, and what its time counts for
    (seconds, and when the oldest of them are forgotten)."""

    result: Any
    total: int | None = None
    next: int | None = None
    stored: list[dict[str, Any]] = field(default_factory=list)
    operating: tuple[float, int] | None = None


class Methods:
    """Runs one method; raises `BitrixError`."""

    def __init__(self, portal: Portal, *, is_simple_crm: bool, user_id: int) -> None:
        self._portal = portal
        self._is_simple_crm = is_simple_crm
        self._user_id = user_id

    def run(self, method: str, params: Mapping[str, Any]) -> Outcome:
        old = _OLD_ADD.match(method)
        if old is not None:
            return self._old_add(old[1], params)
        match method:
            case "crm.item.add":
                item, stored = self._add(_kind(params), self._by_camel_name(params))
                return Outcome({"item": self._shown(item, params)}, stored=stored)
            case "crm.item.get":
                return self._get(params)
            case "crm.item.list":
                return self._list(params)
            case "crm.item.fields":
                fields = describe(_kind(params), self._portal.user_fields, original_names=_wants_original(params))
                return Outcome({"fields": fields})
            case "crm.duplicate.findbycomm":
                return Outcome(self._find_by_communication(params))
            case "crm.timeline.comment.add":
                return self._comment(params)
            case "crm.status.list":
                return _statuses(params)
            case "crm.settings.mode.get":
                return Outcome(2 if self._is_simple_crm else 1)
            case "profile":
                who = {"ID": str(self._user_id), "ADMIN": True, "NAME": "Анна", "LAST_NAME": "Админ"}
                return Outcome({**who, "PERSONAL_GENDER": "", "TIME_ZONE": ""})
            case "scope":
                return Outcome(["crm", "user", "user_basic"])
            case "server.time":
                return Outcome(datetime.now(UTC).isoformat(timespec="seconds"))
            case _:
                raise BitrixError("ERROR_METHOD_NOT_FOUND", "Method not found!", status=404)

    def _add(self, kind: int, fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        item = self._portal.add(kind, fields, user_id=self._user_id)
        stored = [{"entityTypeId": kind, "item": dict(item)}]
        if kind == LEAD and self._is_simple_crm:
            # A portal without leads makes a contact and a deal of it at once (vendors.md 2.5).
            contacts = []
            if not item["contactId"]:
                contacts = [self._portal.add(CONTACT, fields, user_id=self._user_id)]
                item["contactId"] = contacts[0]["id"]
            given = {**fields, "contactId": item["contactId"], "leadId": item["id"], "stageId": None}
            deal = self._portal.add(DEAL, given, user_id=self._user_id)
            item["stageId"] = "CONVERTED"
            stored = [{"entityTypeId": kind, "item": dict(item)}, {"entityTypeId": DEAL, "item": dict(deal)}]
            stored += [{"entityTypeId": CONTACT, "item": dict(contact)} for contact in contacts]
        return item, stored

    def _old_add(self, entity: str, params: Mapping[str, Any]) -> Outcome:
        kind = next(kind for kind, name in ENTITY_NAMES.items() if name == entity)
        fields: dict[str, Any] = {}
        multifields: list[dict[str, Any]] = []
        for name, value in _fields(params).items():
            if name in _OLD_MULTIFIELDS:
                entries = [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
                multifields += [
                    {"typeId": name, "valueType": entry.get("VALUE_TYPE", "WORK"), "value": entry.get("VALUE")}
                    for entry in entries
                ]
            else:
                fields[_new_name(name)] = value
        if multifields:
            fields["fm"] = multifields
        item, stored = self._add(kind, fields)
        return Outcome(item["id"], stored=stored)

    def _get(self, params: Mapping[str, Any]) -> Outcome:
        item_id = str(params.get("id", ""))
        item = self._portal.get(_kind(params), int(item_id)) if item_id.isdigit() else None
        if item is None:
            raise BitrixError("NOT_FOUND", "Элемент не найден")
        return Outcome({"item": self._shown(item, params)})

    def _by_camel_name(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        fields = _fields(params)
        if not _wants_original(params):
            return fields
        return {camel_name(name) if name in self._portal.user_fields else name: fields[name] for name in fields}

    def _shown(self, item: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """With its user fields as they are called by default, or by their original names."""
        if not _wants_original(params):
            return item
        original = {camel_name(name): name for name in self._portal.user_fields}
        return {original.get(name, name): value for name, value in item.items()}

    def _list(self, params: Mapping[str, Any]) -> Outcome:
        kind = _kind(params)
        conditions = params.get("filter") or {}
        if conditions == [""]:  # `filter[]=`: how b24pysdk writes an empty one into a batch
            conditions = {}
        if not isinstance(conditions, dict):
            raise BitrixError("INVALID_ARG_VALUE", "Invalid filter: an object is expected")
        found = self._portal.find(kind, conditions)
        order = params.get("order") or {}
        if isinstance(order, dict):
            for name, direction in reversed(order.items()):
                descending = str(direction).upper() == "DESC"
                found.sort(key=partial(_sortable, name), reverse=descending)
        start = _start(params)
        page = found[max(start, 0) : max(start, 0) + PAGE]
        outcome = Outcome({"items": [_selected(item, params.get("select")) for item in page]})
        if start >= 0:
            outcome.total = len(found)
            outcome.next = start + PAGE if len(found) > start + PAGE else None
        return outcome

    def _find_by_communication(self, params: Mapping[str, Any]) -> Any:
        type_id, values = params.get("type"), params.get("values")
        if type_id not in ("PHONE", "EMAIL"):
            raise BitrixError("Communication type is not defined", "Communication type is not defined")
        if not isinstance(values, list) or not values:
            raise BitrixError("Communication values is not defined", "Communication values is not defined")
        wanted = {normal(type_id, value) for value in values[:20]} - {""}
        found = {}
        for kind in (LEAD, CONTACT, COMPANY):
            name = ENTITY_NAMES[kind].upper()
            if params.get("entity_type") in (None, "", name):
                found[name] = self._portal.by_communication(kind, type_id, wanted)[:20]
        return map_or_list({name: ids for name, ids in found.items() if ids})

    def _comment(self, params: Mapping[str, Any]) -> Outcome:
        fields = _fields(params)
        names = {name: kind for kind, name in ENTITY_NAMES.items()}
        kind = names.get(str(fields.get("ENTITY_TYPE", "")).lower())
        entity_id = str(fields.get("ENTITY_ID", ""))
        if kind is None or not entity_id.isdigit() or self._portal.get(kind, int(entity_id)) is None:
            raise BitrixError("", "ENTITY_ID or ENTITY_TYPE is not right: no such element")
        if not fields.get("COMMENT"):
            raise BitrixError("", "Empty comment message.")
        comment = {"entityTypeId": kind, "entityId": int(entity_id), "comment": fields["COMMENT"]}
        return Outcome(self._portal.add_comment(comment), stored=[comment])


def _kind(params: Mapping[str, Any]) -> int:
    text = str(params.get("entityTypeId", ""))
    if not text.isdigit() or int(text) not in FIELDS:
        raise BitrixError("NOT_FOUND", "Смарт-процесс не найден")
    return int(text)


def _fields(params: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = params.get("fields")
    return fields if isinstance(fields, dict) else {}


def _new_name(old: str) -> str:
    if old.startswith("UF_CRM_"):
        return camel_name(old)
    first, *rest = old.lower().split("_")
    return _OLD_NAMES.get(old, first + "".join(part.capitalize() for part in rest))


def _start(params: Mapping[str, Any]) -> int:
    text = str(params.get("start", "0"))
    if text == "-1":
        return -1
    return int(text) // PAGE * PAGE if text.isascii() and text.isdigit() else 0


def _selected(item: dict[str, Any], select: Any) -> dict[str, Any]:
    """Without `select` everything but `fm`, which comes with "*" only (vendors.md 2.7)."""
    names = [str(name) for name in select] if isinstance(select, list) and select else []
    if "*" in names:
        return item
    if not names:
        return {name: value for name, value in item.items() if name != "fm"}
    return {"id": item["id"], **{name: item[name] for name in names if name in item and name != "fm"}}


def _sortable(name: str, item: Mapping[str, Any]) -> tuple[int, float, str]:
    value = item.get(name)
    return (1, float(value), "") if isinstance(value, int | float) else (0, 0.0, "" if value is None else str(value))


def _wants_original(params: Mapping[str, Any]) -> bool:
    return str(params.get("useOriginalUfNames", "N")).upper() in ("Y", "TRUE", "1")


def _statuses(params: Mapping[str, Any]) -> Outcome:
    conditions = params.get("filter") or params.get("FILTER") or {}
    wanted = conditions.get("ENTITY_ID") if isinstance(conditions, dict) else None
    rows = [
        {"ENTITY_ID": entity, "STATUS_ID": status, "NAME": name, "SORT": str((sort + 1) * 10), "SYSTEM": "Y"}
        for entity, names in _STATUSES.items()
        if wanted in (None, entity)
        for sort, (status, name) in enumerate(names.items())
    ]
    return Outcome([{"ID": str(index + 1), **row} for index, row in enumerate(rows)], total=len(rows))
