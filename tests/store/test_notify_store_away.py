"""The store is away when something has gone out: it is marked all the same, as soon as the store is back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

import pytest
from sqlalchemy import Connection

from leadcast.core.errors import StoreError, TransientError
from leadcast.flow.notify import Dispatcher, Story
from leadcast.store.database import Store
from leadcast.store.paces import Channel
from leadcast.store.receivers import Receiver

from .conftest import StoppedClock
from .test_notify import queue, states

pytestmark = pytest.mark.store


class Fault(StrEnum):
    """How a transaction fails."""

    BEFORE = "before its commit"
    LOST = "its answer is lost"


class FaultyStore(Store):
    """Fails a number of transactions from the nth on, counted from 1."""

    def __init__(self, base: Store, fault: Fault, *, at: int, times: int = 1) -> None:
        super().__init__(base.engine, base.sealer)
        self.fault, self.failing, self.begun = fault, range(at, at + times), 0

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction."""
        self.begun += 1
        fails = self.begun in self.failing
        with super().begin() as connection:
            yield connection
            if fails and self.fault is Fault.BEFORE:
                raise StoreError("away")
        if fails and self.fault is Fault.LOST:
            raise StoreError("its answer is lost")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it was waited for the store; the time does not pass."""
    waited: list[float] = []
    monkeypatch.setattr(Dispatcher._mark.retry, "sleep", waited.append)
    return waited


@pytest.fixture
def told() -> Counter[str]:
    return Counter()


@pytest.fixture
def flush(clock: StoppedClock, told: Counter[str]) -> Callable[[Store], None]:
    """Sends what is due, whatever becomes of the store meanwhile."""

    def flush(store: Store) -> None:
        def send(story: Story, *, timeout_s: float) -> None:
            told[story.key] += 1
            if story.key == "fails" and told[story.key] == 1:
                raise TransientError("away", code="timeout")

        made = Dispatcher(store=store, senders=dict.fromkeys(Channel, send), clock=clock, chance=lambda: 0.0)
        with suppress(StoreError):
            made.flush(bound_s=60)

    return flush


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("at", range(1, 16))
def test_whichever_transaction_fails_nothing_goes_out_twice(
    store: Store,
    clock: StoppedClock,
    flush: Callable[[Store], None],
    told: Counter[str],
    fault: Fault,
    times: int,
    at: int,
) -> None:
    queue(store, clock, "letter", "another")
    queue(store, clock, "hook", channel=Channel.HOOK)
    queue(store, clock, "callback", channel=Channel.CALLBACK_URL, receiver=Receiver("a", "a/x"))
    queue(store, clock, "fails", channel=Channel.CALLBACK_URL, receiver=Receiver("b", "b/x"))
    flush(FaultyStore(store, fault, at=at, times=times))
    for _ in range(3):
        clock.pass_s(600)
        flush(store)
    assert {state for state, _ in states(store)} == {"sent"}
    assert told == {"letter": 1, "another": 1, "hook": 1, "callback": 1, "fails": 2}


def test_what_was_sent_before_the_store_went_away_for_longer_is_marked_when_all_has_ended(
    store: Store, clock: StoppedClock, flush: Callable[[Store], None], told: Counter[str], pauses: list[float]
) -> None:
    queue(store, clock, "letter")
    # the third is the first marking: the ones before it take
    flush(FaultyStore(store, Fault.BEFORE, at=3, times=5))
    assert 5 < sum(pauses) < 30
    assert states(store) == [("sent", 1)]


def test_a_store_that_stays_away_is_not_insisted_on_for_ever(
    store: Store, clock: StoppedClock, flush: Callable[[Store], None], told: Counter[str], pauses: list[float]
) -> None:
    queue(store, clock, *(f"m{number}" for number in range(5)), channel=Channel.EMAIL)
    flush(FaultyStore(store, Fault.BEFORE, at=3, times=1000))
    assert sum(pauses) < 30
    assert sum(told.values()) == 1
