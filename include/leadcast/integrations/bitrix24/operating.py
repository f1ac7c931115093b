"""The time that a portal spends on a method for us. When it is too much, the portal blocks the method (vendors.md 2.4).

Every good answer says how many seconds the method has taken in the last ten minutes (`time.operating`) and when the
oldest minute of them is forgotten (`operating_reset_at`). The limit itself is said nowhere: 480 s in the docs'
example, 420 s by default on a portal of one's own. We stop before either, and wait for the reset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from leadcast.core.clock import Clock
from leadcast.core.errors import Postponed
from leadcast.integrations.base import Memory

STOP_AT_S = 400.0
WATCH_FROM_S = 100.0
"""Below, nothing is written down: that a portal of ours allows less than this is not to be expected."""
UNKNOWN_PAUSE_S = 600.0
"""All ten minutes: where the reset is not known (vendors.md 2.3)."""


class Operating:
    """What the portal has spent on each method, as far as it matters; shared by all processes of the account."""

    def __init__(self, memory: Memory, *, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock

    def refuse_if_spent(self, *methods: str) -> None:
        """Lets nothing go out while a method that it needs has used up its time on the portal.

        Raises:
            Postponed: one of the methods is blocked or nearly so.
        """
        for method in methods:
            spent_s, reset_at = self._known(method)
            wait_s = self._until_s(reset_at)
            if spent_s >= STOP_AT_S and wait_s > 0:
                raise Postponed(
                    f"Bitrix24's time for {method} is used up until its next reset; nothing was sent.",
                    wait_s=wait_s,
                    code="OPERATION_TIME_LIMIT",
                )

    def note(self, method: str, times: Any) -> None:
        """After a good answer, with its `time`. Writes about once a minute, and only when there is something to say."""
        spent_s, reset_at = _figures(times)
        if spent_s < WATCH_FROM_S or self._until_s(reset_at) <= 0:
            return
        known_s, known_reset_at = self._known(method)
        if reset_at != known_reset_at or (spent_s >= STOP_AT_S) != (known_s >= STOP_AT_S):
            self._remember(method, spent_s, reset_at)

    def blocked(self, method: str, times: Any) -> float:
        """The portal has blocked the method: how many seconds to wait; all deliveries of the account do."""
        reset_at = max(_figures(times)[1], self._known(method)[1])
        wait_s = self._until_s(reset_at) or UNKNOWN_PAUSE_S
        self._remember(method, STOP_AT_S, self._clock().timestamp() + wait_s)
        return wait_s

    def _known(self, method: str) -> tuple[float, float]:
        return _figures(self._memory.recall(_name(method)))

    def _remember(self, method: str, spent_s: float, reset_at: float) -> None:
        figures = {"operating": spent_s, "operating_reset_at": reset_at}
        self._memory.remember(_name(method), figures, for_s=max(self._until_s(reset_at), 1.0))

    def _until_s(self, moment: float) -> float:
        """Seconds until then, at most the ten minutes that the portal looks back; 0 when it is over."""
        return min(max(moment - self._clock().timestamp(), 0.0), UNKNOWN_PAUSE_S)


def _name(method: str) -> str:
    return f"operating {method}"


def _figures(times: Any) -> tuple[float, float]:
    """`operating` in seconds and `operating_reset_at`; 0 for what is missing, as on portals of one's own."""
    if not isinstance(times, Mapping):
        return 0.0, 0.0
    return _number(times.get("operating")), _number(times.get("operating_reset_at"))


def _number(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) else 0.0
