"""When to try again: one decision, used by the ledger and by Airflow's retry policy alike."""

from __future__ import annotations

from collections.abc import Callable

from leadcast.core.errors import DeliveryError, TransientError
from leadcast.core.settings import Delivering

LONGEST_WAIT_S = 3600.0
"""The longest pause that a service may ask of us; one that asks for more is tried after this."""


def pause_s(error: DeliveryError, *, attempt: int, rules: Delivering, chance: Callable[[], float]) -> float:
    """Seconds until the next attempt.

    What the service asked for, and a little more so that many waiting deliveries do not come back at once; else
    `retry_delay_s` · 2ⁿ up to `retry_max_delay_s`, of which half is left to chance.

    Args:
        attempt: the attempt that failed, 1 for the first.
        chance: gives a number from 0 to below 1.
    """
    if isinstance(error, TransientError) and error.retry_after_s is not None:
        return min(max(error.retry_after_s, 0.0), LONGEST_WAIT_S) * (1 + 0.1 * chance())
    full = min(rules.retry_delay_s * 2.0 ** min(attempt - 1, 30), rules.retry_max_delay_s)
    return full / 2 + full / 2 * chance()
