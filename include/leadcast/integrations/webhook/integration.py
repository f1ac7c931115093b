"""Webhook: the lead as a signed message to a URL of the caller's, as Standard Webhooks say (vendors.md 4).

`webhook-id` is the delivery's key and the body is the same on every attempt, so a receiver recognises a repetition.
The URL is a stranger's: only public addresses are reached, redirects are not followed, and of the answer nothing but
its status is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import ValidationError

from leadcast.core.digest import digest
from leadcast.core.errors import CredentialsError
from leadcast.core.limits import Limit
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Account, Call, ConnectionFields, Integration, ModelClass
from leadcast.integrations.connection import address_of, misfit, parsed
from leadcast.integrations.http.address import Target
from leadcast.integrations.text.mapping import filled
from leadcast.integrations.webhook.answer import BODY_S, check
from leadcast.integrations.webhook.message import (
    DELIVERY_KEY,
    lead_data,
    message_body,
    nested,
    signed_headers,
)
from leadcast.integrations.webhook.settings import WebhookCredentials, WebhookSettings

TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 65536
CALLS_PER_S = 50
"""No receiver publishes a limit; this one is there so that a receiver that asks for a pause can be given one."""


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
        return [Limit(name=f"webhook {self.label(account)} #{digest(url, chars=16)}", calls=CALLS_PER_S)]

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
