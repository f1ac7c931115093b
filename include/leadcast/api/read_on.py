"""Reads on behind an answer that comes before the request's body has ended, so that who sends it hears the answer.

Most clients send all before they read. A server that closes with bytes unread resets the connection, and the answer on
its way (413, say) is lost with it (RFC 9112 9.6). What is read here is thrown away.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leadcast.core.json_body import MAX_BODY_BYTES

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UNREAD_BYTES = 8 * MAX_BODY_BYTES
MAX_UNREAD_S = 30.0
MAX_OF_A_STRANGER_BYTES = 2 * MAX_BODY_BYTES
MAX_OF_A_STRANGER_S = 5.0


@dataclass(frozen=True)
class Rest:
    """How much is read behind an answer, and for how long."""

    size_bytes: int
    timeout_s: float


_OF_WHO_IS_KNOWN = Rest(MAX_UNREAD_BYTES, MAX_UNREAD_S)
_OF_A_STRANGER = Rest(MAX_OF_A_STRANGER_BYTES, MAX_OF_A_STRANGER_S)
"""Enough for a body that the door would have taken from somebody with a token."""
_RESTS = {401: _OF_A_STRANGER, 403: _OF_A_STRANGER, 408: Rest(0, 0.0)}
"""By the answer's status. Who was too slow has been waited for."""


class ReadOn:
    """Around an application: its answers are heard, whatever it has not read. A body without an end is cut."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes all on; behind an early answer, reads on before it is finished."""
        if scope["type"] != "http" or not _brings_body(scope):
            await self._app(scope, receive, send)
            return
        body, rest = _Body(scope, receive), _OF_WHO_IS_KNOWN

        async def answer(message: Message) -> None:
            nonlocal rest
            if message["type"] == "http.response.start":
                rest = _RESTS.get(message["status"], rest)
            if not body.is_over and message["type"] == "http.response.start":
                # or the server would read an endless body for ever
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            elif not body.is_over and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await body.throw_away(rest)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self._app(scope, body.receive, answer)


class _Body:
    """What comes of a request's body, and whether there is more."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        # who asks first sends nothing after a final answer (RFC 9110 10.1.1)
        self.is_over = any(name == b"expect" for name, _ in scope["headers"])

    async def receive(self) -> Message:
        """The next part."""
        message = await self._receive()
        self.is_over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def throw_away(self, rest: Rest) -> None:
        """Reads to the end of it, or of our patience."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(rest.timeout_s):
                while not self.is_over and size < rest.size_bytes:
                    size += len((await self.receive()).get("body", b""))


def _brings_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
