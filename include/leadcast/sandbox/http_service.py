"""What every HTTP service of the sandbox has in common: settings, routes, the form of its errors, what it stored."""

from __future__ import annotations

import http.client
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from leadcast.sandbox.faults import Fault, FaultBoard
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import Received


class ServiceSettings(BaseModel):
    """Base of the settings that `PATCH /settings/{service}` changes."""

    model_config = ConfigDict(extra="forbid")


class NotJsonError(ValueError):
    """The body is not JSON."""


def call_of(request: Request) -> Received:
    """The journal entry of the call that is being answered."""
    call = request.state.call
    assert isinstance(call, Received)
    return call


async def json_body(request: Request) -> Any:
    """The body as JSON; raises `NotJsonError`."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise NotJsonError from None


def reason_phrase(status: int) -> str:
    """`Not Found` for 404."""
    return http.client.responses.get(status, "Error")


def gateway_page(status: int, title: str) -> HTMLResponse:
    """What a web server in front of the service answers: HTML, not JSON."""
    page = f"<html><head><title>{status} {title}</title></head><body><h1>{status} {title}</h1><hr>nginx</body></html>"
    return HTMLResponse(page, status_code=status)


class HttpService(ABC):
    """One outside service. Everything runs on one event loop, so no locks are needed."""

    name: ClassVar[ServiceName]
    settings_model: ClassVar[type[ServiceSettings]]

    def __init__(self, board: FaultBoard) -> None:
        self.board = board
        self.settings = self.settings_model()
        self.forget()
        self.app = Starlette(routes=self.routes(), exception_handlers=self.exception_handlers())

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change some settings; raises pydantic's ValidationError and then changes none."""
        self.settings = self.settings_model.model_validate({**self.settings.model_dump(), **changes})

    def reset(self) -> None:
        """As just started."""
        self.settings = self.settings_model()
        self.forget()

    @abstractmethod
    def routes(self) -> list[BaseRoute]:
        """The paths that the service knows."""

    def exception_handlers(self) -> Mapping[Any, Any]:
        """How HTTP errors and bad JSON are answered."""
        return {}

    @abstractmethod
    def forget(self) -> None:
        """Drop everything stored."""

    @abstractmethod
    def stored(self) -> dict[str, list[dict[str, Any]]]:
        """What the service holds now, by kind."""

    @abstractmethod
    def identify(self, request: Request, call: Received) -> None:
        """Take the secrets out of `call.path`, and note whose they are in `call.credential`."""

    @abstractmethod
    def error(self, status: int) -> Response:
        """The service's own body for that HTTP status."""

    @abstractmethod
    def rate_limited(self, retry_after_s: int) -> Response:
        """The service's own way to say: too many requests."""

    def special(self, fault: Fault, request: Request, call: Received) -> Response | None:
        """The answer of a fault that only this service has; None when it does not concern this call."""
        return None

    def refuse(self, request: Request, call: Received) -> Response | None:
        """What is checked before a call is executed: rate, credentials. None lets it pass."""
        return None
