"""Errors as `application/problem+json` (RFC 9457). No answer repeats what was sent, and none shows a stack trace."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException as StarletteHTTPException

from leadcast.core.errors import LeadcastError, LeadTableError, NoAnswerYet, SettingsError, StoreError
from leadcast.core.field_words import words_of
from leadcast.core.redact import one_line
from leadcast.core.refusals import in_short
from leadcast.core.request_errors import FieldError, RequestRejected

log = structlog.get_logger("leadcast.api")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
MAX_ERRORS = 50
"""In one answer; `detail` says how many more there are."""
MAX_NAME_CHARS = 64
"""Of each step of the way to a field: it may be the caller's own."""
_MAX_DETAIL_CHARS = 2000
_SIGN_IN = (
    "Send an Airflow token, as in Authorization: Bearer …; "
    "POST /auth/token gives one for a user name and a password, `leadcast token` one of the local stack."
)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One error, as it is told."""

    status: int
    title: str
    detail: str
    errors: Sequence[FieldError] = ()

    def as_json(self) -> dict[str, Any]:
        """The members of RFC 9457, and `errors` with the way to each field at fault."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return {
            "type": f"urn:leadcast:problem:{slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail[:_MAX_DETAIL_CHARS],
            "errors": [
                {"loc": list(map(_shown, error.loc)), "msg": one_line(error.msg)} for error in self.errors[:MAX_ERRORS]
            ],
        }

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The HTTP answer."""
        return JSONResponse(self.as_json(), status_code=self.status, media_type=MEDIA_TYPE, headers=headers)


def _shown(step: str | int) -> str | int:
    return one_line(step, limit=MAX_NAME_CHARS) if isinstance(step, str) else step


def of_error(error: LeadcastError) -> Problem:
    """Our own errors: their text is fit to be shown."""
    if isinstance(error, RequestRejected):
        return Problem(status=error.status, title=error.title, detail=error.detail, errors=error.errors)
    if isinstance(error, NoAnswerYet):
        return Problem(
            status=503,
            title="Store not answering",
            detail="The store has not answered in time. What you asked for may still be done: look for it, or ask "
            "again in a few seconds; send-batch is safe to repeat under the same Idempotency-Key.",
        )
    if isinstance(error, StoreError):
        return Problem(
            status=503,
            title="Store not available",
            detail="The store cannot be used just now. Nothing was changed; try again in a few seconds.",
        )
    if isinstance(error, LeadTableError):
        return Problem(
            status=503,
            title="Lead table not available",
            detail="The lead table cannot be read just now. Nothing was accepted; try again in a few seconds, or send "
            "the lead's data with the request. `leadcast doctor` says what is wrong.",
        )
    if isinstance(error, SettingsError):
        return Problem(status=503, title="Not set up", detail=str(error))
    return _unexpected()


def of_validation(error: RequestValidationError) -> Problem:
    """FastAPI's findings in path, query and headers, without the values."""
    errors = [FieldError(tuple(map(_shown, item["loc"])), words_of(item)) for item in error.errors()]
    return Problem(status=422, title="Invalid request", detail=in_short(errors), errors=errors)


def of_http(error: StarletteHTTPException) -> Problem:
    """What Starlette, FastAPI and Airflow's access checks raise."""
    title = HTTPStatus(error.status_code).phrase
    detail = error.detail if isinstance(error.detail, str) and error.detail != title else ""
    if error.status_code == HTTPStatus.UNAUTHORIZED:
        detail = f"{detail or 'Not authenticated'}. {_SIGN_IN}"
    elif error.status_code == HTTPStatus.FORBIDDEN and not detail:
        detail = "Your user lacks the right: reading needs to see, writing to trigger runs of the DAG send_lead."
    return Problem(status=error.status_code, title=title, detail=detail or f"{title}.")


def told(error: Exception) -> tuple[Problem, dict[str, str]]:
    """What is answered to an error, whatever raised it, and with which headers."""
    if isinstance(error, StarletteHTTPException):
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return of_http(error), headers
    if isinstance(error, SQLAlchemyError):
        # ours says StoreError: this is Airflow's, which knows who may do what
        return _AIRFLOW_AWAY, _AGAIN
    if isinstance(error, LeadcastError):
        return of_error(error), _AGAIN if isinstance(error, (StoreError, LeadTableError)) else {}
    if isinstance(error, RequestValidationError):
        return of_validation(error), {}
    return _unexpected(), {}


def handle_with(app: FastAPI, page: Any = None) -> None:
    """Puts every error of the app into this form. `page(request, problem)`: for people, who get HTML instead."""

    def answer(request: Request, error: Exception) -> Response:
        problem, headers = told(error)
        html = page(request, problem, headers) if page else None
        return html or problem.response(headers)

    def on_ours(request: Request, error: Exception) -> Response:
        if of_error(cast(LeadcastError, error)).status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            with suppress(Exception):  # a log that cannot be written changes no answer
                log.error("request failed", path=request.url.path, error=type(error).__name__, reason=str(error))
        return answer(request, error)

    def on_database(request: Request, error: Exception) -> Response:
        with suppress(Exception):
            log.error("request failed", path=request.url.path, error=type(error).__name__, reason="Airflow's database")
        return answer(request, error)

    # what else is raised, Starlette raises on after its answer, so the server's log has the trace
    app.add_exception_handler(LeadcastError, on_ours)
    app.add_exception_handler(StarletteHTTPException, answer)
    app.add_exception_handler(RequestValidationError, answer)
    app.add_exception_handler(SQLAlchemyError, on_database)
    app.add_exception_handler(Exception, answer)


_AGAIN = {"Retry-After": str(RETRY_AFTER_S)}
_AIRFLOW_AWAY = Problem(
    status=503,
    title="Airflow's database not available",
    detail="Airflow cannot look up just now who you are and what you may do. Nothing was changed; try again in a few "
    "seconds.",
)


def _unexpected() -> Problem:
    return Problem(
        status=500,
        title="Internal error",
        detail="An error of ours, not of your request. The api-server's log says more.",
    )
