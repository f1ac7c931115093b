"""The clock is set forwards or back by two hours, between any two steps of a lead's way: nothing is lost, nothing is
sent or told twice, and nobody waits for a bell that is yet to be rung."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from sqlalchemy import exists, select

from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed, TransientError, UnknownOutcome
from leadcast.core.model import BatchStatus, Lead, Receipt
from leadcast.core.settings import Settings
from leadcast.engine.dags.sweep_steps import free_lanes, pick_up
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.notify import Dispatcher, Story
from leadcast.flow.plan import ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.integrations.base import Account, Call
from leadcast.store.database import Store
from leadcast.store.paces import Channel
from leadcast.store.schema import batches, notifications
from tests.store.conftest import AnySettings, OneSecret, Service, StoppedClock
from tests.support.planned import plan

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
TWO_HOURS_S = 7200.0
LONGEST_MIN = 200


@dataclass
class Shaky(Service):
    """It is away at first; then it does the work, and its answer is lost. It can be asked what it has done."""

    can_find: bool = True  # type: ignore[misc]
    sent: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    def deliver(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt:
        self.calls[call.key] += 1
        if self.calls[call.key] == 1:
            raise TransientError("It is away.")
        self.sent[call.key] += 1
        raise UnknownOutcome("No answer.", code="timeout")

    def find(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt | None:
        return Receipt(external_id=call.key) if self.sent[call.key] else None


@dataclass
class Engine:
    """Does what Airflow does, minute by minute, with a moment between any two steps in which the clock may be set.

    runs: those that have been asked for and have not planned yet. told: what people and hooks were told.
    """

    store: Store
    settings: Settings
    deliverer: Deliverer
    clock: StoppedClock
    accept: Accept
    jump_s: float
    at: int
    service: Shaky = field(default_factory=Shaky)
    runs: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    moments: int = 0

    @property
    def settler(self) -> Settler:
        return Settler(store=self.store, settings=self.settings, clock=self.clock)

    def moment(self) -> None:
        if self.moments == self.at:
            self.clock.pass_s(self.jump_s)
        self.moments += 1

    def arrive(self, lead_id: int) -> None:
        accepted = self.accept("amocrm", lead_id=lead_id)
        self.moment()
        if accepted.must_ring:
            self.runs.append(str(accepted.run_id))

    def minute(self) -> None:
        while self.runs:
            self.wave(self.runs.pop(0))
        pick_up(self.settler)
        self.moment()
        free_lanes(self.store, will_begin=lambda run_id, kind: False)
        self.moment()
        if run_id := ring_for_rest(self.store, self.settings, clock=self.clock):
            self.runs.append(run_id)
        self.moment()
        self.tell()
        self.clock.pass_s(60)

    def wave(self, run_id: str) -> None:
        self.moment()
        made = plan(self.store, self.settings, run_id=run_id, clock=self.clock)
        self.moment()
        assert not made.takers, "so few have a task each"
        for refs in made.work.values():
            for ref in refs:
                self.task(ref.delivery_id, run_id)
                self.settler.so_far([ref.batch_id])
                self.moment()
        self.settler.wave(run_id, Ending())
        self.moment()
        self.tell()

    def task(self, delivery_id: str, run_id: str) -> None:
        for try_number in count(1):
            self.moment()
            try:
                self.deliverer.deliver(delivery_id, integration=self.service, last_in_run=try_number > 2, run_id=run_id)
                return
            except AttemptFailed as failed:
                if failed.waits or failed.retry_in_s is None:
                    return
                self.clock.pass_s(failed.retry_in_s)

    def tell(self) -> None:
        def note(story: Story, *, timeout_s: float) -> None:
            self.told.append(story.key)

        Dispatcher(store=self.store, senders=dict.fromkeys(Channel, note), clock=self.clock).flush(bound_s=60)
        self.moment()

    def is_over(self) -> bool:
        with self.store.begin() as connection:
            statuses = connection.execute(select(batches.c.status)).scalars().all()
            # what is to be told may be due later, by a clock that was set back
            untold = connection.execute(select(exists().where(notifications.c.state == "pending"))).scalar()
        return not untold and all(BatchStatus(status).is_final for status in statuses)


def ways(engine: Callable[..., Engine], jump_s: float) -> Iterator[Engine]:
    """The same way again and again, the clock set one moment later each time; the last time never."""
    for at in count():
        made = engine(jump_s=jump_s, at=at)
        made.arrive(2 * at)
        made.arrive(2 * at + 1)
        for _ in range(LONGEST_MIN):
            made.minute()
            if made.is_over():
                break
        yield made
        if made.moments <= at:
            return


@pytest.fixture
def engine(
    store: Store, settings: Settings, deliverer: Deliverer, clock: StoppedClock, accept: Accept
) -> Callable[..., Engine]:
    def make(**given: float | int) -> Engine:
        return Engine(store, settings, deliverer, clock, accept, **given)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize("jump_s", [TWO_HOURS_S, -TWO_HOURS_S], ids=["forwards", "back"])
def test_wherever_the_clock_is_set_each_lead_is_sent_once_and_told_of_once(
    engine: Callable[..., Engine], store: Store, jump_s: float
) -> None:
    moments = 0
    for way in ways(engine, jump_s):
        moments = way.moments
        assert list(way.service.sent.values()) == [1, 1], f"at moment {way.at}"
        assert len(way.told) == len(set(way.told)), f"at moment {way.at}"
        assert Counter(key.split(":")[1] for key in way.told) == {"email": 2, "hook": 4}, f"at moment {way.at}"
    assert moments > 12
    with store.begin() as connection:
        assert set(connection.execute(select(batches.c.status)).scalars()) == {BatchStatus.COMPLETED}


def test_a_bell_of_the_future_counts_as_unheard(accept: Accept, clock: StoppedClock) -> None:
    """Or all who came after the clock was set back would ride for two hours with a run that never comes."""
    accept(lead_id=1)
    clock.pass_s(-TWO_HOURS_S)
    assert accept(lead_id=2).must_ring


def test_clocks_that_differ_a_little_ring_no_further_bell(accept: Accept, clock: StoppedClock) -> None:
    accept(lead_id=1)
    clock.pass_s(-5)
    assert not accept(lead_id=2).must_ring


def test_what_arrived_before_the_clock_was_set_back_is_rung_for_by_the_next_sweep(
    store: Store, settings: Settings, accept: Accept, clock: StoppedClock
) -> None:
    accept(lead_id=1)
    clock.pass_s(-TWO_HOURS_S)
    assert ring_for_rest(store, settings, clock=clock)
