"""Reads a request's body: JSON, never more of it than the door takes, and never for longer than it waits. What has been
read is given on to who reads it again."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from leadcast.core.json_body import MAX_BODY_BYTES, parse_body
from leadcast.core.notes import Way
from leadcast.core.request_errors import BodyTooLarge, BodyTooSlow, InvalidRequest

if TYPE_CHECKING:
    from starlette.types import Message, Receive

_JSON = re.compile(r"(?:application|text)/(?:x-)?json|application/[\w.-]+\+json")
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([\w.:+-]{1,40})", re.IGNORECASE)
_UNPACKED = frozenset({"", "identity", "none", "utf-8", "utf8"})
"""What Content-Encoding says of a body that is not compressed; a charset in it is a mistake that many make."""


@dataclass(frozen=True)
class Patience:
    """How long a door waits for a body.

    Args:
        whole_s: for all of it.
        part_s: for the next part of it.
    """

    whole_s: float = 30.0
    part_s: float = 10.0


PATIENCE = Patience()


async def read_json(request: Request, *, lead_at: Way = ("lead",)) -> Any:
    """Reads a request's body as JSON, within its size and time.

    Args:
        lead_at: the way to the lead's data in it.

    Raises:
        HTTPException: 415, it is not said to be JSON.
        BodyTooLarge: over 1 MiB, whatever Content-Length says.
        BodyTooSlow: it did not come in time.
        InvalidRequest: it is not JSON.
        StoreError: all threads are in use.
    """
    said = request.headers.get("Content-Type", "")
    media_type = said.partition(";")[0].partition(",")[0].strip().lower()
    if not _JSON.fullmatch(media_type) or _is_packed(request.headers.get("Content-Encoding", "")):
        raise HTTPException(415, "Send JSON, uncompressed: Content-Type: application/json.")
    body, threads = await read(request), request.app.state.threads
    return await threads.run(lambda: parse_body(body, charset=charset_of(said), lead_at=lead_at))


def charset_of(content_type: str) -> str:
    """The charset that a Content-Type names; empty: none."""
    found = _CHARSET.search(content_type)
    return found[1] if found else ""


def _is_packed(content_encoding: str) -> bool:
    return not {coding.strip().lower() for coding in content_encoding.split(",")} <= _UNPACKED


async def read_nothing(request: Request) -> None:
    """Refuses what a call that takes no body is given all the same: it would not do what is asked of it there.

    Raises:
        InvalidRequest: there is more than `{}`.
        BodyTooLarge: over 1 MiB, whatever Content-Length says.
        BodyTooSlow: it did not come in time.
    """
    if (await read(request)).strip() not in (b"", b"{}"):
        raise InvalidRequest("This call takes no body: it is about the whole batch.")


async def read(request: Request) -> bytes:
    """Reads a request's body, within its size and time.

    Raises:
        HTTPException: 400, the caller left before its end.
        BodyTooLarge: over 1 MiB, whatever Content-Length says.
        BodyTooSlow: it did not come in time.
    """
    announced = request.headers.get("Content-Length", "0")
    if announced.isdecimal() and int(announced[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body has {announced[:20]} bytes; at most {MAX_BODY_BYTES} are taken.")
    body, patience = bytearray(), PATIENCE
    now = asyncio.get_running_loop().time
    ends_at = now() + patience.whole_s
    try:
        async with asyncio.timeout(patience.part_s) as left:
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise BodyTooLarge(f"The body has more than {MAX_BODY_BYTES} bytes.")
                left.reschedule(min(ends_at, now() + patience.part_s))
    except ClientDisconnect:
        raise HTTPException(400, "The body ended early.") from None
    except TimeoutError:
        slow = f"The body did not come in time: all of it within {patience.whole_s:g} s, the next part of it within"
        raise BodyTooSlow(f"{slow} {patience.part_s:g} s.") from None
    return bytes(body)


def replay(body: bytes, receive: Receive, *, more: bool = False) -> Receive:
    """A `receive` that gives this body first, and then what the real one gives.

    Args:
        more: whether the body goes on there.
    """
    return first({"type": "http.request", "body": body, "more_body": more}, receive)


def first(message: Message, receive: Receive) -> Receive:
    """A `receive` that gives this message first, and then what the real one gives."""
    messages = [message]

    async def received() -> Message:
        return messages.pop() if messages else await receive()

    return received
