"""Bitrix24: a lead, or a deal with its contact, under a key of ours that finds them again (vendors.md 2)."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from leadcast.core.errors import CredentialsError, TransientError, UnknownOutcome
from leadcast.core.model import Lead, Receipt
from leadcast.core.redact import one_line
from leadcast.integrations.base import Account, Call, ConnectionFields, Integration, ModelClass, RequestModel
from leadcast.integrations.bitrix24_client import Bitrix24Client, is_vendors_host
from leadcast.integrations.connection import base_url_of, expired, lacking, refuse_inline
from leadcast.integrations.remarks import remarks, utm_name

ORIGINATOR = "LEADCAST"
"""`originatorId` of all that we create; `originId` is the delivery's key."""
MAX_NAME_CHARS = 255
_UTM_FIELDS = {f"utm_{name.lower()}": f"utm{name}" for name in ("Source", "Medium", "Campaign", "Content", "Term")}
_HOST = r"(?i)^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$"
_WEBHOOK_URL = r"^https?://[^/?#@\s]+/rest/\d+/[A-Za-z0-9]+/?$"

Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:]{0,64}$")]
Id = Annotated[int, Field(ge=0)]


class Entity(StrEnum):
    """What a lead becomes. Portals in simple mode have no leads: choose the deal there."""

    LEAD = "lead"
    DEAL = "deal"


class EntityType(IntEnum):
    """Bitrix24's `entityTypeId` (vendors.md 2.5)."""

    LEAD = 1
    DEAL = 2
    CONTACT = 3

    @classmethod
    def of(cls, entity: Entity) -> EntityType:
        """The number of what the settings name."""
        return cls[entity.name]


class Bitrix24Settings(RequestModel):
    """How the lead is filed."""

    entity: Entity = Entity.LEAD
    stage_id: Code = Field(default="", description="NEW, or C9:NEW for a deal in category 9. Default: the first.")
    source_id: Code = "WEB"
    assigned_by_id: Id | None = Field(default=None, description="Default: the owner of the webhook or token.")
    title: str = Field(default="", max_length=500, description="May hold {lead_name} and the like.")
    category_id: Id | None = Field(default=None, description="Of deals; 0 is the general one.")


class Bitrix24Credentials(RequestModel):
    """An incoming webhook's URL, or a portal's domain with OAuth tokens."""

    webhook_url: SecretStr = Field(default=SecretStr(""), description="https://example.bitrix24.ru/rest/1/<code>/")
    domain: str = Field(default="", description="example.bitrix24.ru")
    access_token: SecretStr = SecretStr("")
    refresh_token: SecretStr = SecretStr("")
    client_id: str = Field(default="", max_length=255)
    client_secret: SecretStr = SecretStr("")

    @field_validator("webhook_url")
    @classmethod
    def _is_webhook(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not re.match(_WEBHOOK_URL, value.get_secret_value()):
            raise ValueError("must look like https://example.bitrix24.ru/rest/1/<code>/")
        return value

    @field_validator("domain")
    @classmethod
    def _is_host(cls, value: str) -> str:
        if value and not re.match(_HOST, value):
            raise ValueError("must be a host name, as in example.bitrix24.ru")
        return value

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        has_token = bool(self.domain and self.access_token.get_secret_value())
        has_oauth = any((self.domain, self.access_token, self.refresh_token, self.client_id, self.client_secret))
        if bool(self.webhook_url.get_secret_value()) == has_oauth or has_oauth != has_token:
            raise ValueError("either webhook_url, or domain and access_token")
        if self.refresh_token.get_secret_value() and not (self.client_id and self.client_secret.get_secret_value()):
            raise ValueError("refresh_token needs client_id and client_secret")
        return self


class Bitrix24(Integration[Bitrix24Settings, Bitrix24Credentials]):
    """Creates a lead or a deal. Bitrix24 keeps `originId` and does not look at it: we ask before sending again."""

    type: ClassVar[str] = "bitrix24"
    can_find: ClassVar[bool] = True
    can_probe: ClassVar[bool] = True
    # the cloud cuts a call after 60 s (vendors.md 2.4)
    absent_after_s: ClassVar[float] = 75
    settings_model: ClassVar[ModelClass] = Bitrix24Settings
    credentials_model: ClassVar[ModelClass] = Bitrix24Credentials

    def deliver(
        self, lead: Lead, *, settings: Bitrix24Settings, account: Account[Bitrix24Credentials], call: Call
    ) -> Receipt:
        """One lead; or one contact, then one deal with it: a deal has no phone and e-mail of its own."""
        client = Bitrix24Client(account, call=call, lead=lead)
        fields = _fields(lead, settings=settings, call=call)
        if settings.entity is Entity.LEAD:
            fields |= _person(lead) | {"companyTitle": lead.company[:MAX_NAME_CHARS]}
            return Receipt(external_id=str(_added(client, EntityType.LEAD, fields, key=call.key)))
        detail = {}
        if lead.name or lead.phone or lead.email:
            detail["contact_id"] = fields["contactId"] = _contact(client, lead, settings=settings, call=call)
        return Receipt(external_id=str(_added(client, EntityType.DEAL, fields, key=call.key)), detail=detail)

    def find(
        self, lead: Lead, *, settings: Bitrix24Settings, account: Account[Bitrix24Credentials], call: Call
    ) -> Receipt | None:
        """Asks for the item with our key; the portal filters exactly (vendors.md 2.7)."""
        client = Bitrix24Client(account, call=call, lead=lead)
        found = _found(client, EntityType.of(settings.entity), key=call.key)
        if found is None:
            return None
        detail = {"contact_id": found["contactId"]} if found.get("contactId") else {}
        return Receipt(external_id=str(found["id"]), detail=detail)

    def probe(self, account: Account[Bitrix24Credentials], *, call: Call) -> str:
        """Asks who the webhook or token acts for, which every one of them may (vendors.md 2.7)."""
        try:
            who = Bitrix24Client(account, call=call, lead=None).read("profile", {})
        except CredentialsError as error:
            if error.code == "EXPIRED_TOKEN" and account.credentials.refresh_token.get_secret_value():
                raise expired("Bitrix24", error) from None
            raise
        name = one_line(f"{who.get('NAME', '')} {who.get('LAST_NAME', '')}", limit=80)
        return f"Bitrix24 lets us in: as {name or 'a user'}, id {who.get('ID')}."

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> Account[Bitrix24Credentials]:
        """host or password = the webhook's URL; or host = the portal, password = access token, extra = the rest."""
        refuse_inline(connection, inline)
        address, secret = base_url_of(connection), connection.password.get_secret_value()
        webhook_url = next((text for text in (address, secret) if "/rest/" in text), "")
        given = {name: connection.extra[name] for name in Bitrix24Credentials.model_fields if name in connection.extra}
        if webhook_url:
            given = {"webhook_url": webhook_url}
        elif "webhook_url" not in given:
            given = {"domain": urlsplit(address).hostname or "", "access_token": secret, **given}
        try:
            credentials = Bitrix24Credentials.model_validate(given)
        except ValidationError as error:
            raise CredentialsError(
                f"Connection {connection.conn_id!r}: {lacking(error)}. It needs the webhook's URL as host or password, "
                "or the portal as host and the access token as password.",
                code="connection",
            ) from None
        return Account(credentials=credentials, base_url=_operators_choice(address, credentials))


def _operators_choice(address: str, credentials: Bitrix24Credentials) -> str:
    """The base URL of a portal outside the vendor's cloud; empty for one within, whose rules then hold."""
    url = urlsplit(address or credentials.webhook_url.get_secret_value() or f"https://{credentials.domain}")
    if url.scheme == "https" and is_vendors_host(url.hostname or ""):
        return ""
    return f"{url.scheme}://{url.netloc}"


def _fields(lead: Lead, *, settings: Bitrix24Settings, call: Call) -> dict[str, Any]:
    """What leads and deals have in common. A field without a value is left to the portal's default."""
    title = call.templates.line(settings.title, lead=lead) if settings.title else lead.name
    is_deal = settings.entity is Entity.DEAL
    text = remarks(lead, language=call.settings.language, with_company=is_deal, without_utm=_UTM_FIELDS)
    utm = {_UTM_FIELDS[utm_name(name)]: value for name, value in lead.utm.items() if utm_name(name) in _UTM_FIELDS}
    return {
        "title": (title or f"Lead {lead.id}")[:MAX_NAME_CHARS],
        "stageId": settings.stage_id,
        "categoryId": settings.category_id if is_deal else None,
        "comments": html.escape(text, quote=False),  # shown as markup by the portal
        **_filed(lead, settings),
        **utm,
    }


def _filed(lead: Lead, settings: Bitrix24Settings) -> dict[str, Any]:
    return {
        "sourceId": settings.source_id,
        "sourceDescription": lead.source,
        "assignedById": settings.assigned_by_id,
        "opened": "Y",
    }


def _person(lead: Lead) -> dict[str, Any]:
    ways = [
        {"typeId": kind, "valueType": "WORK", "value": value}
        for kind, value in (("PHONE", lead.phone), ("EMAIL", lead.email))
        if value
    ]
    return {"name": lead.name[:MAX_NAME_CHARS], "fm": ways}


def _contact(client: Bitrix24Client, lead: Lead, *, settings: Bitrix24Settings, call: Call) -> int:
    """The contact's id. An attempt before this one may have made it and died before it made the deal."""
    key = f"{call.key}-contact"
    if call.attempt > 1:
        found = _found(client, EntityType.CONTACT, key=key)
        if found is not None:
            return int(found["id"])
    fields = _person(lead) | _filed(lead, settings)
    return _added(client, EntityType.CONTACT, fields | {"name": fields["name"] or lead.phone or lead.email}, key=key)


def _added(client: Bitrix24Client, entity_type: EntityType, fields: Mapping[str, Any], *, key: str) -> int:
    filled = {name: value for name, value in fields.items() if value not in (None, "", [])}
    ours = {"originatorId": ORIGINATOR, "originId": key}
    result = client.write("crm.item.add", {"entityTypeId": entity_type.value, "fields": {**filled, **ours}})
    item = result.get("item")
    if not isinstance(item, dict) or not isinstance(item.get("id"), int):
        raise UnknownOutcome("Bitrix24 said yes without naming the item; it may have been created.", code="no_id")
    return int(item["id"])


def _found(client: Bitrix24Client, entity_type: EntityType, *, key: str) -> dict[str, Any] | None:
    result = client.read(
        "crm.item.list",
        {
            "entityTypeId": entity_type.value,
            "select": ["id", "originId", *(["contactId"] if entity_type is EntityType.DEAL else [])],
            "filter": {"=originatorId": ORIGINATOR, "=originId": key},
            "order": {"id": "ASC"},
            "start": -1,
        },
    )
    items = result.get("items")
    if not isinstance(items, list):  # what cannot be read must not pass for "nothing found"
        raise TransientError("Bitrix24's answer holds no list of items.", code="not_json")
    exact = (item for item in items if isinstance(item, dict) and item.get("originId") == key and "id" in item)
    return next(exact, None)
