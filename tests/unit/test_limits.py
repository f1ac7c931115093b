"""When the next call may go out: windows, buckets, pauses, and those who queue."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcast.core.limits import LATENESS_S, MARGIN, Limit, at_rate, next_slot, queued, with_call, with_pause

AMOCRM = Limit(name="amocrm", calls=7, period_s=1)
BITRIX24 = Limit(name="bitrix24", calls=2, period_s=1, burst=50)


def slots(limit: Limit, arrivals: list[float]) -> list[float]:
    """When the calls that want to go out at these moments do."""
    state: dict[str, Any] = {}
    taken = []
    for now in arrivals:
        at = next_slot(state, limit, now=now)
        state = with_call(state, limit, at=at, now=now)
        taken.append(at)
    return taken


def test_a_short_window_lets_its_calls_pass_one_after_another_and_the_next_when_the_first_is_past() -> None:
    taken = slots(AMOCRM, [0.0] * 8)
    assert taken[:7] == pytest.approx([number * 0.1 for number in range(7)])
    assert taken[7] == 1 + MARGIN + LATENESS_S


def test_a_long_window_lets_its_calls_pass_at_once() -> None:
    group = Limit(name="group", calls=20, period_s=60)
    taken = slots(group, [0.0] * 21)
    assert taken[:20] == [0.0] * 20
    assert taken[20] == pytest.approx(60 * (1 + MARGIN) + LATENESS_S)


def test_a_bucket_holds_a_burst_and_then_drains_steadily() -> None:
    taken = slots(BITRIX24, [0.0] * 53)
    assert taken[:50] == [0.0] * 50
    assert taken[50:] == [0.5, 1.0, 1.5]


@given(st.lists(st.floats(0, 20), max_size=40).map(sorted), st.integers(1, 5))
def test_no_window_ever_holds_more_than_the_service_takes(arrivals: list[float], calls: int) -> None:
    taken = sorted(slots(Limit(name="x", calls=calls, period_s=2), arrivals))
    assert all(last - first > 2 for first, last in zip(taken, taken[calls:], strict=False))
    assert all(at >= now for at, now in zip(slots(Limit(name="x", calls=calls), arrivals), arrivals, strict=True))


@given(st.lists(st.floats(0, 60), max_size=120).map(sorted))
def test_a_bucket_as_the_service_counts_it_never_runs_over(arrivals: list[float]) -> None:
    """vendors.md 2.4: level = max(0, level - elapsed * drain) + 1, refused above the burst."""
    level, before = 0.0, 0.0
    for at in slots(Limit(name="x", calls=2, burst=10), arrivals):
        level = max(0.0, level - (at - before) * 2) + 1
        before = at
        assert level <= 10 + 1e-6


def test_a_slot_that_another_limit_holds_back_does_not_hold_back_others() -> None:
    state = with_call({}, AMOCRM, at=30.0, now=0.0)
    assert next_slot(state, AMOCRM, now=0.0) == 0.0


def test_after_the_service_has_asked_to_wait_nothing_goes_out() -> None:
    for limit in (AMOCRM, BITRIX24):
        assert next_slot(with_pause({}, until=300.0), limit, now=1.0) == 300.0
        assert next_slot(with_pause({}, until=300.0), limit, now=301.0) == 301.0


def test_those_who_wait_elsewhere_come_back_one_after_another() -> None:
    group = Limit(name="group", calls=20, period_s=60)
    state: dict[str, Any] = {}
    moments = []
    for _ in range(3):
        at, state = queued(state, group, slot=60.0)
        moments.append(at)
    apart_s = (60 * (1 + MARGIN) + LATENESS_S) / 20
    assert moments == pytest.approx([60.0, 60.0 + apart_s, 60.0 + 2 * apart_s])


@pytest.mark.parametrize(("per_s", "calls", "period_s"), [(15, 15, 1.0), (0.5, 1.0, 2.0)])
def test_an_account_may_have_another_rate(per_s: float, calls: float, period_s: float) -> None:
    changed = at_rate(AMOCRM, calls_per_s=per_s)
    assert (changed.calls, changed.period_s, changed.name) == (calls, period_s, "amocrm")
