"""How a body of bytes becomes JSON: what can be read of it is read. What is in a field's way is found at the field."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from encodings import normalize_encoding
from encodings.aliases import aliases
from itertools import islice
from typing import Any

from leadcast.core import blanks
from leadcast.core.budget import TOO_MUCH
from leadcast.core.json_size import MAX_VALUES, most_values
from leadcast.core.notes import Way
from leadcast.core.request_errors import BodyTooLarge, FieldError, InvalidRequest
from leadcast.core.values import MAX_DEPTH_OF_BODY, cut_below

MAX_BODY_BYTES = 1024 * 1024
_MOST_DIGITS = 1000
_MOST_REPEATED = 1000
"""Names that are told of."""
_AROUND = f"{blanks.AT_ENDS}\x00\x1a"
"""What files and buffers have before and after their text: byte order marks, NUL, DOS's end of a file."""
_CHARSETS = frozenset(aliases) | frozenset(aliases.values()) | {"koi8_u"}
"""Those that Python knows. One that it does not is looked up once, and remembered for ever."""
_PLAIN = '{"+AH-": "\\u0041\\n ~{}"}'
"""ASCII that reads otherwise where it is an escape (UTF-7, HZ, Python's own) or another alphabet (EBCDIC)."""
_READ_ON = "surrogateescape"
"""A byte that is no character becomes half of one, without which what stands behind it is read."""


class Repeating(dict[str, Any]):
    """An object in which names stood more than once: each has the last of its values.

    repeated: the ways to these names, as far as they are known; of a lead, those further down included.
    """

    repeated: tuple[Way, ...] = ()


def parse_body(body: bytes, *, charset: str = "", lead_at: Way = ("lead",)) -> Any:
    """JSON of a request's body: UTF-8, or UTF-16 and UTF-32, which JSON knows by its first bytes; else the charset that
    it is said to be in. Byte order marks and blanks around it are skipped (1C and PowerShell write a mark), a line may
    end within a text. A number beyond all bounds is infinite, and half a character, or a byte that is none, is half a
    character: whether that is in the way is known only where the field is.

    Args:
        charset: as Content-Type says it; empty: it does not.
        lead_at: the way to the lead's data, where a name that stands twice is in nobody's way.

    Raises:
        BodyTooLarge: over 1 MiB.
        InvalidRequest: not JSON, in no such encoding, more than 100,000 values, or elsewhere a name twice in one
            object.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body has {len(body)} bytes; at most {MAX_BODY_BYTES} are taken.")
    seen: list[Repeating] = []

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        read = dict(pairs)
        if len(read) == len(pairs):
            return read
        seen.append(_repeating(read, pairs))
        return seen[-1]

    try:
        text = _decoded(body, charset).strip(_AROUND)
        if most_values(text) > MAX_VALUES:
            raise InvalidRequest(TOO_MUCH)
        data = json.loads(text, object_pairs_hook=read_object, parse_int=whole_number, strict=False)
    except json.JSONDecodeError as error:
        raise _not_json(error.msg, f" at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise _not_json(f"not {error.encoding.upper()}") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    cut_below(data, MAX_DEPTH_OF_BODY - 1)
    return _with_repeated(data, lead_at) if seen else data


def whole_number(text: str) -> int | float:
    """A number without a point, as JSON's `parse_int`: one with more digits than Python reads is infinite."""
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


def _not_json(what: str, where: str = "") -> InvalidRequest:
    return InvalidRequest(f"The body is not JSON{where}: {what}.", errors=[FieldError(("body",), what)])


def _decoded(body: bytes, charset: str) -> str:
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        # what is UTF-8 is not another, whatever is said: JSON is UTF-8 (RFC 8259 8.1)
        if not encoding.startswith("utf-8"):
            raise
    with suppress(UnicodeDecodeError):
        return body.decode(_known(charset) or encoding, _READ_ON)
    return body.decode(encoding, _READ_ON)


def _known(charset: str) -> str:
    """The charset of this name, if it is one that JSON may be in; else empty."""
    name = normalize_encoding(charset.strip()).lower()
    try:
        return name if name in _CHARSETS and _PLAIN.encode().decode(name) == _PLAIN else ""
    except (LookupError, ValueError):
        return ""


def _repeating(read: dict[str, Any], pairs: list[tuple[str, Any]]) -> Repeating:
    made = Repeating(read)
    made.repeated = tuple((name,) for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return made


def _with_repeated(data: Any, lead_at: Way) -> Any:
    """The data, whose lead says where names stood more than once in it.

    Raises:
        InvalidRequest: one did elsewhere.
    """
    for way in _repeated_in(data, (), but=lead_at):
        name, msg = str(way[-1])[:64], "stands twice in one object"
        raise InvalidRequest(f"The key {name!r} {msg}; which one is meant?", errors=[FieldError(way, msg)])
    lead = data
    for step in lead_at:
        lead = lead.get(step) if isinstance(lead, dict) else None
    # no further than they are told of: their ways are long
    within = tuple(islice(_repeated_in(lead, ()), _MOST_REPEATED))
    return _put(data, lead_at, within) if within else data


def _put(data: Any, lead_at: Way, repeated: tuple[Way, ...]) -> Any:
    if lead_at:
        return {**data, lead_at[0]: _put(data[lead_at[0]], lead_at[1:], repeated)}
    if isinstance(data, dict):
        data = Repeating(data)
        data.repeated = repeated
    return data


def _repeated_in(data: Any, above: Way, *, but: Way | None = None) -> Iterator[Way]:
    """The ways to them, one by one.

    Args:
        but: the way to what is not looked into.
    """
    if above == but:
        return
    if isinstance(data, Repeating):
        yield from ((*above, *way) for way in data.repeated)
    if isinstance(data, dict | list):
        for name, value in data.items() if isinstance(data, dict) else enumerate(data):
            if isinstance(value, dict | list):
                yield from _repeated_in(value, (*above, name), but=but)
