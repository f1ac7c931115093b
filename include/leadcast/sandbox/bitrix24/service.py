"""Bitrix24's REST API as vendors.md section 2 describes it: addressing, credentials, limits, envelope, errors."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from leadcast.sandbox.bitrix24.batch import run_batch
from leadcast.sandbox.bitrix24.catalogue import COMPANY, ENTITY_NAMES, USER_FIELDS
from leadcast.sandbox.bitrix24.methods import Methods, Outcome
from leadcast.sandbox.bitrix24.oauth import EXPIRED, PortalTokens
from leadcast.sandbox.bitrix24.operating import KEPT_S, OperatingTime
from leadcast.sandbox.bitrix24.php import parse_query
from leadcast.sandbox.bitrix24.store import BitrixError, Portal
from leadcast.sandbox.faults import Fault, FaultKind
from leadcast.sandbox.http_service import HttpService, ServiceSettings, call_of, gateway_page
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import Received, fingerprint

_ERRORS = {
    400: ("CRM_FIELD_ERROR_VALUE_NOT_VALID", "Недопустимое значение поля"),
    401: ("NO_AUTH_FOUND", "Wrong authorization data"),
    403: ("ACCESS_DENIED", "REST API is available only on commercial plans"),
    404: ("ERROR_METHOD_NOT_FOUND", "Method not found!"),
    405: ("ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage"),
    429: ("OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit"),
    500: ("INTERNAL_SERVER_ERROR", "Internal server error"),
    503: ("QUERY_LIMIT_EXCEEDED", "Too many requests"),
}


class CrmMode(StrEnum):
    """Does the portal have leads? A simple one turns them into deals (vendors.md 2.5)."""

    CLASSIC = "classic"
    SIMPLE = "simple"


class BitrixSettings(ServiceSettings):
    """What can be set about the portal."""

    leaky_bucket: bool = False
    drain_per_s: float = Field(default=2, gt=0)
    burst: int = Field(default=50, ge=1)
    crm_mode: CrmMode = CrmMode.CLASSIC
    user_id: int = 1
    access_token_lifetime_s: int = Field(default=3_600, ge=1)
    user_fields: dict[str, str] = Field(default=USER_FIELDS, description="UF_CRM_… → its type; [] at the end: a list")
    operating_limit_s: float | None = Field(default=None, gt=0, description="a method that has taken more is blocked")
    operating_cost_s: float = Field(default=0, ge=0, description="what each call of a method counts for")


class Bitrix24(HttpService):
    """The Bitrix24 portal of the sandbox, and its OAuth server at /oauth/token/."""

    name: ClassVar[ServiceName] = ServiceName.BITRIX24
    settings_model = BitrixSettings
    settings: BitrixSettings

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/rest/{address:path}", self._call, methods=["GET", "POST"]),
            Route("/oauth/token/", self._oauth_token, methods=["GET", "POST"]),
        ]

    def forget(self) -> None:
        self.portal = Portal(self.settings.user_fields)
        self._operating = OperatingTime()
        self._level = 0.0
        self._drained_at = time.monotonic()
        self._tokens = PortalTokens()

    def configure(self, changes: Mapping[str, Any]) -> None:
        super().configure(changes)
        self.portal.user_fields = self.settings.user_fields

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        items = {f"{name}s": self.portal.items(kind) for kind, name in ENTITY_NAMES.items() if kind != COMPANY}
        return {**items, "companies": self.portal.items(COMPANY), "comments": self.portal.comments}

    def exception_handlers(self) -> Mapping[Any, Any]:
        return {HTTPException: _http_error, BitrixError: _bitrix_error}

    def identify(self, request: Request, call: Received) -> None:
        parts = request.url.path.strip("/").split("/")
        secret = _token(request)
        if parts[0] == "rest" and len(parts) >= 3:
            secret = parts[2]
            call.path = "/" + "/".join([*parts[:2], fingerprint(secret), *parts[3:]])
        elif parts[0] not in ("rest", "oauth"):
            call.path = fingerprint(request.url.path)  # an address that was put together wrongly holds the code too
        call.credential = fingerprint(secret) if secret else None

    def error(self, status: int) -> Response:
        if status in (502, 504):
            return gateway_page(status, "Bad Gateway" if status == 502 else "Gateway Time-out")
        code, text = _ERRORS.get(status, ("ERROR_UNEXPECTED_ANSWER", "Server returned an unexpected response"))
        return _error(BitrixError(code, text, status=status))

    def rate_limited(self, retry_after_s: int) -> Response:
        # No Retry-After: Bitrix24 documents none (vendors.md 2.3).
        return self.error(503)

    def special(self, fault: Fault, request: Request, call: Received) -> Response | None:
        match fault.kind:
            case FaultKind.EXPIRED_TOKEN if request.url.path.startswith("/rest/"):
                return None if self._tokens.is_newer(_token(request), fault.set_at) else _error(EXPIRED)
            case FaultKind.RENAME:
                return Response(status_code=302, headers={"Location": _renamed(request, fault.location)})
            case FaultKind.ERROR:
                code = "ERROR_CORE" if fault.code is None else str(fault.code)
                return _error(BitrixError(code, fault.text or "", status=fault.status or 400))
            case _:
                return None

    def refuse(self, request: Request, call: Received) -> Response | None:
        if not request.url.path.startswith("/rest/"):
            return None
        if self.settings.leaky_bucket and self._is_bucket_full():
            return self.error(503)
        parts = request.url.path.strip("/").split("/")
        if len(parts) == 4:
            return self.error(401) if parts[2].startswith("revoked") else None
        token = _token(request)
        if not token or token.startswith("revoked"):
            return self.error(401)
        if token.startswith("expired") or self._tokens.has_expired(token):
            return _error(EXPIRED)
        return None

    def _is_bucket_full(self) -> bool:
        """vendors.md 2.4: level = max(0, level - elapsed * drain) + 1, refused above the burst."""
        now = time.monotonic()
        level = max(0.0, self._level - (now - self._drained_at) * self.settings.drain_per_s) + 1
        self._drained_at = now
        if level > self.settings.burst:
            self._level = level - 1
            return True
        self._level = level
        return False

    async def _call(self, request: Request) -> Response:
        parts = request.path_params["address"].strip("/").split("/")
        if len(parts) not in (1, 3):
            raise BitrixError("ERROR_METHOD_NOT_FOUND", "Method not found!", status=404)
        started = time.time()
        method = parts[-1].lower().removesuffix(".json")
        call_of(request).details["rest_method"] = method
        is_webhook = len(parts) == 3
        user_id = int(parts[0]) if is_webhook and parts[0].isdigit() else self.settings.user_id
        methods = Methods(self.portal, is_simple_crm=self.settings.crm_mode is CrmMode.SIMPLE, user_id=user_id)
        params = _params(request)
        who = parts[1] if is_webhook else "application"

        def counted(name: str, given: Mapping[str, Any]) -> Outcome:
            limit_s = self.settings.operating_limit_s
            if limit_s is not None and self._operating.spent_s(who, name) > limit_s:
                raise BitrixError(*_ERRORS[429], status=429)
            result = methods.run(name, given)
            result.operating = self._operating.add(who, name, self.settings.operating_cost_s)
            return result

        if method == "batch":  # not counted itself, but each command is
            outcome = run_batch(params, counted, lambda done: _times(started, done))
        else:
            outcome = counted(method, params)
        call_of(request).stored.extend(outcome.stored)
        return JSONResponse(_envelope(outcome, started))

    async def _oauth_token(self, request: Request) -> Response:
        tokens = self._tokens.grant(
            _params(request),
            lifetime_s=self.settings.access_token_lifetime_s,
            user_id=self.settings.user_id,
            base_url=str(request.base_url),
        )
        return JSONResponse(tokens)


def _params(request: Request) -> dict[str, Any]:
    """Query and body together, the body wins; form or JSON."""
    try:
        params = parse_query(request.url.query)
        body: bytes = request.state.raw_body
        if not body.strip():
            return params
        if "json" in request.headers.get("content-type", ""):
            given = json.loads(body)
            return {**params, **given} if isinstance(given, dict) else params
        return {**params, **parse_query(body.decode("utf-8", "replace"))}
    except (ValueError, RecursionError):
        raise BitrixError("INVALID_REQUEST", "The request cannot be read") from None


def _token(request: Request) -> str:
    try:
        return str(_params(request).get("auth") or "")
    except BitrixError:
        return ""


def _times(started: float, outcome: Outcome) -> dict[str, Any]:
    now = time.time()
    spent_s, reset_at = outcome.operating or (0, int(now) + KEPT_S)
    return {
        "start": started,
        "finish": now,
        "duration": now - started,
        "processing": now - started,
        "date_start": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "date_finish": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "operating_reset_at": reset_at,
        "operating": spent_s,
    }


def _envelope(outcome: Outcome, started: float) -> dict[str, Any]:
    body: dict[str, Any] = {"result": outcome.result}
    if outcome.next is not None:
        body["next"] = outcome.next
    if outcome.total is not None:
        body["total"] = outcome.total
    return {**body, "time": _times(started, outcome)}


def _renamed(request: Request, location: str | None) -> str:
    """Where the portal moved to: `location` with this request's path if it has none of its own."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    base = location or str(request.base_url).rstrip("/")
    return base if urlsplit(base).path.strip("/") else base.rstrip("/") + here


def _error(error: BitrixError) -> JSONResponse:
    return JSONResponse(error.as_json(), status_code=error.status)


async def _bitrix_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, BitrixError)
    return _error(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(BitrixError("ERROR_METHOD_NOT_FOUND", "Method not found!", status=error.status_code))
