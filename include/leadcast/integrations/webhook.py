"""Webhook: the lead as a signed JSON message to a URL of the caller's, as Standard Webhooks say (vendors.md 4).

`webhook-id` is the delivery's key and the body is the same on every attempt, so a receiver recognises a repetition.
The URL is a stranger's: only public addresses are reached, redirects are not followed, and of the answer nothing but
its status is kept.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, ValidationError
from standardwebhooks import Webhook as Signer

from leadcast.core.errors import CredentialsError, RateLimited, RejectedError, TransientError
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.answer import Answer
from leadcast.integrations.base import Account, Call, ConnectionFields, Integration, ModelClass, RequestModel

TIMEOUT_S = 30.0
LONGEST_PAUSE_S = 3600.0
MAX_HEADERS = 20
_SECRET_BYTES = range(24, 65)
_MAX_HEADER_CHARS = 4096
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_URL = re.compile(r"[\x21-\x7e]{1,2048}")
_OURS = frozenset({"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection"}) | {
    "accept-encoding", "expect", "keep-alive", "te", "trailer", "upgrade", "proxy-authorization", "proxy-connection"
}  # fmt: skip
_MAY_PASS = frozenset({408, 425, 429})


def _check_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    try:
        parts = urlsplit(text)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fit = False
    if not is_fit or not _URL.fullmatch(text):
        raise ValueError("must be an http or https URL of at most 2048 printable ASCII characters")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password; use headers")
    return url


def _check_secret(secret: SecretStr) -> SecretStr:
    prefix, _, text = secret.get_secret_value().partition("_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefix != "whsec" or len(key) not in _SECRET_BYTES:
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
    return secret


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


class WebhookCredentials(RequestModel):
    """Where to, signed with what. The URL counts as a secret: for many receivers it is the only one."""

    url: Annotated[SecretStr, AfterValidator(_check_url)]
    secret: Annotated[SecretStr, AfterValidator(_check_secret)] | None = Field(
        default=None, description="whsec_… ; without it messages are not signed."
    )
    headers: Annotated[dict[str, SecretStr], AfterValidator(_check_headers)] = Field(
        default_factory=dict, max_length=MAX_HEADERS, description="Further headers, say Authorization."
    )


class Webhook(Integration[WebhookSettings, WebhookCredentials]):
    """A lead as a Standard Webhooks message."""

    type = "webhook"
    queue = "integration-webhooks"
    repeatable = True
    settings_model: ClassVar[ModelClass] = WebhookSettings
    credentials_model: ClassVar[ModelClass] = WebhookCredentials

    def deliver(
        self, lead: Lead, *, settings: WebhookSettings, account: Account[WebhookCredentials], call: Call
    ) -> Receipt:
        """Sends the message. The receipt: its `webhook-id`, and the status that was answered."""
        credentials = account.credentials
        body = message_body(settings.event, at=call.accepted_at, data=_lead_data(lead, delivery_key=call.key))
        own = {name: value.get_secret_value() for name, value in credentials.headers.items()}
        answer = call.egress.send(
            "POST",
            credentials.url.get_secret_value(),
            headers=own | signed_headers(body, message_id=call.key, secret=credentials.secret, at=call.clock()),
            body=body,
            timeout_s=min(TIMEOUT_S, call.timeout_s),
            max_answer_bytes=1024,
            public_only=True,
        )
        if not 200 <= answer.status < 300:
            _refuse(answer, now=call.clock())
        return Receipt(external_id=call.key, detail={"status": answer.status})

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> Account[WebhookCredentials]:
        """An `http` connection: host (or a whole URL), schema (default https), port; password = secret.

        Of extra, only `headers` is read: {"headers": {"Authorization": "…"}}.
        """
        stored = {
            "url": _connection_url(connection),
            "secret": connection.password.get_secret_value(),
            "headers": connection.extra.get("headers"),
        }
        values = {name: value for name, value in stored.items() if value} | dict(inline)
        if "url" not in values:
            raise CredentialsError(f"Connection {connection.conn_id!r} has no host: the receiver's URL.", code="host")
        try:
            return Account(credentials=WebhookCredentials.model_validate(values))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = {"url": "host", "secret": "password"}.get(str(first["loc"][0]), str(first["loc"][0]))
            raise CredentialsError(f"Connection {connection.conn_id!r}: {field}: {first['msg']}.", code=field) from None


def message_body(event: str, *, at: datetime, data: Mapping[str, Any]) -> bytes:
    """The JSON of a message (vendors.md 4.1). To be signed and sent as these very bytes.

    Args:
        event: the message's type, say `lead.created`.
        at: when it happened, aware.
    """
    when = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    message = {"type": event, "timestamp": when, "data": data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def signed_headers(body: bytes, *, message_id: str, secret: SecretStr | None, at: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks for one attempt; without a secret, the message is not signed.

    Args:
        message_id: the same on every attempt; without dots, which part the signed text.
        at: the time of this attempt, aware.
    """
    now = at.astimezone(UTC)  # the library takes any other zone's clock for UTC (vendors.md 7)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if secret is not None:
        headers["webhook-signature"] = Signer(secret.get_secret_value()).sign(message_id, now, body.decode())
    return headers


def _lead_data(lead: Lead, *, delivery_key: str) -> dict[str, Any]:
    return {
        "id": lead.id,
        "name": lead.name,
        "phone": lead.phone,
        "email": lead.email,
        "company": lead.company,
        "comment": lead.comment,
        "source": lead.source,
        "utm": dict(lead.utm),
        "custom": dict(lead.custom),
        "delivery_key": delivery_key,
    }


def _refuse(answer: Answer, *, now: datetime) -> NoReturn:
    """Raises what the status means.

    The specification has nearly everything sent again (vendors.md 4.2). We do not repeat what a person must mend first.
    """
    status, code = answer.status, str(answer.status)
    if status in _MAY_PASS or status >= 500:
        pause_s = answer.retry_after_s(now=now)
        if pause_s is None:
            raise TransientError(f"The receiver answered {status}.", code=code)
        raise RateLimited(
            f"The receiver answered {status} and asks us to wait.",
            retry_after_s=min(pause_s, LONGEST_PAUSE_S),
            code=code,
        )
    if status in (401, 403):
        raise CredentialsError(f"The receiver refuses us with {status}: check secret and headers.", code=code)
    if status == 410:
        raise RejectedError("The receiver is gone (410) and wants no more messages.", code=code, detail="gone")
    if status < 400:
        raise RejectedError(f"The receiver answered {status}; redirects are not followed.", code=code)
    raise RejectedError(f"The receiver refuses the message with {status}.", code=code)


def _connection_url(connection: ConnectionFields) -> str:
    if not connection.host or "://" in connection.host:
        return connection.host
    host, slash, path = connection.host.partition("/")
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'https'}://{host}{port}{slash}{path}"
