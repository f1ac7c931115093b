"""amoCRM API v4 as vendors.md section 1 describes it: routes, credentials, limits, error bodies."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from leadcast.sandbox.amocrm.account import AmoSettings
from leadcast.sandbox.amocrm.incoming import AmoIncoming
from leadcast.sandbox.amocrm.links import AmoLinks
from leadcast.sandbox.amocrm.oauth import OAuthError, TokenBook
from leadcast.sandbox.amocrm.reads import AmoReads
from leadcast.sandbox.amocrm.store import AmoStore
from leadcast.sandbox.amocrm.validation import Problem, not_a_choice
from leadcast.sandbox.amocrm.writes import AmoWrites, InvalidItemsError, TooManyItemsError
from leadcast.sandbox.faults import Fault, FaultKind
from leadcast.sandbox.http_service import (
    HttpService,
    NotJsonError,
    gateway_page,
    json_body,
    reason_phrase,
)
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import Received, fingerprint, without_secrets

_DETAILS = {
    400: "Request data can not be empty",
    401: "Invalid user name or password",
    402: "Payment required",
    403: "Forbidden",
    405: "Method Not Allowed",
    422: "Limit 250 per page",
    429: "You have sent too many requests in a given amount of time. Please try again later.",
}


def problem(status: int, detail: str | None = None, **more: Any) -> JSONResponse:
    """An error body (vendors.md 1.4)."""
    title = reason_phrase(status)
    body = {
        "title": title,
        "type": f"https://httpstatus.es/{status}",
        "status": status,
        "detail": detail or _DETAILS.get(status, title),
        **more,
    }
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


class AmoCrm(HttpService):
    """The amoCRM account of the sandbox."""

    name: ClassVar[ServiceName] = ServiceName.AMOCRM
    settings_model = AmoSettings
    settings: AmoSettings

    def routes(self) -> list[BaseRoute]:
        token = Route("/oauth2/access_token", self._access_token, methods=["POST"])
        return [
            token,
            *AmoIncoming(self).routes(),
            *AmoWrites(self).routes(),
            *AmoLinks(self).routes(),
            *AmoReads(self).routes(),
        ]

    def forget(self) -> None:
        self.store = AmoStore()
        self._tokens = TokenBook()
        self._calls_at: deque[float] = deque()
        self._refused_in_a_row = 0
        self._is_blocked = False

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        leads = [self.store.with_contacts(lead) for lead in self.store.all("leads")]
        others = {
            entity: [{k: v for k, v in item.items() if not k.startswith("_")} for item in self.store.all(entity)]
            for entity in ("contacts", "companies", "notes")
        }
        return {"leads": leads, **others, "unsorted": self.store.incoming()}

    def exception_handlers(self) -> Mapping[Any, Any]:
        return {
            HTTPException: _http_error,
            NotJsonError: _bad_json,
            InvalidItemsError: _invalid,
            TooManyItemsError: _too_many,
        }

    def identify(self, request: Request, call: Received) -> None:
        token = _bearer(request)
        call.credential = fingerprint(token) if token else None
        if request.url.path.startswith("/oauth2/"):
            call.body = without_secrets(call.body if isinstance(call.body, dict) else None)

    def error(self, status: int) -> Response:
        if status in (502, 503, 504):
            return gateway_page(status, reason_phrase(status))
        if status == 429:
            return self.rate_limited(self.settings.retry_after_s)
        if status == 500:
            more = {"trace_id": uuid.uuid4().hex}
            text = "Our team are probably already working on the elimination of the problem"
            body = {"title": "ErrInternalServer", "status": 500, "detail": text, **more}
            return JSONResponse(body, status_code=500, media_type="application/problem+json")
        return problem(status)

    def rate_limited(self, retry_after_s: int) -> Response:
        return problem(429, retry_after=retry_after_s)

    def special(self, fault: Fault, request: Request, call: Received) -> Response | None:
        is_api = request.url.path.startswith("/api/")
        if fault.kind is FaultKind.VALIDATION and is_api:
            return validation_errors({"0": [not_a_choice("custom_fields_values.0.field_id")]})
        if fault.kind is FaultKind.TOKEN_EXPIRED and is_api and not self._is_token_good(request):
            return problem(401)
        return None

    def refuse(self, request: Request, call: Received) -> Response | None:
        if self._is_blocked:
            return PlainTextResponse("403 Forbidden", status_code=403)
        if self._is_over_the_limit():
            self._refused_in_a_row += 1
            limit = self.settings.block_after_429
            self._is_blocked = limit is not None and self._refused_in_a_row >= limit
            return self.rate_limited(self.settings.retry_after_s)
        self._refused_in_a_row = 0
        if request.url.path.startswith("/api/") and not self._is_token_good(request):
            return problem(401)
        return None

    def _is_over_the_limit(self) -> bool:
        if self.settings.requests_per_second is None:
            return False
        now = time.monotonic()
        while self._calls_at and self._calls_at[0] <= now - 1:
            self._calls_at.popleft()
        if len(self._calls_at) >= self.settings.requests_per_second:
            return True
        self._calls_at.append(now)
        return False

    def _is_token_good(self, request: Request) -> bool:
        token = _bearer(request)
        expiries = self.board.matching(self.name, request.url.path, FaultKind.TOKEN_EXPIRED)
        not_before = max((fault.set_at for fault in expiries), default=None)
        accept_unknown = self.settings.accept_unknown_tokens
        return bool(token) and self._tokens.accepts(token, not_before=not_before, unknown=accept_unknown)

    async def _access_token(self, request: Request) -> Response:
        try:
            given = await json_body(request)
            if not isinstance(given, dict):
                raise OAuthError.because("Check the `grant_type` parameter")
            answer = self._tokens.grant(
                given,
                mode=self.settings.refresh_mode,
                lifetime_s=self.settings.access_token_lifetime_s,
                clients=self.settings.clients,
                api_domain=request.url.netloc,
            )
        except NotJsonError:
            # Stricter than amoCRM, which takes a form, too (vendors.md 1.2): an unknown client.
            return JSONResponse({"title": "Некорректный клиент", "status": 401}, status_code=401)
        except OAuthError as refused:
            return JSONResponse(refused.body, status_code=refused.status, media_type="application/problem+json")
        return JSONResponse(answer)


def validation_errors(problems: Mapping[str, list[Problem]]) -> JSONResponse:
    """400 with what is wrong with which item."""
    errors = [{"request_id": key, "errors": [item.as_json() for item in items]} for key, items in problems.items()]
    body = {"validation-errors": errors}
    text = {"title": "Bad Request", "type": "https://httpstatus.es/400", "status": 400}
    answer = {**body, **text, "detail": "Request validation failed"}
    return JSONResponse(answer, status_code=400, media_type="application/problem+json")


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"Cannot {request.method} {request.url.replace(query='')}" if error.status_code == 404 else None
    return problem(error.status_code, detail)


async def _bad_json(request: Request, error: Exception) -> Response:
    return problem(400, "Request body is not valid JSON")


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidItemsError)
    return validation_errors(error.problems)


async def _too_many(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooManyItemsError)
    return problem(422, f"Limit {error.limit} per page")
