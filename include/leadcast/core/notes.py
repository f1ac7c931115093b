"""Notes on a batch: what of its lead was mended when it was accepted. For whoever made the form; without values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from leadcast.core.redact import one_line

MAX_NOTES = 50
"""More are only counted."""
MAX_NAME_CHARS = 128

Way = tuple[str | int, ...]
"""The way to a field, as in `("lead", "utm", "utm_content")`."""


@dataclass(frozen=True)
class Note:
    """What was done to one field, and the way to it."""

    loc: Way
    msg: str

    def to_data(self) -> dict[str, Any]:
        """The note as JSON holds it."""
        return {"loc": list(self.loc), "msg": self.msg}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Note:
        """A note from `to_data`."""
        return cls(tuple(data["loc"]), data["msg"])


class Notes:
    """Collects notes, and keeps the first 50 of them.

    Args:
        above: the way to what the notes are about.
    """

    def __init__(self, *, above: Way = ()) -> None:
        self._above = above
        self._kept: list[Note] = []
        self._more = 0

    def add(self, loc: Way, msg: str) -> None:
        """One more. Names in its way are the caller's own: they are cut, and kept on one line."""
        if len(self._kept) == MAX_NOTES:
            self._more += 1
            return
        shown = (one_line(part, limit=MAX_NAME_CHARS) if isinstance(part, str) else part for part in loc)
        self._kept.append(Note((*self._above, *shown), msg))

    def __iter__(self) -> Iterator[Note]:
        yield from self._kept
        if self._more:
            yield Note(self._above, f"and {self._more} more")
