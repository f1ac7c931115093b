"""A text as it is read once it is decoded: percent-encoded, escaped for JSON or for HTML, or several of these.

Services repeat what they were sent as it stands in a URL, in a body or on a page. Whoever looks for it there reads it
as they would, and has to know where it stands in the text itself.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_MOST_LAYERS = 3
_ESCAPE = re.compile(
    r"(?P<octets>(?:(?:%|\\x)[0-9A-Fa-f]{2})+)"
    r"|(?P<units>(?:\\u[0-9A-Fa-f]{4})+)"
    r'|\\(?P<sign>["\\/bfnrt])'
    r"|(?P<entity>&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});)"
)
_SIGNS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class Reading:
    """A text, and where each of its characters stands in the source: from `starts` to before `ends`."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def in_source(self, start: int, end: int) -> tuple[int, int]:
        """Where what stands from `start` to before `end` is in the source."""
        return self.starts[start], self.ends[end - 1]


def readings_of(source: str) -> Iterator[Reading]:
    """The text as it stands, then decoded, and once more as long as there is something to decode, three times at most.
    It takes time in proportion to the text."""
    reading = Reading(source, range(len(source)), range(1, len(source) + 1))
    yield reading
    for _ in range(_MOST_LAYERS):
        if not _ESCAPE.search(reading.text):
            return
        reading = _decoded(reading)
        yield reading


def _decoded(reading: Reading) -> Reading:
    text: list[str] = []
    starts: list[int] = []
    ends: list[int] = []

    def copy(start: int, end: int) -> None:
        text.append(reading.text[start:end])
        starts.extend(reading.starts[start:end])
        ends.extend(reading.ends[start:end])

    at = 0
    for escape in _ESCAPE.finditer(reading.text):
        copy(at, escape.start())
        at = escape.start()
        for sign, length in _signs_of(escape):
            start, end = reading.in_source(at, at + length)
            text.append(sign)
            starts.extend([start] * len(sign))
            ends.extend([end] * len(sign))
            at += length
        at = escape.end()
    copy(at, len(reading.text))
    return Reading("".join(text), starts, ends)


def _signs_of(escape: re.Match[str]) -> Iterator[tuple[str, int]]:
    """What an escape stands for, and how many of its characters stand for it."""
    written = escape[0]
    match escape.lastgroup:
        case "octets":
            octets = re.findall(r"(%|\\x)(..)", written)
            widths = [len(prefix) + 2 for prefix, _ in octets]
            at = 0
            for sign in bytes.fromhex("".join(digits for _, digits in octets)).decode("utf-8", "surrogateescape"):
                count = len(sign.encode("utf-8", "surrogateescape"))
                yield sign, sum(widths[at : at + count])
                at += count
        case "units":
            units = bytes.fromhex(written.replace("\\u", ""))
            for sign in units.decode("utf-16-be", "surrogatepass"):
                yield sign, 3 * len(sign.encode("utf-16-be", "surrogatepass"))
        case "sign":
            yield _SIGNS.get(escape["sign"], escape["sign"]), len(written)
        case _:
            yield html.unescape(written), len(written)
