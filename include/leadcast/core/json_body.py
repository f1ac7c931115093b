"""How a body of bytes becomes JSON."""

from __future__ import annotations

import json
from typing import Any

from leadcast.core.errors import BodyTooLarge, FieldError, InvalidRequest

MAX_BODY_BYTES = 1024 * 1024
_MOST_DIGITS = 1000


def parse_body(body: bytes) -> Any:
    """JSON of a request's body: UTF-8, or UTF-16 and UTF-32, which JSON knows by its first bytes; a byte order mark
    before it is skipped (1C and PowerShell write one). A number beyond all bounds is infinite, and half a character
    stays one: whether that is in the way is known only where the field is.

    Raises:
        BodyTooLarge: over 1 MiB.
        InvalidRequest: not JSON, in no such encoding, or a key twice in one object.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body has {len(body)} bytes; at most {MAX_BODY_BYTES} are taken.")
    try:
        return json.loads(body, object_pairs_hook=_each_key_once, parse_int=whole_number)
    except json.JSONDecodeError as error:
        raise _not_json(error.msg, f" at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise _not_json(f"not {error.encoding.upper()}") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def _not_json(what: str, where: str = "") -> InvalidRequest:
    return InvalidRequest(f"The body is not JSON{where}: {what}.", errors=[FieldError(("body",), what)])


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            msg = "stands twice in one object"
            raise InvalidRequest(
                f"The key {key[:64]!r} {msg}; which one is meant?", errors=[FieldError((key[:64],), msg)]
            )
        result[key] = value
    return result


def whole_number(text: str) -> int | float:
    """A number without a point, as JSON's `parse_int`: one with more digits than Python reads is infinite."""
    return int(text) if len(text) <= _MOST_DIGITS else float(text)
