"""A webhook's message as Standard Webhooks have it (vendors.md 4.1): its body, JSON or a form, and its signature."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr
from standardwebhooks import Webhook as Signer

from leadcast.core.model import Lead
from leadcast.integrations.text.template_values import text_of

DELIVERY_KEY = "delivery_key"
_MAX_LEVELS = 10


class BodyKind(StrEnum):
    """In which form a lead goes into the body."""

    JSON = "json"
    FORM = "form"

    @property
    def content_type(self) -> str:
        """What the header of this name says."""
        return "application/json" if self is BodyKind.JSON else "application/x-www-form-urlencoded"


def message_body(event: str, *, at: datetime, data: Mapping[str, Any], kind: BodyKind = BodyKind.JSON) -> bytes:
    """The message, to be signed and sent as these very bytes.

    A form has no `data`: what is in it stands beside `type` and `timestamp`, and wins over them.

    Args:
        event: the message's type, say `lead.created`.
        at: when it happened, aware.
    """
    when = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    envelope = {"type": event, "timestamp": when}
    if kind is BodyKind.FORM:
        return urlencode(list(_pairs({**envelope, **data}))).encode()
    return json.dumps({**envelope, "data": data}, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def signed_headers(
    body: bytes,
    *,
    message_id: str,
    secret: SecretStr | None,
    previous_secret: SecretStr | None = None,
    at: datetime,
    kind: BodyKind = BodyKind.JSON,
) -> dict[str, str]:
    """The headers of Standard Webhooks for one attempt; without a secret, the message is not signed.

    Args:
        message_id: the same on every attempt; without dots, which part the signed text.
        previous_secret: signs as well, so that a receiver may change from one to the other when it likes.
        at: the time of this attempt, aware.
    """
    now = at.astimezone(UTC)  # the library takes any other zone's clock for UTC (vendors.md 7)
    headers = {
        "Content-Type": kind.content_type,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    secrets = [each.get_secret_value() for each in (secret, previous_secret) if each is not None]
    if secrets:
        signatures = [Signer(each).sign(message_id, now, body.decode()) for each in secrets]
        headers["webhook-signature"] = " ".join(signatures)
    return headers


def lead_data(lead: Lead) -> dict[str, Any]:
    """All that is known of a lead, for a receiver that has no mapping."""
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
    }


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under dotted names as objects: `{"contact.phone": 1}` is `{"contact": {"phone": 1}}`."""
    tree: dict[str, Any] = {}
    for target, value in values.items():
        *way, last = target.split(".")
        place = tree
        for name in way:
            place = place.setdefault(name, {})
        place[last] = value
    return tree


def check_targets(targets: Iterable[str]) -> None:
    """Whether `nested` has a place for each.

    Raises:
        ValueError: names one that it has none for.
    """
    ways = {tuple(target.split(".")) for target in targets}
    for way in ways:
        target = ".".join(way)
        if not all(way) or len(way) > _MAX_LEVELS:
            raise ValueError(f"{target[:64]!r}: words with dots between them, at most {_MAX_LEVELS}")
        if way[0] == DELIVERY_KEY:
            raise ValueError(f"{target[:64]!r}: is set by Leadcast")
        above = next((".".join(way[:size]) for size in range(1, len(way)) if way[:size] in ways), None)
        if above is not None:
            raise ValueError(f"{target[:64]!r}: {above[:64]!r} stands there as well, and cannot be both")


def _pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A form's fields, nested ones as PHP's `http_build_query` names them: `utm[source]`, `phones[0]`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _pairs(item, f"{name}[{key}]" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _pairs(item, f"{name}[{index}]")
    elif isinstance(value, bool):
        yield name, str(int(value))
    else:
        yield name, text_of(value)
