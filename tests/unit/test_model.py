"""States, counters, and the status that follows from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadcast.core.model import BatchStatus, Counters, DeliveryState, Lead, status_of

D = DeliveryState


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([D.DELIVERED, D.DELIVERED], BatchStatus.COMPLETED),
        ([D.DELIVERED, D.FAILED], BatchStatus.PARTIAL),
        ([D.DELIVERED, D.UNKNOWN], BatchStatus.PARTIAL),
        ([D.DELIVERED, D.CANCELLED], BatchStatus.PARTIAL),
        ([D.FAILED, D.FAILED], BatchStatus.FAILED),
        ([D.UNKNOWN], BatchStatus.FAILED),
        ([D.FAILED, D.CANCELLED], BatchStatus.FAILED),
        ([D.CANCELLED], BatchStatus.CANCELLED),
        ([D.DELIVERED, D.RETRYING], BatchStatus.PROCESSING),
        ([D.PENDING], BatchStatus.PROCESSING),
    ],
)
def test_a_batch_has_the_status_that_its_deliveries_give_it(states: list[D], status: BatchStatus) -> None:
    assert status_of(Counters.of(states)) is status


@given(st.lists(st.sampled_from(D), min_size=1, max_size=50))
def test_counters_add_up_and_progress_is_100_exactly_when_nothing_is_pending(states: list[D]) -> None:
    counters = Counters.of(states)
    assert counters.delivered + counters.failed + counters.cancelled + counters.pending == counters.total == len(states)
    assert counters.processed + counters.pending == counters.total
    assert 0 <= counters.progress <= 100
    assert (counters.progress == 100) == (counters.pending == 0)
    assert status_of(counters).is_final == (counters.pending == 0)


@pytest.mark.parametrize("after", list(D))
def test_what_is_delivered_or_cancelled_never_becomes_anything_else(after: D) -> None:
    assert not D.DELIVERED.may_become(after)
    assert not D.CANCELLED.may_become(after)


def test_a_failed_or_unknown_delivery_may_be_sent_again_when_a_person_asks() -> None:
    assert D.FAILED.may_become(D.SENDING)
    assert D.UNKNOWN.may_become(D.SENDING)


def test_a_lead_does_not_show_its_data_when_printed() -> None:
    assert repr(Lead(id="123", name="Анна", phone="+79990000001")) == "Lead(id='123')"
