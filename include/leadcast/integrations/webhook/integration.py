"""Webhook: the lead as a signed message to a URL of the caller's, as Standard Webhooks say (vendors.md 4).

`webhook-id` is the delivery's key and the body is the same on every attempt, so a receiver recognises a repetition.
The URL is a stranger's: only public addresses are reached, redirects are not followed, and of the answer nothing but
its status is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, ValidationError, model_validator

from leadcast.core.errors import CredentialsError
from leadcast.core.limits import Limit
from leadcast.core.model import Lead, Receipt
from leadcast.core.signing_secret import signing_secret
from leadcast.integrations.base import Account, Call, ConnectionFields, Integration, ModelClass, RequestModel
from leadcast.integrations.connection import address_of, misfit, parsed
from leadcast.integrations.http.address import Target, callable_url
from leadcast.integrations.text.mapping import Fields, filled
from leadcast.integrations.webhook.answer import BODY_S, check
from leadcast.integrations.webhook.message import (
    DELIVERY_KEY,
    BodyKind,
    check_targets,
    lead_data,
    message_body,
    nested,
    signed_headers,
)

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 65536
CALLS_PER_S = 50
"""No receiver publishes a limit; this one is there so that a receiver that asks for a pause can be given one."""
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


class Webhook(Integration[WebhookSettings, WebhookCredentials]):
    """A lead as a Standard Webhooks message."""

    type = "webhook"
    # the second is what a URL makes of itself in AIRFLOW_CONN_…
    connection_types = ("http", "https", "webhook")
    beside_connection = ("secret", "previous_secret", "headers")
    queue = "integration-webhooks"
    repeatable = True
    can_probe = True
    settings_model: ClassVar[ModelClass] = WebhookSettings
    credentials_model: ClassVar[ModelClass] = WebhookCredentials

    def limits(self, *, settings: WebhookSettings, account: Account[WebhookCredentials]) -> Sequence[Limit]:
        """One for the URL, wide: what a receiver asks for by 429 holds for all that goes there (vendors.md 4.2)."""
        url = account.credentials.url.get_secret_value()
        digest = hashlib.sha256(url.encode()).hexdigest()[:16]
        return [Limit(name=f"webhook {self.label(account)} #{digest}", calls=CALLS_PER_S)]

    def identity(self, account: Account[WebhookCredentials]) -> Sequence[str]:
        """The URL, and all that a receiver may know us by."""
        credentials = account.credentials
        headers = sorted(f"{name.lower()}: {value.get_secret_value()}" for name, value in credentials.headers.items())
        keys = (credentials.secret, credentials.previous_secret)
        return (credentials.url.get_secret_value(), *(key.get_secret_value() if key else "" for key in keys), *headers)

    def label(self, account: Account[WebhookCredentials]) -> str:
        """`example.com:8443`: the rest of the URL is a secret."""
        return Target.of(account.credentials.url.get_secret_value()).netloc

    def chosen_url(self, account: Account[WebhookCredentials]) -> str:
        """The receiver's."""
        return account.credentials.url.get_secret_value()

    def deliver(
        self, lead: Lead, *, settings: WebhookSettings, account: Account[WebhookCredentials], call: Call
    ) -> Receipt:
        """Sends the message. The receipt: its `webhook-id`, and the status that was answered."""
        credentials = account.credentials
        data = nested(filled(settings.fields, lead=lead)) if settings.fields else lead_data(lead)
        body = message_body(
            settings.event, at=call.accepted_at, data={**data, DELIVERY_KEY: call.key}, kind=settings.body
        )
        own = {name: value.get_secret_value() for name, value in credentials.headers.items()}
        signed = signed_headers(
            body,
            message_id=call.key,
            secret=credentials.secret,
            previous_secret=credentials.previous_secret,
            at=call.clock(),
            kind=settings.body,
        )
        call.pace()
        answer = call.egress.send(
            "POST",
            credentials.url.get_secret_value(),
            headers=own | signed,
            body=body,
            timeout_s=min(TIMEOUT_S, call.timeout_s),
            max_answer_bytes=MAX_ANSWER_BYTES,
            body_s=BODY_S,
            public_only=True,
        )
        check(answer, now=call.clock())
        return Receipt(external_id=call.key, detail={"status": answer.status})

    def probe(self, account: Account[WebhookCredentials], *, call: Call) -> str:
        """Connects, and posts nothing: there is no call that every receiver takes for harmless."""
        url = account.credentials.url.get_secret_value()
        call.pace()
        call.egress.reach(url, timeout_s=min(TIMEOUT_S, call.timeout_s), public_only=True)
        how = "over TLS, with a trusted certificate" if url.lower().startswith("https:") else "without TLS"
        return f"{self.label(account)} can be reached {how}. Nothing was posted, so nobody has looked at the secret."

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> Account[WebhookCredentials]:
        """An `http` connection: host (or a whole URL), schema (default https), port; password = secret.

        Of extra, only `headers` and `previous_secret` are read: {"headers": {"Authorization": "…"}}.
        """
        if "url" in inline:  # the connection's headers would go there
            raise CredentialsError("The URL is the connection's: url does not go with conn_id.", code="url")
        stored = {
            "url": address_of(connection),
            "secret": connection.token.get_secret_value(),
            "previous_secret": connection.extra.get("previous_secret"),
            "headers": parsed(connection.extra.get("headers")),
        }
        values = {name: value for name, value in stored.items() if value} | dict(inline)
        if "url" not in values:
            raise CredentialsError(f"Connection {connection.conn_id!r} has no host: the receiver's URL.", code="host")
        try:
            return Account(credentials=WebhookCredentials.model_validate(values))
        except ValidationError as error:
            raise misfit(connection, error, called={"url": "host", "secret": "password"}) from None
