"""amoCRM (Kommo): a lead with its contact and company in one call, then a note with the rest (vendors.md 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator

from leadcast.core.errors import CredentialsError, DeliveryError, UnknownOutcome
from leadcast.core.model import Lead, Priority, Receipt
from leadcast.core.redact import one_line
from leadcast.integrations.amocrm_client import AmoCrmClient
from leadcast.integrations.amocrm_search import TAG_PREFIX, embedded, find_lead
from leadcast.integrations.base import Account, Call, ConnectionFields, Integration, ModelClass, RequestModel
from leadcast.integrations.connection import base_url_of, expired, lacking, refuse_inline
from leadcast.integrations.remarks import remarks

MAX_NAME_CHARS = 255
_LABEL = r"(?i)^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

Tag = Annotated[str, Field(min_length=1, max_length=255)]
Id = Annotated[int, Field(gt=0)]


class AmoCrmSettings(RequestModel):
    """How the lead is filed."""

    priority: Priority = Field(default=Priority.NORMAL, description="Other than normal: a tag, as in priority:high.")
    pipeline_id: Id | None = Field(default=None, description="Default: the account's main pipeline.")
    status_id: Id | None = Field(default=None, description="Default: the pipeline's first stage.")
    responsible_user_id: Id | None = None
    tags: tuple[Tag, ...] = Field(default=(), max_length=50)
    price: int | None = Field(default=None, ge=0, description="Whole units of the account's currency.")
    key_field: Id | Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{0,64}$")] = Field(
        default="",
        union_mode="left_to_right",
        description="Code or id of a text field of leads that holds the delivery's key. Empty: a tag, ext:<key>.",
    )


class AmoCrmCredentials(RequestModel):
    """A long-lived access token, or an OAuth pair with what renews it."""

    subdomain: str = Field(pattern=_LABEL, description="example, if the account is example.amocrm.ru.")
    domain: Literal["amocrm.ru", "amocrm.com", "kommo.com"] = "amocrm.ru"
    client_id: str = Field(default="", max_length=255)
    client_secret: SecretStr = SecretStr("")
    access_token: SecretStr = Field(min_length=1)
    refresh_token: SecretStr = SecretStr("")
    redirect_uri: str = Field(default="", max_length=2048, description="As registered; amoCRM wants it for a renewal.")

    @model_validator(mode="after")
    def _can_be_renewed(self) -> Self:
        if self.refresh_token.get_secret_value() and not (self.client_id and self.client_secret.get_secret_value()):
            raise ValueError("refresh_token needs client_id and client_secret")
        return self


class AmoCrm(Integration[AmoCrmSettings, AmoCrmCredentials]):
    """Creates a lead. amoCRM has no idempotency key: the delivery's key is kept on the lead, to be found by."""

    type: ClassVar[str] = "amocrm"
    can_find: ClassVar[bool] = True
    can_probe: ClassVar[bool] = True
    # neither a limit of its own nor the lag of its search is published; 504 is what too slow a call ends in
    absent_after_s: ClassVar[float] = 75
    settings_model: ClassVar[ModelClass] = AmoCrmSettings
    credentials_model: ClassVar[ModelClass] = AmoCrmCredentials

    def deliver(
        self, lead: Lead, *, settings: AmoCrmSettings, account: Account[AmoCrmCredentials], call: Call
    ) -> Receipt:
        """One lead, and one note. A note that fails is said in the receipt, and neither fails nor repeats the lead."""
        client = AmoCrmClient(account, call=call, lead=lead)
        created = _created(client.write("/api/v4/leads/complex", [_lead(lead, settings=settings, key=call.key)]))
        detail = {name: created[name] for name in ("contact_id", "company_id") if created.get(name)}
        text = remarks(lead, language=call.settings.language)
        if text:
            detail["note"] = _noted(client, created["id"], text)
        return Receipt(external_id=str(created["id"]), merged=created.get("merged") is True, detail=detail)

    def find(
        self, lead: Lead, *, settings: AmoCrmSettings, account: Account[AmoCrmCredentials], call: Call
    ) -> Receipt | None:
        """Looks for the lead that holds the delivery's key."""
        client = AmoCrmClient(account, call=call, lead=lead)
        found = find_lead(client, key=call.key, key_field=settings.key_field, not_before=call.accepted_at)
        if found is None:
            return None
        contacts = embedded(found, "contacts")
        detail = {"contact_id": contacts[0]["id"]} if contacts and "id" in contacts[0] else {}
        return Receipt(external_id=str(found["id"]), detail=detail)

    def probe(self, account: Account[AmoCrmCredentials], *, call: Call) -> str:
        """Reads the account's own card (vendors.md 1.7)."""
        try:
            card = AmoCrmClient(account, call=call, lead=None).read("/api/v4/account", {}) or {}
        except CredentialsError as error:
            if error.code == "401" and account.credentials.refresh_token.get_secret_value():
                raise expired("amoCRM", error) from None
            raise
        return f"amoCRM takes the token: account {one_line(str(card.get('name', '?')), limit=80)}, id {card.get('id')}."

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> Account[AmoCrmCredentials]:
        """host = the account's base URL, password = access token, extra = the other credentials, by their names."""
        refuse_inline(connection, inline)
        base_url = base_url_of(connection)
        given = {name: connection.extra[name] for name in AmoCrmCredentials.model_fields if name in connection.extra}
        given.setdefault("subdomain", re.split(r"[/.:]", base_url.partition("://")[2])[0])
        given.setdefault("access_token", connection.password)
        try:
            return Account(credentials=AmoCrmCredentials.model_validate(given), base_url=base_url)
        except ValidationError as error:
            raise CredentialsError(
                f"Connection {connection.conn_id!r}: {lacking(error)}. It needs the access token as password, "
                "and the account's address as host (https://example.amocrm.ru) or subdomain in extra.",
                code="connection",
            ) from None


def _lead(lead: Lead, *, settings: AmoCrmSettings, key: str) -> dict[str, Any]:
    tags = list(settings.tags)
    if settings.priority is not Priority.NORMAL:
        tags.append(f"priority:{settings.priority.value}")
    item: dict[str, Any] = {
        "name": (lead.name or f"Lead {lead.id}")[:MAX_NAME_CHARS],
        "price": settings.price,
        "pipeline_id": settings.pipeline_id,
        "status_id": settings.status_id,
        "responsible_user_id": settings.responsible_user_id,
        "request_id": key,
    }
    if settings.key_field:
        name = "field_id" if isinstance(settings.key_field, int) else "field_code"
        item["custom_fields_values"] = [{name: settings.key_field, "values": [{"value": key}]}]
    else:
        tags.append(TAG_PREFIX + key)
    item["_embedded"] = _filled(
        tags=[{"name": tag} for tag in dict.fromkeys(tags)],
        contacts=_contacts(lead, settings.responsible_user_id),
        companies=[{"name": lead.company[:MAX_NAME_CHARS]}] if lead.company else [],
    )
    return _filled(**item)


def _contacts(lead: Lead, responsible_user_id: int | None) -> list[dict[str, Any]]:
    ways = [
        {"field_code": code, "values": [{"value": value, "enum_code": "WORK"}]}
        for code, value in (("PHONE", lead.phone), ("EMAIL", lead.email))
        if value
    ]
    if not (lead.name or ways):
        return []
    name = (lead.name or lead.phone or lead.email)[:MAX_NAME_CHARS]
    return [_filled(first_name=name, responsible_user_id=responsible_user_id, custom_fields_values=ways)]


def _filled(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [], {})}


def _created(body: Any) -> dict[str, Any]:
    """The one item of the bare array that this endpoint answers (vendors.md 1.5)."""
    first = body[0] if isinstance(body, list) and body else None
    if not isinstance(first, dict) or not isinstance(first.get("id"), int):
        raise UnknownOutcome("amoCRM said yes without naming the lead; it may have been created.", code="no_id")
    return first


def _noted(client: AmoCrmClient, lead_id: int, text: str) -> bool:
    try:
        client.write(f"/api/v4/leads/{lead_id}/notes", [{"note_type": "common", "params": {"text": text}}])
    except DeliveryError:
        return False
    return True
