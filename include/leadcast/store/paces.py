"""The channels of the outbox, and how often and how long each is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    """By which way a row of the outbox goes out; each has its own pace."""

    EMAIL = "email"
    NOTIFIER = "notifier"
    HOOK = "hook"
    CALLBACK_URL = "callback_url"
    LEAD_STATUS = "lead_status"


IN_HAND_S = 1.0
"""What one who sends may be late with its own time-out."""
_SPARE_S = 15.0
"""What may pass between the moment that a row is taken and its being marked, besides the sending."""
CLOCKS_DIFFER_BY_S = 60.0
"""So far may the clocks of two machines be apart without both having a row at once."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often, and for how long, a row of one channel is tried.

    pauses_s: the pause after each attempt but the last; so there is one attempt more than pauses.
    jitter: by how much of itself a pause is lengthened at most, by chance, so that many rows do not come back at once.
    longest_s: how long one attempt may take.
    """

    pauses_s: Sequence[float]
    jitter: float = 0.0
    longest_s: float = 15.0

    @property
    def max_attempts(self) -> int:
        """After so many, a row is given up."""
        return len(self.pauses_s) + 1

    @property
    def longest_pause_s(self) -> float:
        """No row waits for longer than this, whatever the receiver asks for."""
        return max(self.pauses_s) * (1 + self.jitter)

    def pause_s(self, attempt: int, *, asked_s: float = 0.0, chance: float = 0.0) -> float:
        """The pause after an attempt, 1 for the first.

        Args:
            asked_s: how long the receiver asks to be left alone.
            chance: from 0 to below 1.
        """
        planned_s = self.pauses_s[min(attempt, len(self.pauses_s)) - 1]
        return min(max(planned_s, asked_s) * (1 + self.jitter * chance), self.longest_pause_s)

    def try_s(self, at_most_s: float) -> float:
        """How long one attempt may take where there is `at_most_s` for it."""
        return min(self.longest_s, at_most_s)

    def lease_s(self, attempt: int, *, try_s: float) -> float:
        """For how long a row is its taker's alone. It is longer than sending can take, also by the clock of another
        machine, or two might send it at once."""
        return max(self.pause_s(attempt), try_s + IN_HAND_S + _SPARE_S + CLOCKS_DIFFER_BY_S)


def _growing(longest_s: float, *, attempts: int) -> tuple[float, ...]:
    return tuple(min(30.0 * 2.0 ** min(number, 16), longest_s) for number in range(attempts - 1))


_HOUR_S = 3600.0
_THREE_DAYS = _growing(_HOUR_S, attempts=80)
PACES: Mapping[Channel, Pace] = {
    # written as soon as the user's database is back, and asked for a week: writing it again does no harm
    Channel.LEAD_STATUS: Pace(pauses_s=_growing(300, attempts=2016), longest_s=25),
    Channel.EMAIL: Pace(pauses_s=_THREE_DAYS, longest_s=60),
    Channel.NOTIFIER: Pace(pauses_s=_THREE_DAYS),
    Channel.HOOK: Pace(pauses_s=_THREE_DAYS, longest_s=10),
    # what Standard Webhooks advise (vendors.md 4.2)
    Channel.CALLBACK_URL: Pace(
        pauses_s=(5, 300, 1800, *(hours * _HOUR_S for hours in (2, 5, 10, 14, 20, 24))), jitter=0.1
    ),
}
"""How each channel goes out, in the order in which they are served: people before programs."""
