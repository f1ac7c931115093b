"""Which leads a run of `retry_leads` is for: its own hour, or what a person has asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leadcast.core.errors import SettingsError
from leadcast.engine.dags.retry_operator import Window, window_form, window_of

TWO, THREE = datetime(2026, 11, 25, 14, tzinfo=UTC), datetime(2026, 11, 25, 15, tzinfo=UTC)
STARTED = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)


def window(run_type: str = "manual", **params: Any) -> Window:
    return window_of(run_type=run_type, interval=(TWO, THREE), params=params, run_after=STARTED)


def test_a_backfill_looks_at_its_own_interval() -> None:
    assert window("backfill", since=None, until=None) == Window(TWO, THREE)
    assert str(window("backfill")) == "2026-11-25 14:00 to 2026-11-25 15:00 UTC"


def test_the_schedule_looks_a_day_back_since_a_lead_may_end_long_after_the_hour_it_came_in() -> None:
    assert window("scheduled") == Window(TWO - timedelta(days=1), THREE)


def test_a_run_by_hand_looks_at_the_last_day_whatever_interval_airflow_gives_it() -> None:
    assert window() == Window(STARTED - timedelta(days=1), STARTED)
    assert window_of(run_type="manual", interval=(None, None), params={}, run_after=STARTED) == window(since="")


def test_a_run_by_hand_looks_at_the_window_that_was_asked_for() -> None:
    assert window(since="2026-11-25T17:00:00+03:00", until="2026-11-25T15:00:00Z") == Window(TWO, THREE)
    assert window(since="2026-11-25T14:00Z") == Window(TWO, STARTED)
    assert window(until="2026-11-25T15:00Z") == Window(THREE - timedelta(days=1), THREE)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"since": "yesterday"}, "since: 'yesterday' is no time"),
        ({"until": 1764082800}, "until: 1764082800 is no time"),
        ({"since": "2026-11-25T14:00:00"}, "no time zone. Write 2026-11-25T14:00:00Z"),
        ({"since": "2026-11-25T15:00Z", "until": "2026-11-25T15:00Z"}, "must be before"),
        ({"since": "2026-11-26T10:00Z"}, "must be before"),
    ],
)
def test_what_makes_no_window_says_what_to_write(params: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        window(**params)
    assert says in str(refused.value)


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_window_beside_the_runs_own_is_refused_not_passed_over(run_type: str) -> None:
    with pytest.raises(SettingsError, match="has its own window"):
        window(run_type, since="2026-11-25T14:00Z")


def test_the_form_explains_each_field_and_lets_both_be_empty() -> None:
    form = window_form()
    assert list(form) == ["since", "until"]
    for param in form.values():
        assert param.resolve() is None
        assert "time zone" in str(param.description)
