"""A receiver of outgoing webhooks, which checks Standard Webhooks signatures (vendors.md section 4)."""

from __future__ import annotations

import base64
from collections import OrderedDict
from typing import Any, ClassVar

from pydantic import Field, SecretStr, field_validator
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from leadcast.sandbox.faults import Fault, FaultKind
from leadcast.sandbox.http_service import HttpService, ServiceSettings, call_of, reason_phrase
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import Received, fingerprint, is_secret_name

MAX_IDS = 200_000


class WebhookSettings(ServiceSettings):
    """`secrets`: with any of them a signature is good (two while one is being replaced). None set: not checked."""

    secrets: list[SecretStr] = Field(default_factory=list)

    @field_validator("secrets")
    @classmethod
    def _usable(cls, secrets: list[SecretStr]) -> list[SecretStr]:
        for secret in secrets:
            try:
                Webhook(secret.get_secret_value())
            except Exception:  # the library raises several kinds
                raise ValueError("a webhook secret is whsec_ followed by base64") from None
        return secrets


class WebhookReceiver(HttpService):
    """Takes a POST to any path, keeps headers and raw body, answers 200."""

    name: ClassVar[ServiceName] = ServiceName.WEBHOOK
    settings_model = WebhookSettings
    settings: WebhookSettings

    def routes(self) -> list[BaseRoute]:
        return [Route("/{path:path}", self._take, methods=["POST"])]

    def forget(self) -> None:
        self._accepted: OrderedDict[str, int] = OrderedDict()

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        events = [{"webhook_id": webhook_id, "times": times} for webhook_id, times in self._accepted.items()]
        return {"events": events}

    def identify(self, request: Request, call: Received) -> None:
        raw: bytes = request.state.raw_body
        authorization = request.headers.get("authorization")
        call.credential = fingerprint(authorization) if authorization else None
        call.headers = {
            name: fingerprint(value) if is_secret_name(name) else value for name, value in request.headers.items()
        }
        try:
            call.body = raw.decode("utf-8")
        except UnicodeDecodeError:
            call.body = None
            call.details["body_base64"] = base64.b64encode(raw).decode("ascii")
        webhook_id = request.headers.get("webhook-id")
        call.details |= {"webhook_id": webhook_id, "verified": self._is_verified(request), "repeat": False}

    def error(self, status: int) -> Response:
        return PlainTextResponse(reason_phrase(status), status_code=status)

    def rate_limited(self, retry_after_s: int) -> Response:
        return PlainTextResponse("Too Many Requests", status_code=429, headers={"Retry-After": str(retry_after_s)})

    def special(self, fault: Fault, request: Request, call: Received) -> Response | None:
        if fault.kind is FaultKind.GONE:
            return self.error(410)
        if fault.kind is FaultKind.REDIRECT:
            status = fault.status if fault.status in (301, 302, 303, 307, 308) else 302
            return Response(status_code=status, headers={"Location": fault.location or ""})
        return None

    async def _take(self, request: Request) -> Response:
        call = call_of(request)
        webhook_id = call.details["webhook_id"]
        if webhook_id is not None:
            times = self._accepted.get(webhook_id, 0) + 1
            self._accepted[webhook_id] = times
            call.details["repeat"] = times > 1
            if len(self._accepted) > MAX_IDS:
                self._accepted.popitem(last=False)
        call.stored.append({"webhook_id": webhook_id})
        return PlainTextResponse("ok")

    def _is_verified(self, request: Request) -> bool | None:
        """Is the signature good for one of the secrets? None when no secret is set."""
        if not self.settings.secrets:
            return None
        headers = dict(request.headers)
        return any(_verifies(secret, request.state.raw_body, headers) for secret in self.settings.secrets)


def _verifies(secret: SecretStr, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret.get_secret_value()).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: a malformed signature entry (vendors.md 7)
        return False
    return True
