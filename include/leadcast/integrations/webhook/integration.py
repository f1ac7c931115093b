"""Webhook: the lead as a signed message to a URL of the caller's, as Standard Webhooks say (vendors.md 4).

`webhook-id` is the delivery's key and the body is the same on every attempt, so a receiver recognises a repetition.
The URL is a stranger's: only public addresses are reached, redirects are not followed, and of the answer nothing but
its status is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from leadcast.core.digest import digest
from leadcast.core.limits import Limit
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.connection import InConnection
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
    in_connection = InConnection({"address": "url", "password": "secret"}, lacking={"address": "the receiver's URL"})
    beside_connection = ("secret", "previous_secret", "headers")
    queue = "integration-webhooks"
    repeatable = True
    can_probe = True

    def limits(self, *, settings: WebhookSettings, account: Account[WebhookCredentials]) -> Sequence[Limit]:
        """One for the URL, wide: what a receiver asks for by 429 holds for all that goes there (vendors.md 4.2)."""
        number = digest(account.credentials.url.get_secret_value(), chars=16)
        return [Limit(name=f"webhook {self.label(account)} #{number}", calls=CALLS_PER_S)]

    def identity(self, account: Account[WebhookCredentials]) -> Sequence[str]:
        """The URL, and all that a receiver may know us by."""
        credentials = account.credentials
        headers = sorted(f"{name.lower()}: {value.get_secret_value()}" for name, value in credentials.headers.items())
        keys = (credentials.secret, credentials.previous_secret)
        return (credentials.url.get_secret_value(), *(key.get_secret_value() if key else "" for key in keys), *headers)

    def chosen_url(self, account: Account[WebhookCredentials]) -> str:
        """The URL that the request names: a receiver is chosen by the caller, not by the operator."""
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
