"""How the sandbox's amoCRM account is set up: pipelines, users, custom fields (ids as in vendors.md's samples)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ACCOUNT_ID = 31000001
SUBDOMAIN = "sandbox"
PIPELINE_ID = 7001
UNSORTED_STATUS_ID = 50110
FIRST_STATUS_ID = 50111
STATUSES = {
    UNSORTED_STATUS_ID: "Неразобранное",
    FIRST_STATUS_ID: "Первичный контакт",
    50112: "Переговоры",
    142: "Успешно реализовано",
    143: "Закрыто и не реализовано",
}
USERS = {901: "Администратор", 902: "Менеджер"}
PHONE_ENUMS = ("WORK", "WORKDD", "MOB", "FAX", "HOME", "OTHER")
EMAIL_ENUMS = ("WORK", "PRIV", "OTHER")


class FieldType(StrEnum):
    """The kinds of custom fields that the sandbox checks."""

    TEXT = "text"
    TEXTAREA = "textarea"
    NUMERIC = "numeric"
    CHECKBOX = "checkbox"
    SELECT = "select"
    DATE = "date"
    URL = "url"
    TRACKING_DATA = "tracking_data"
    MULTITEXT = "multitext"


@dataclass(frozen=True, kw_only=True)
class CustomField:
    """A custom field. `enums` are the values of a select, or the kinds (WORK, ...) of a phone or e-mail."""

    id: int
    code: str
    name: str
    type: FieldType
    enums: tuple[str, ...] = ()

    def as_json(self, entity: str) -> dict[str, Any]:
        enums = [
            {"id": self.id * 10 + sort, "value": value, "sort": sort * 10} for sort, value in enumerate(self.enums)
        ]
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type.value,
            "code": self.code,
            "sort": self.id % 1000,
            "is_api_only": False,
            "enums": enums or None,
            "entity_type": entity,
            "account_id": ACCOUNT_ID,
        }

    def knows_enum(self, enum_id: Any) -> bool:
        return isinstance(enum_id, int) and 0 <= enum_id - self.id * 10 < len(self.enums)


_TRACKING = (
    *("UTM_SOURCE", "UTM_MEDIUM", "UTM_CAMPAIGN", "UTM_CONTENT", "UTM_TERM", "UTM_REFERRER", "REFERRER", "GCLID"),
    *("FBCLID", "YCLID", "ROISTAT", "FROM", "GCLIENTID", "_YM_UID", "_YM_COUNTER"),
)
_PHONE_AND_EMAIL = (("PHONE", "Телефон", PHONE_ENUMS), ("EMAIL", "Email", EMAIL_ENUMS))

FIELDS: dict[str, tuple[CustomField, ...]] = {
    "leads": (
        CustomField(id=88001, code="EXT_ID", name="Внешний ключ", type=FieldType.TEXT),
        CustomField(id=88002, code="COMMENT", name="Комментарий", type=FieldType.TEXTAREA),
        CustomField(id=88003, code="SOURCE", name="Источник", type=FieldType.TEXT),
        CustomField(id=88004, code="BUDGET", name="Бюджет", type=FieldType.NUMERIC),
        CustomField(id=88005, code="URGENT", name="Срочно", type=FieldType.CHECKBOX),
        CustomField(
            id=88006, code="CITY", name="Город", type=FieldType.SELECT, enums=("Москва", "Казань", "Новосибирск")
        ),
        CustomField(id=88007, code="DEADLINE", name="Срок", type=FieldType.DATE),
        *(
            CustomField(id=88100 + index, code=code, name=code.lower(), type=FieldType.TRACKING_DATA)
            for index, code in enumerate(_TRACKING)
        ),
    ),
    "contacts": (
        *(
            CustomField(id=77001 + index, code=code, name=name, type=FieldType.MULTITEXT, enums=enums)
            for index, (code, name, enums) in enumerate(_PHONE_AND_EMAIL)
        ),
        CustomField(id=77003, code="POSITION", name="Должность", type=FieldType.TEXT),
    ),
    "companies": (
        *(
            CustomField(id=66001 + index, code=code, name=name, type=FieldType.MULTITEXT, enums=enums)
            for index, (code, name, enums) in enumerate(_PHONE_AND_EMAIL)
        ),
        CustomField(id=66003, code="WEB", name="Web", type=FieldType.URL),
        CustomField(id=66004, code="ADDRESS", name="Адрес", type=FieldType.TEXTAREA),
    ),
}


def field_of(entity: str, *, field_id: Any = None, field_code: Any = None) -> CustomField | None:
    """The custom field with that id, or else with that code."""
    for custom_field in FIELDS[entity]:
        if custom_field.id == field_id or (field_id is None and custom_field.code == field_code):
            return custom_field
    return None


def pipelines() -> list[dict[str, Any]]:
    """The answer of GET /api/v4/leads/pipelines, without links."""
    statuses = [
        {
            "id": status_id,
            "name": name,
            "sort": sort * 10,
            "is_editable": sort > 0,
            "pipeline_id": PIPELINE_ID,
            "type": 1 if status_id == UNSORTED_STATUS_ID else 0,
            "account_id": ACCOUNT_ID,
        }
        for sort, (status_id, name) in enumerate(STATUSES.items())
    ]
    return [
        {
            "id": PIPELINE_ID,
            "name": "Воронка",
            "sort": 1,
            "is_main": True,
            "is_unsorted_on": True,
            "is_archive": False,
            "account_id": ACCOUNT_ID,
            "_embedded": {"statuses": statuses},
        }
    ]


def users() -> list[dict[str, Any]]:
    """The answer of GET /api/v4/users, without links."""
    return [
        {"id": user_id, "name": name, "email": f"user{user_id}@example.com", "lang": "ru"}
        for user_id, name in USERS.items()
    ]


def account(*, is_api_filter_enabled: bool) -> dict[str, Any]:
    """The answer of GET /api/v4/account (vendors.md 1.7), without links."""
    return {
        "id": ACCOUNT_ID,
        "name": "Песочница",
        "subdomain": SUBDOMAIN,
        "created_at": 1767225600,
        "created_by": 0,
        "current_user_id": 901,
        "country": "RU",
        "currency": "RUB",
        "currency_symbol": "₽",
        "customers_mode": "disabled",
        "is_unsorted_on": True,
        "is_loss_reason_enabled": True,
        "is_helpbot_enabled": False,
        "is_technical_account": False,
        "is_api_filter_enabled": is_api_filter_enabled,
        "contact_name_display_order": 1,
        "version": 14,
    }
