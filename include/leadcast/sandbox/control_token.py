"""The token of the control service: who shows it may see what came in, and make the services fail."""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

VARIABLE = "LEADCAST_SANDBOX_TOKEN"
OPEN_PATHS = frozenset({"/", "/page.css", "/page.js", "/health"})
"""Readable by all: an empty page, which fetches the rest with the token, and whether it lives."""
SHORTEST_CHARS = 16
_HINT = (
    "Authorization: Bearer <token>. `make up` keeps the token in .leadcast/sandbox-token (or sandbox-token in "
    f"LEADCAST_HOME); else it is what the sandbox was started with, by {VARIABLE} or --token-file. See docs/sandbox.md."
)


class TokenError(ValueError):
    """A token that was given is of no use. The message says what to do."""


def new_token() -> str:
    """One that nobody can guess."""
    return secrets.token_urlsafe(24)


def checked(token: str, *, source: str) -> str:
    """The token without the blanks around it.

    Args:
        source: where it is from, for the message.

    Raises:
        TokenError: it is too short, or cannot stand in a header or a link.
    """
    token = token.strip()
    if len(token) < SHORTEST_CHARS or not token.isascii() or not token.replace("-", "").replace("_", "").isalnum():
        raise TokenError(
            f"sandbox: the token in {source} must be at least {SHORTEST_CHARS} letters, digits, - and _. "
            "Make one: openssl rand -hex 24"
        )
    return token


def read(file: Path) -> str:
    """The token in a file.

    Raises:
        TokenError: it cannot be read, or is of no use.
    """
    try:
        return checked(file.read_text(encoding="utf-8"), source=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"sandbox: the token file {file} cannot be read ({type(error).__name__}).") from None


class TokenCheck:
    """ASGI application around the control service: 401 for whoever does not show the token.

    token: None: nobody is let in.
    """

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._wanted = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        app: ASGIApp = self._app
        shown = Headers(scope=scope).get("authorization", "").encode("latin-1")
        if scope["path"] not in OPEN_PATHS and (self._wanted is None or not hmac.compare_digest(shown, self._wanted)):
            told = _HINT if self._wanted else f"The sandbox has no token: start it with {VARIABLE} or --token-file."
            app = JSONResponse({"detail": told}, status_code=401, headers={"WWW-Authenticate": "Bearer"})
        await app(scope, receive, send)
