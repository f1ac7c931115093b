"""How long plan and settle are tried: a store that is away for minutes costs no run its request, and fails none."""

from __future__ import annotations

import pytest

from leadcast.core.errors import LeadTableError, StoreError

pytestmark = pytest.mark.airflow


@pytest.mark.parametrize("away", [StoreError("away"), LeadTableError("away", is_away=True)])
def test_while_the_store_is_away_a_task_is_tried_for_a_quarter_of_an_hour(away: Exception) -> None:
    from leadcast.engine.dags.policy import TRIES_WHILE_AWAY, AwayRetryPolicy

    decisions = [AwayRetryPolicy().evaluate(away, number, 11) for number in range(1, TRIES_WHILE_AWAY)]
    assert {decision.action.value for decision in decisions} == {"retry"}
    pauses = [decision.retry_delay.total_seconds() for decision in decisions if decision.retry_delay]
    assert pauses[:3] == [5, 10, 20]
    assert 840 <= sum(pauses) <= 960


def test_what_waiting_does_not_mend_is_tried_three_times() -> None:
    from leadcast.engine.dags.policy import AwayRetryPolicy

    decisions = [AwayRetryPolicy().evaluate(KeyError("x"), number, 11).action.value for number in (1, 2, 3)]
    assert decisions == ["retry", "retry", "fail"]
