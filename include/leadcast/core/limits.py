"""How many calls a service takes, and when the next one may go out. Pure: times come in and go out as seconds.

Two kinds of limit, as services publish them: so many calls in any period (a sliding window), or a bucket that drains
steadily and holds a burst (Bitrix24). Both answer with the moment at which the next call may go out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

MARGIN = 0.1
LATENESS_S = 0.5
"""What is added to a window, a part of it and seconds: calls arrive less evenly than they were to be sent, the more so
on a busy machine, and amoCRM blocks an account that runs over its limit often. 7/s become 4.4; vendors.md 7 advises 5.
"""
_ROUNDING_S = 1e-5
_SHORT_S = 1.0
_SPREAD = 0.7


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How many calls a service takes in how much time, of whatever `name` says: an account, a bot, a chat.

    name: what is limited, without a secret: `amocrm example.amocrm.ru`. The same name is the same limit everywhere.
    calls: how many calls.
    period_s: in how many seconds.
    burst: None: at most `calls` in any `period_s`. Else a bucket that holds so many and drains `calls` a `period_s`.
    """

    name: str
    calls: float
    period_s: float = 1.0
    burst: int | None = None


def at_rate(limit: Limit, *, calls_per_s: float) -> Limit:
    """The same limit for an account that has another rate than the published one."""
    return replace(limit, calls=max(calls_per_s, 1.0), period_s=max(1.0, 1.0 / calls_per_s))


def next_slot(state: Mapping[str, Any], limit: Limit, *, now: float) -> float:
    """The moment at which the next call may go out, `now` or later (seconds, as `now` counts them)."""
    at = max(now, float(state.get("not_before", 0.0)))
    if limit.burst is not None:
        return max(at, float(state.get("empty_at", 0.0)) - (limit.burst - 1) * limit.period_s / limit.calls)
    slots = _recent(state, limit, now=now)
    pauses_s = (_window_s(limit), _spacing_s(limit))
    moments = sorted({at, *(after for slot in slots for pause_s in pauses_s if (after := slot + pause_s) > at)})
    # slots may lie ahead, where another limit holds a call back: the gaps before them are free
    return next(moment for moment in moments if _fits(slots, moment, limit))


def with_call(state: Mapping[str, Any], limit: Limit, *, at: float, now: float) -> dict[str, Any]:
    """The state after a call is given that moment."""
    if limit.burst is not None:
        return {**state, "empty_at": max(at, float(state.get("empty_at", 0.0))) + limit.period_s / limit.calls}
    return {**state, "slots": sorted([*_recent(state, limit, now=now), at])}


def _window_s(limit: Limit) -> float:
    return limit.period_s * (1 + MARGIN) + LATENESS_S


def _spacing_s(limit: Limit) -> float:
    """Calls of a short window are spread over most of it: one that is late does not run into those that follow."""
    return _SPREAD * limit.period_s / limit.calls if limit.period_s <= _SHORT_S else 0.0


def _recent(state: Mapping[str, Any], limit: Limit, *, now: float) -> list[float]:
    return [slot for slot in state.get("slots", []) if slot > now - _window_s(limit)]


def _fits(slots: Sequence[float], moment: float, limit: Limit) -> bool:
    """Whether no window holds more than `calls` with one more at this moment."""
    times, calls = sorted([*slots, moment]), max(int(limit.calls), 1)
    width_s, spacing_s = _window_s(limit) - _ROUNDING_S, _spacing_s(limit) - _ROUNDING_S
    return all(last - first >= width_s for first, last in zip(times, times[calls:], strict=False)) and all(
        later - earlier >= spacing_s for earlier, later in pairwise(times)
    )


def with_pause(state: Mapping[str, Any], *, until: float) -> dict[str, Any]:
    """The state after the service has asked to wait: no call before that moment."""
    return {**state, "not_before": max(until, float(state.get("not_before", 0.0)))}


def queued_until(state: Mapping[str, Any]) -> float:
    """Until when those who wait have the slots to themselves."""
    return float(state.get("queued_until", 0.0))


def queued(state: Mapping[str, Any], limit: Limit, *, slot: float) -> tuple[float, dict[str, Any]]:
    """The place of a delivery that cannot wait in its process, behind all who wait already: when to come back, so that
    they do not come all at once, and the state after it. They are spread as far apart as the limit lets them pass."""
    width_s = limit.period_s if limit.burst is not None else _window_s(limit)
    at = max(slot, queued_until(state) + width_s / limit.calls)
    return at, {**state, "queued_until": at}
