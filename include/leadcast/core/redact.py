"""Keeps secrets and personal data out of what people and logs see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from leadcast.core.plain import plain_text
from leadcast.core.readings import readings_of
from leadcast.core.secret_forms import places

MASK = "***"
_SHORTEST_SECRET = 4
_MOST_CHARS = 20_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def scrub(text: str, *, secrets: Iterable[str], ours: Sequence[tuple[int, int]] = ()) -> str:
    """The first 20,000 characters of `text`, with `***` for every secret in them.

    A secret is found as it is and in base64, also as a part of what was coded, and either of them percent-encoded or
    escaped for JSON or HTML. Values shorter than 4 characters are left: they match all.

    Args:
        secrets: among them may be a `Word`, a `Phrase` or a `Number`, for data of persons.
        ours: from where to before where our own words stand: what lies wholly within one of these stays.
    """
    text, hidden = text[:_MOST_CHARS], list(secrets)
    readings = readings_of(text)
    everywhere = (reading.in_source(*place) for reading in readings for place in places(reading.text, hidden))
    found = sorted(place for place in everywhere if not any(at <= place[0] and place[1] <= end for at, end in ours))
    shown: list[str] = []
    at = 0
    for start, end in found:
        if start >= at:
            shown += [text[at:start], MASK]
        at = max(at, end)
    return "".join([*shown, text[at:]])


def one_line(text: str, *, limit: int = 500) -> str:
    """`text` without control characters (no CR/LF, so no forged log lines or headers) and without those that turn the
    reading direction around, cut to `limit` characters."""
    text = plain_text(_CONTROL.sub(" ", text)).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def secrets_in(value: Any) -> Iterator[str]:
    """Every `SecretStr` in a nested structure, opened: for masking."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from secrets_in(item)


def opened(value: Any) -> str:
    """A value as text, a secret one as well."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def masked_email(address: str) -> str:
    """`a***@example.com`: enough to recognise one's own address, not enough to write to it."""
    name, at, domain = address.partition("@")
    return f"{name[:1] if len(name) > 2 else ''}{MASK}{at}{domain}"


def masked(text: str) -> str:
    """A personal value, so that its owner knows it again and nobody else can use it: `А***`, `***67`, `a***@b.ru`."""
    text = one_line(text)
    if "@" in text:
        return masked_email(text)
    digits = sum(character.isdigit() for character in text)
    return f"{MASK}{text[-2:]}" if digits > len(text) / 2 and len(text) > _SHORTEST_SECRET else f"{text[:1]}{MASK}"
