"""What a request may say about a webhook: the message, and where it goes, signed with what (vendors.md 4.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from leadcast.core.signing_secret import signing_secret
from leadcast.integrations.base import RequestModel
from leadcast.integrations.http.address import callable_url
from leadcast.integrations.text.mapping import Fields
from leadcast.integrations.webhook.message import BodyKind, check_targets

MAX_HEADERS = 20
_MAX_HEADER_CHARS = 4096
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OURS = frozenset({"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection"}) | {
    "accept-encoding", "expect", "keep-alive", "te", "trailer", "upgrade", "proxy-authorization", "proxy-connection"
}  # fmt: skip


def _check_url(url: SecretStr) -> SecretStr:
    return SecretStr(callable_url(url.get_secret_value()))


def _check_headers(headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    seen: set[str] = set()
    for name, secret in headers.items():
        value, lower = secret.get_secret_value(), name.lower()
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("a header's name is 1 to 128 letters, digits and hyphens")
        if lower in _OURS or lower.startswith("webhook-"):
            raise ValueError(f"header {name!r} is set by Leadcast")
        if lower in seen:
            raise ValueError(f"header {name!r} stands there twice")
        if len(value) > _MAX_HEADER_CHARS or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"header {name!r} must be at most {_MAX_HEADER_CHARS} printable ASCII characters")
        seen.add(lower)
    return headers


class WebhookSettings(RequestModel):
    """What a request may say about one message."""

    event: Annotated[str, StringConstraints(max_length=128, pattern=r"^[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*$")] = Field(
        default="lead.created", description="The message's `type`: words with dots between them."
    )
    body: BodyKind = Field(default=BodyKind.JSON, description="json, or form: as an HTML form sends it.")
    fields: Fields = Field(
        default_factory=dict,
        description="Instead of the whole lead: field of `data` (contact.phone for one within another) → value.",
    )

    @model_validator(mode="after")
    def _fields_have_a_place(self) -> Self:
        check_targets(self.fields)
        return self


class WebhookCredentials(RequestModel):
    """Where to, signed with what. The URL counts as a secret: for many receivers it is the only one."""

    url: Annotated[SecretStr, AfterValidator(_check_url)]
    secret: Annotated[SecretStr, AfterValidator(signing_secret)] | None = Field(
        default=None, description="whsec_… ; without it messages are not signed."
    )
    previous_secret: Annotated[SecretStr, AfterValidator(signing_secret)] | None = Field(
        default=None, description="While the receiver changes from one secret to the next: both sign."
    )
    headers: Annotated[dict[str, SecretStr], AfterValidator(_check_headers)] = Field(
        default_factory=dict, max_length=MAX_HEADERS, description="Further headers, say Authorization."
    )
