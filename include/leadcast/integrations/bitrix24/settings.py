"""What a request may say about Bitrix24: how the lead is filed, and whose portal it is (vendors.md 2.1, 2.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from leadcast.integrations.base import RequestModel
from leadcast.integrations.text.mapping import Fields

_HOST = r"(?i)^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$"
_WEBHOOK_URL = re.compile(r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/rest/[0-9]+/[A-Za-z0-9]+/?")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_CATEGORY = re.compile(r"C(\d{1,9}):")
_OURS = frozenset({"id", "originid", "originatorid"})
_DEAD = frozenset({"contacts", "companies"})
"""Named by `crm.item.fields`, and refused with error 100 when written (Bitrix24's page `object-fields`)."""

Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:]{0,64}$")]
Id = Annotated[int, Field(ge=0)]


class Entity(StrEnum):
    """What a lead becomes. Portals in simple mode have no leads: choose the deal there."""

    LEAD = "lead"
    DEAL = "deal"


class Bitrix24Settings(RequestModel):
    """How the lead is filed."""

    entity: Entity = Entity.LEAD
    stage_id: Code = Field(default="", description="NEW, or C9:NEW for a deal in category 9. Default: the first.")
    source_id: Code = "WEB"
    assigned_by_id: int | None = Field(default=None, gt=0, description="Default: the owner of the webhook or token.")
    title: str = Field(default="", max_length=500, description="May hold {lead_name} and the like.")
    category_id: Id | None = Field(default=None, description="Of deals; 0 is the general one. Default: the stage's.")
    find_contact: bool = Field(
        default=True, description="Look for a contact with this phone or e-mail, and link it instead of making another."
    )
    fields: Fields = Field(default_factory=dict, description="Fields of the lead or deal, as ufCrm_1721244707107.")
    contact_fields: Fields = Field(default_factory=dict, description="Fields of the contact that a deal gets.")

    @field_validator("fields", "contact_fields")
    @classmethod
    def _may_be_filled(cls, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in fields:
            if not _FIELD_NAME.fullmatch(name):
                raise ValueError("a target is a field's name, as in ufCrm_1721244707107 or UF_CRM_CITY")
            plain = name.replace("_", "").lower()
            if plain in _OURS:
                raise ValueError(f"{name} holds the key by which Leadcast finds the delivery again")
            if plain in _DEAD:
                raise ValueError(f"{name} cannot be written; use contactIds or companyIds")
        return fields

    @model_validator(mode="after")
    def _stage_is_of_the_category(self) -> Self:
        own = _CATEGORY.match(self.stage_id)
        if self.entity is Entity.DEAL and own and self.category_id not in (None, int(own[1])):
            raise ValueError("stage_id: it is a stage of another category than category_id")
        return self

    @property
    def category(self) -> int | None:
        """Of a deal: the one that its stage belongs to, where it is not said."""
        own = _CATEGORY.match(self.stage_id)
        return int(own[1]) if own and self.category_id is None else self.category_id


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
        if value.get_secret_value() and not _WEBHOOK_URL.fullmatch(value.get_secret_value()):
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
