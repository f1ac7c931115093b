"""The time that one attempt has in all, shared out among its calls."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class Deadline:
    """Counts down from `timeout_s`, in seconds."""

    def __init__(self, timeout_s: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + timeout_s

    def left_s(self, at_most: float) -> float:
        """What is left for the next call, `at_most` this much; 0 when time is up."""
        return min(max(self._ends_at - self._clock(), 0.0), at_most)
