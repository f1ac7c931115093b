"""Reads a request's body: JSON, and never more of it than the door takes."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from leadcast.core.errors import BodyTooLarge, InvalidRequest
from leadcast.core.json_body import MAX_BODY_BYTES, parse_body


async def read_json(request: Request) -> Any:
    """The body's JSON.

    Raises:
        HTTPException: 415, it is not said to be JSON.
        BodyTooLarge: over 1 MiB, whatever Content-Length says.
        InvalidRequest: it is not JSON.
    """
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or request.headers.get("Content-Encoding", "identity") != "identity":
        raise HTTPException(415, "Send JSON, uncompressed: Content-Type: application/json.")
    return parse_body(await _read(request))


async def read_nothing(request: Request) -> None:
    """Refuses what a call that takes no body is given all the same: it would not do what is asked of it there.

    Raises:
        InvalidRequest: there is more than `{}`.
        BodyTooLarge: over 1 MiB, whatever Content-Length says.
    """
    if (await _read(request)).strip() not in (b"", b"{}"):
        raise InvalidRequest("This call takes no body: it is about the whole batch.")


async def _read(request: Request) -> bytes:
    announced = request.headers.get("Content-Length", "0")
    if announced.isdecimal() and int(announced[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body has {announced[:20]} bytes; at most {MAX_BODY_BYTES} are taken.")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLarge(f"The body has more than {MAX_BODY_BYTES} bytes.")
    except ClientDisconnect:
        raise HTTPException(400, "The body ended early.") from None
    return bytes(body)
