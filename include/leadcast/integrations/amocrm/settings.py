"""What a request may say about amoCRM: how the lead is filed, and whose account it is (vendors.md 1.1, 1.2)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from leadcast.core.model import Priority
from leadcast.integrations.amocrm.fields import CONTACT_TARGETS, LEAD_TARGETS, check_targets, given_price
from leadcast.integrations.base import RequestModel
from leadcast.integrations.text.mapping import Fields

_LABEL = r"(?i)^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

Tag = Annotated[str, Field(min_length=1, max_length=255)]
Id = Annotated[int, Field(gt=0)]
FormText = Annotated[str, Field(max_length=255)]


class AmoCrmSettings(RequestModel):
    """What a request may say of how amoCRM keeps the lead: pipeline, status, tags, fields, contact."""

    priority: Priority = Field(default=Priority.NORMAL, description="Other than normal: a tag, as in priority:high.")
    pipeline_id: Id | None = Field(default=None, description="Default: the account's main pipeline.")
    status_id: Id | None = Field(default=None, description="Default: the pipeline's first stage.")
    responsible_user_id: Id | None = None
    tags: tuple[Tag, ...] = Field(default=(), max_length=50)
    price: Annotated[int | None, BeforeValidator(given_price)] = Field(
        default=None, ge=0, description="Whole units of the account's currency; 1 000,50 is rounded."
    )
    key_field: Id | Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{0,64}$")] = Field(
        default="",
        union_mode="left_to_right",
        description="Code or id of a text field of leads that holds the delivery's key. Empty: a tag, ext:<key>.",
    )
    fields: Fields = Field(
        default_factory=dict, description="Of the lead: name, price, a custom field's id or code → value."
    )
    contact_fields: Fields = Field(
        default_factory=dict,
        description="Of a new contact: name, first_name, last_name, a custom field's id or code → value.",
    )
    find_contact: bool = Field(default=True, description="Look for the contact by phone and e-mail before creating it.")
    unsorted: bool = Field(default=False, description="File the lead as an incoming form, for a person to accept.")
    form_id: FormText = Field(default="", description="With unsorted. Default: leadcast.")
    form_name: FormText = Field(default="", description="With unsorted. Default: the lead's source.")
    form_page: FormText = Field(default="", description="With unsorted. Default: the lead's custom field form_page.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.unsorted and self.status_id is not None:
            raise ValueError("status_id: an incoming lead (unsorted) has no stage until somebody accepts it")
        forms = [name for name in ("form_id", "form_name", "form_page") if getattr(self, name)]
        if forms and not self.unsorted:
            raise ValueError(f"{forms[0]}: goes with unsorted")
        if str(self.key_field) in self.fields:
            raise ValueError("fields: the field in key_field holds the delivery's key")
        check_targets(self.fields, own=LEAD_TARGETS, used=bool(self.key_field), what="fields")
        own_ways = len({"PHONE", "EMAIL"} - self.contact_fields.keys())
        check_targets(self.contact_fields, own=CONTACT_TARGETS, used=own_ways, what="contact_fields")
        return self


class AmoCrmCredentials(RequestModel):
    """A long-lived access token, or an OAuth pair with what renews it."""

    subdomain: str = Field(pattern=_LABEL, description="example, if the account is example.amocrm.ru.")
    domain: Literal["amocrm.ru", "amocrm.com", "kommo.com"] = "amocrm.ru"
    client_id: str = Field(default="", max_length=255)
    client_secret: SecretStr = SecretStr("")
    access_token: SecretStr = Field(min_length=1)
    refresh_token: SecretStr = SecretStr("")
    redirect_uri: str = Field(default="", max_length=2048, description="As registered; amoCRM wants it for a renewal.")
    requests_per_second: int = Field(default=7, ge=1, le=50, description="More only with a package that was paid for.")

    @model_validator(mode="after")
    def _can_be_renewed(self) -> Self:
        if self.refresh_token.get_secret_value() and not (self.client_id and self.client_secret.get_secret_value()):
            raise ValueError("refresh_token needs client_id and client_secret")
        return self
