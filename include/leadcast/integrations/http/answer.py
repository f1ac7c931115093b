"""What came back from a service: status, headers, a bounded body, and how to read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import loads
from typing import Any

from leadcast.core.json_body import whole_number
from leadcast.core.plain import plain, plain_text

LONGEST_PAUSE_S = 86400.0
_LONGEST_DATE = 128


def pause_s(value: Any) -> float | None:
    """The pause that a service asks for, in seconds, 0 to a day; None when `value` is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_PAUSE_S) if math.isfinite(seconds) else None


@dataclass(frozen=True)
class Answer:
    """What came back. `headers` are found in any case; a `body` that is not `whole` broke off, or was cut
    (`max_answer_bytes`). Whoever needs it has what `json` can make of it, and is in doubt without.

    All of a service's words and numbers come through `text` and `json`, and can be kept and shown from there on.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    whole: bool = True

    @property
    def broke_off(self) -> bool:
        """Whether it is not all there, and what is there cannot be read: whoever says so has said nothing plainly."""
        return not self.whole and self.json() is None

    @property
    def text(self) -> str:
        """The body as UTF-8, and plain; what is neither becomes U+FFFD."""
        return plain_text(self.body.decode("utf-8", errors="replace"))

    def json(self) -> Any:
        """The body's JSON, made plain, or None when it is not JSON."""
        try:
            return plain(self._loaded())
        except (ValueError, RecursionError):
            return None

    def _loaded(self) -> Any:
        try:
            return loads(self.body, parse_int=whole_number)
        except UnicodeDecodeError:  # words that were cut within a character
            return loads(self.body.decode("utf-8-sig", errors="replace"), parse_int=whole_number)

    def retry_after_s(self, *, now: datetime | None = None) -> float | None:
        """The header `Retry-After` in seconds (RFC 9110 10.2.3: a number or a date), 0 to a day; None without one."""
        value = self.headers.get("Retry-After", "")[:_LONGEST_DATE].strip()
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return pause_s(value)
        # not `astimezone`: the last hours of the year 9999 have no UTC
        since = date if date.tzinfo else date.replace(tzinfo=UTC)
        return pause_s((since - (now or datetime.now(UTC))).total_seconds())
