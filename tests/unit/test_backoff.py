"""When the next attempt is."""

from __future__ import annotations

import pytest

from leadcast.core.backoff import LONGEST_WAIT_S, pause_s
from leadcast.core.delivering import Delivering
from leadcast.core.errors import RateLimited, TransientError

RULES = Delivering(retry_delay_s=10, retry_max_delay_s=60)
BROKEN = TransientError("broken")


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 60), (500, 60)])
def test_the_pause_doubles_up_to_its_limit_and_half_of_it_is_left_to_chance(attempt: int, seconds: float) -> None:
    assert pause_s(BROKEN, attempt=attempt, rules=RULES, chance=lambda: 0.0) == seconds / 2
    assert pause_s(BROKEN, attempt=attempt, rules=RULES, chance=lambda: 1.0) == seconds


@pytest.mark.parametrize(("asked", "at_least"), [(20, 20), (300, 300), (86_400, LONGEST_WAIT_S)])
def test_a_pause_that_the_service_asks_for_is_kept_up_to_an_hour(asked: float, at_least: float) -> None:
    error = RateLimited("slow down", retry_after_s=asked)
    assert pause_s(error, attempt=1, rules=RULES, chance=lambda: 0.0) == at_least
    assert pause_s(error, attempt=1, rules=RULES, chance=lambda: 1.0) == pytest.approx(at_least * 1.1)


@pytest.mark.parametrize("asked", [2, 0, -5])
def test_who_asks_for_less_than_we_would_wait_has_our_own_pause_and_it_grows(asked: float) -> None:
    error = RateLimited("slow down", retry_after_s=asked)
    pauses_s = [pause_s(error, attempt=attempt, rules=RULES, chance=lambda: 0.0) for attempt in (1, 2, 3, 4, 400)]
    assert pauses_s == [5, 10, 20, 30, 30]


def test_of_two_pauses_the_longer_one_holds() -> None:
    error = RateLimited("slow down", retry_after_s=25)
    assert [pause_s(error, attempt=attempt, rules=RULES, chance=lambda: 0.0) for attempt in (1, 3, 4)] == [25, 25, 30]
