"""Which fields the sandbox's portal has, and how it names and describes them (Bitrix24's pages `object-fields` and
`crm.item.fields`). A type that ends in [] takes a list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LEAD, DEAL, CONTACT, COMPANY = 1, 2, 3, 4
ENTITY_NAMES = {LEAD: "lead", DEAL: "deal", CONTACT: "contact", COMPANY: "company"}

_COMMON = {
    "id": "integer",
    **dict.fromkeys(("createdTime", "updatedTime", "lastActivityTime"), "datetime"),
    **dict.fromkeys(("createdBy", "updatedBy", "assignedById", "lastActivityBy"), "user"),
    **dict.fromkeys(("utmSource", "utmMedium", "utmCampaign", "utmContent", "utmTerm"), "string"),
    **dict.fromkeys(("originatorId", "originId"), "string"),
    **dict.fromkeys(("comments", "sourceDescription"), "text"),
    "opened": "boolean",
    "sourceId": "crm_status",
    "observers": "user[]",
    "webformId": "crm_webform",
}
_PERSON = {
    **dict.fromkeys(("name", "lastName", "secondName", "post"), "string"),
    "honorific": "crm_status",
    "birthdate": "date",
    **dict.fromkeys(("hasPhone", "hasEmail"), "boolean"),
    "fm": "crm_multifield",
}
_MONEY = {
    "title": "string",
    **dict.fromkeys(("stageId", "stageSemanticId"), "crm_status"),
    "opportunity": "double",
    "currencyId": "crm_currency",
    **dict.fromkeys(("isManualOpportunity", "isReturnCustomer"), "boolean"),
    "companyId": "crm_company",
    "contactId": "crm_contact",
    "contactIds": "crm_contact[]",
}
FIELDS: dict[int, dict[str, str]] = {
    LEAD: {**_COMMON, **_PERSON, **_MONEY, "companyTitle": "string", "statusDescription": "text"},
    DEAL: {
        **_COMMON,
        **_MONEY,
        **dict.fromkeys(("begindate", "closedate"), "date"),
        "categoryId": "crm_category",
        "typeId": "crm_status",
        "leadId": "crm_lead",
        "probability": "integer",
        "additionalInfo": "string",
        "taxValue": "double",
    },
    CONTACT: {
        **_COMMON,
        **_PERSON,
        "companyId": "crm_company",
        "companyIds": "crm_company[]",
        "categoryId": "crm_category",
        "typeId": "crm_status",
        "leadId": "crm_lead",
        "export": "boolean",
        "photo": "file",
    },
    COMPANY: {
        **_COMMON,
        **dict.fromkeys(("title", "bankingDetails"), "string"),
        **dict.fromkeys(("typeId", "industry", "employees"), "crm_status"),
        "revenue": "double",
        "currencyId": "crm_currency",
        "contactIds": "crm_contact[]",
        "leadId": "crm_lead",
        "fm": "crm_multifield",
    },
}
READ_ONLY = frozenset(
    {"id", "createdTime", "updatedTime", "createdBy", "updatedBy"}
    | {"isReturnCustomer", "stageSemanticId", "hasPhone", "hasEmail"}
)
SERVICE = {LEAD: "contacts", DEAL: "contacts", CONTACT: "companies", COMPANY: "contacts"}
"""Described as a field, and refused with error 100 when written."""
USER_FIELDS = {
    "UF_CRM_1721244707107": "string",
    "UF_CRM_CITY": "string",
    "UF_CRM_AREA": "double",
    "UF_CRM_INTERESTS": "string[]",
    "UF_CRM_3_DIGIT10": "string",
}
"""Those that leads, deals and contacts have unless the sandbox is told of others."""


def camel_name(original: str) -> str:
    """`ufCrm_1721244707107` for `UF_CRM_1721244707107`; a name that could be read back in two ways keeps its words
    (Bitrix24's page on the universal methods has the table)."""
    rest = original.removeprefix("UF_CRM_")
    if rest.isdigit() or re.search(r"[A-Z]_?\d", rest):
        return f"ufCrm_{rest}"
    name = "ufCrm"
    for part in rest.split("_"):
        name += f"_{part}" if part.isdigit() and name[-1].isdigit() else part.capitalize()
    return name


def describe(kind: int, user_fields: Mapping[str, str], *, original_names: bool) -> dict[str, Any]:
    """What `crm.item.fields` says of an entity type."""
    own = {name: _described(name, of, upper_name=_upper(name)) for name, of in FIELDS[kind].items()}
    own[SERVICE[kind]] = _described(SERVICE[kind], "crm_contact[]", upper_name=SERVICE[kind].upper())
    for original, of in user_fields.items():
        name = original if original_names else camel_name(original)
        own[name] = _described(name, of, upper_name=original) | {"isDynamic": True}
    return own


def _described(name: str, of: str, *, upper_name: str) -> dict[str, Any]:
    return {
        "type": of.removesuffix("[]"),
        "isRequired": False,
        "isReadOnly": name in READ_ONLY,
        "isImmutable": False,
        "isMultiple": of.endswith("[]"),
        "isDynamic": False,
        "title": name,
        "upperName": upper_name,
    }


def _upper(name: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", name).upper()
