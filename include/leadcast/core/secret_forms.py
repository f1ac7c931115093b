"""Where a secret stands in a text: as it is, in base64, or, for what says who a person is, in another writing."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterator

_SHORTEST = 4
_SHORTEST_NUMBER = 7
_NATIONAL = 10
"""Digits of a phone number without its country."""
WORD = re.compile(r"[^\W\d_]+")
"""What is one word, to whoever names words and to whoever looks for them."""
_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")
_URL_SAFE = str.maketrans("-_", "+/")
_MIXED_SIGNS = (0, 2, 3)
"""How many signs of base64 depend on what stands 0, 1 or 2 bytes before."""


class Word(str):
    """A part of a name: found where it stands as a word of its own, in whatever case. Letters without case (Chinese,
    say) are found anywhere, as words are not parted there."""

    __slots__ = ()


class Phrase(str):
    """What a person has typed: found as a secret is, but as it stands only where no longer word or number goes on."""

    __slots__ = ()


class Number(str):
    """The digits of a phone number: found however they are grouped, with its country or without."""

    __slots__ = ()


def places(text: str, secrets: Collection[str]) -> Iterator[tuple[int, int]]:
    """From where to before where each of them stands, in no order; some may overlap.

    Values shorter than 4 characters are looked for nowhere, since they match all, and so are numbers of less than 7
    digits. Of a `Word` whoever names it says how short it may be.
    """
    words = {secret for secret in secrets if isinstance(secret, Word)}
    numbers = {secret for secret in secrets if isinstance(secret, Number) and len(secret) >= _SHORTEST_NUMBER}
    literals = [secret for secret in secrets if not isinstance(secret, Word | Number) and len(secret) >= _SHORTEST]
    fitting = {str(secret): isinstance(secret, Phrase) for secret in literals if len(secret) <= len(text)}
    # where it is a secret, too, it is one
    fitting |= {str(secret): False for secret in literals if str(secret) in fitting and not isinstance(secret, Phrase)}
    for secret, stands_alone in fitting.items():
        # in the query of a URL a blank is written as a plus
        for form in {secret, secret.replace(" ", "+")}:
            found = _everywhere(form, text)
            yield from (place for place in found if not stands_alone or _is_whole(text, *place))
    yield from _in_base64(fitting, text)
    yield from _as_words(words, text)
    for number in {number[-_NATIONAL:] for number in numbers}:
        yield from (found.span() for found in re.finditer(r"[\W_]{0,3}".join(number), text))


def _is_whole(text: str, start: int, end: int) -> bool:
    return not _goes_on(text[max(start - 1, 0) : start] + text[start]) and not _goes_on(text[end - 1 : end + 1])


def _goes_on(two: str) -> bool:
    """Whether these two signs are of one word, or of one number. Letters without case part no words."""
    return len(two) == 2 and (two.isdigit() or (two.isalpha() and all(one.lower() != one.upper() for one in two)))


def _everywhere(part: str, text: str) -> Iterator[tuple[int, int]]:
    at = text.find(part)
    while at >= 0:
        yield at, at + len(part)
        at = text.find(part, at + len(part))


def _in_base64(secrets: Collection[str], text: str) -> Iterator[tuple[int, int]]:
    """The whole of what was coded: around a password it is a login."""
    coded = [core for secret in secrets for core in _cores(secret)]
    for run in _BASE64.finditer(text.translate(_URL_SAFE)):
        if any(core in run[0] for core in coded):
            yield run.span()


def _cores(secret: str) -> Iterator[str]:
    """What base64 makes of it whatever stands before and behind it: three bytes are four signs."""
    said = secret.encode("utf-8", "replace")
    for before, mixed in enumerate(_MIXED_SIGNS):
        signs = b64encode(bytes(before) + said).decode("ascii")
        yield signs[mixed : (before + len(said)) * 8 // 6]


def _as_words(words: Collection[str], text: str) -> Iterator[tuple[int, int]]:
    cased = {word.casefold() for word in words if word.lower() != word.upper()}
    if cased:
        yield from (found.span() for found in WORD.finditer(text) if found[0].casefold() in cased)
    for word in words:
        if word.lower() == word.upper():
            yield from _everywhere(str(word), text)
