"""The time that the portal counts for a method: ten one-minute buckets for each webhook or token (vendors.md 2.4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

BUCKET_S = 60
KEPT_S = 600


@dataclass
class _Bucket:
    begun_at: float
    spent_s: float = 0.0


class OperatingTime:
    """Seconds spent on each method, by who called it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], list[_Bucket]] = {}

    def spent_s(self, who: str, method: str) -> float:
        """What counts now."""
        return sum(bucket.spent_s for bucket in self._kept(who, method))

    def add(self, who: str, method: str, seconds: float) -> tuple[float, int]:
        """One call more.

        Returns:
            What counts now, and when the oldest bucket is forgotten (Unix time).
        """
        buckets, now = self._kept(who, method), self._clock()
        if not buckets or now - buckets[-1].begun_at >= BUCKET_S:
            buckets.append(_Bucket(now))
        buckets[-1].spent_s += seconds
        return sum(bucket.spent_s for bucket in buckets), int(buckets[0].begun_at) + KEPT_S

    def _kept(self, who: str, method: str) -> list[_Bucket]:
        buckets = self._buckets.setdefault((who, method), [])
        buckets[:] = [bucket for bucket in buckets if self._clock() - bucket.begun_at < KEPT_S]
        return buckets
