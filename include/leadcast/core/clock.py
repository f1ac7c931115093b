"""Time comes in from here, so that a test can stop it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Something that tells the time: an aware `datetime` in UTC."""


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)
