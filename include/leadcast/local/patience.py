"""How long to wait for something: as long as it gets on, however slow the machine is, and not for ever."""

from __future__ import annotations

from collections.abc import Callable

STANDSTILL_S = 180.0
"""Without any progress."""
LONGEST_S = 1200.0
"""With it, counted from the first wait."""


class Patience:
    """Counts the time since something last got on.

    standstill_s: how long nothing may change. longest_s: how long all of it may take. clock: seconds, ever growing.
    """

    def __init__(self, *, standstill_s: float, longest_s: float, clock: Callable[[], float]) -> None:
        self._standstill_s = standstill_s
        self._longest_s = max(longest_s, standstill_s)
        self._clock = clock
        self._began_at = self._moved_at = clock()
        self._last: object = None

    def begin(self) -> None:
        """A new wait: nothing has been seen of it yet."""
        self._moved_at, self._last = self._clock(), None

    def sees(self, signs: object) -> None:
        """What is seen of it now; where that is another thing than before, it gets on."""
        if signs != self._last:
            self._moved_at, self._last = self._clock(), signs

    @property
    def waited_s(self) -> float:
        """Seconds since the first wait began."""
        return self._clock() - self._began_at

    @property
    def end(self) -> str:
        """Why not to wait any longer, in words; empty while there is hope."""
        if self._clock() - self._moved_at > self._standstill_s:
            return f"Nothing has moved for {self._standstill_s:.0f} s"
        if self.waited_s > self._longest_s:
            return f"{self._longest_s / 60:.0f} minutes have passed"
        return ""
