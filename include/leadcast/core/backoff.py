"""When to try again: one decision, used by the ledger and by Airflow's retry policy alike."""

from __future__ import annotations

from collections.abc import Callable

from leadcast.core.delivering import Delivering
from leadcast.core.errors import DeliveryError, TransientError

LONGEST_WAIT_S = 3600.0
"""The longest pause that a service may ask of us, for one delivery and for all; one that asks for more is tried after
this."""
SHORTEST_WAIT_S = 1.0
"""For how long all that goes there waits at least, once a service has asked to wait: it may ask for 0 s, or until a
moment that is over."""


def pause_s(error: DeliveryError, *, attempt: int, rules: Delivering, chance: Callable[[], float]) -> float:
    """Seconds until the next attempt.

    `retry_delay_s` · 2ⁿ up to `retry_max_delay_s`, of which half is left to chance; or what the service asked for,
    where that is longer, and a little more so that many waiting deliveries do not come back at once. Never that alone:
    what a service asks for uses up no try, so only a pause that grows keeps us from running after one that asks for 0.

    Args:
        attempt: the attempt that failed, 1 for the first.
        chance: gives a number from 0 to below 1.
    """
    part = chance()
    full = min(rules.retry_delay_s * 2.0 ** min(attempt - 1, 30), rules.retry_max_delay_s)
    asked_s = (error.retry_after_s or 0.0) if isinstance(error, TransientError) else 0.0
    return max(full / 2 + full / 2 * part, min(asked_s, LONGEST_WAIT_S) * (1 + 0.1 * part))
