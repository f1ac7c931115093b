"""The bell: a batch that waits always has a wave which will see it, and not a wave each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest

from leadcast.core.clock import utc_now
from leadcast.core.model import Lead, Priority
from leadcast.core.settings import Settings
from leadcast.flow.deliver.chunk import Part
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.flow.plan import Plan, Takers, plan, ring_for_rest
from leadcast.store.batches import bell, lanes, opening
from leadcast.store.batches.batches import NewBatch, NewDelivery, write
from leadcast.store.database import Store
from tests.support.by_hand import by_hand

from .conftest import Service, StoppedClock, waits_or_ends

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]


def its_leads(made: Plan, kind: str = "telegram") -> list[str]:
    """For whose deliveries a run has a task each."""
    return [ref.lead_id for ref in made.work.get(kind, ())]


def test_the_first_arrival_rings_and_later_ones_ride_along(accept: Accept) -> None:
    first, second = accept(lead_id=1), accept(lead_id=2)
    assert first.must_ring
    assert not second.must_ring
    assert second.run_id == first.run_id


def test_after_the_wave_is_planned_the_next_arrival_rings_again(
    store: Store, settings: Settings, accept: Accept
) -> None:
    first = accept(lead_id=1)
    plan(store, settings, run_id=str(first.run_id))
    second = accept(lead_id=2)
    assert second.must_ring
    assert second.run_id != first.run_id


def test_a_bell_that_nobody_heard_is_rung_again_by_the_next_arrival(accept: Accept, clock: StoppedClock) -> None:
    accept(lead_id=1)
    clock.pass_s(31)
    assert accept(lead_id=2).must_ring


def test_the_sweep_rings_for_what_waits_and_only_then(
    store: Store, settings: Settings, accept: Accept, clock: StoppedClock
) -> None:
    assert ring_for_rest(store, settings, clock=clock) is None
    accept()
    assert ring_for_rest(store, settings, clock=clock) is None, "it was just asked for"
    clock.pass_s(31)
    assert ring_for_rest(store, settings, clock=clock) is not None


def test_a_wave_has_the_urgent_first(store: Store, settings: Settings, accept: Accept, clock: StoppedClock) -> None:
    for lead_id, priority in ((1, "low"), (2, "normal"), (3, "high")):
        accept("email", "telegram", lead_id=lead_id, priority=priority)
        clock.pass_s(1)
    made = plan(store, settings, run_id="w1", clock=clock)
    assert its_leads(made, "email") == its_leads(made, "telegram") == ["3", "2", "1"]


def test_one_task_is_for_many_and_a_wave_leaves_nothing_behind(
    store: Store, settings: Settings, accept: Accept, clock: StoppedClock
) -> None:
    for lead_id in range(60):
        accept("telegram", lead_id=lead_id)
    made = plan(store, settings, run_id="w", clock=clock)
    assert (made.work, made.takers) == ({}, {"telegram": Takers(count=2, due=60)})
    clock.pass_s(31)
    assert ring_for_rest(store, settings, clock=clock) is None, "its tasks will find all"


def test_an_integration_that_stands_still_keeps_no_other_from_being_sent(
    store: Store, settings: Settings, accept: Accept, deliverer: Deliverer, clock: StoppedClock
) -> None:
    for number in range(8):  # amocrm's queue has no worker: its tasks never begin
        accept("amocrm", "webhook", lead_id=number)
        run_id = f"w{number}"
        made = plan(store, settings, run_id=run_id, clock=clock)
        (webhook,) = made.work["webhook"]
        assert webhook.lead_id == str(number)
        with store.begin() as connection:
            lanes.begin(connection, "webhook", run_id=run_id)
        deliverer.deliver(
            webhook.delivery_id, integration=Service(), last_in_run=True, action=by_hand(deliverer), run_id=run_id
        )
    accept("amocrm", lead_id=100)
    accept("telegram", lead_id=101)
    made = plan(store, settings, run_id="w", clock=clock)
    assert (its_leads(made), its_leads(made, "amocrm")) == (["101"], [])


def test_a_run_that_was_triggered_with_a_batch_has_that_one_in_any_case(
    store: Store, settings: Settings, accept: Accept, clock: StoppedClock
) -> None:
    for lead_id in range(60):
        accept(lead_id=lead_id, priority="high")
    plan(store, settings, run_id="w0", clock=clock)
    own = accept(lead_id=100, priority="low")
    assert its_leads(plan(store, settings, run_id="own", own_batch_id=own.batch_id, clock=clock)) == ["100"]


def test_a_batch_that_its_own_run_brings_makes_nobody_wait_for_another_run(inbox: Inbox, accept: Accept) -> None:
    own = inbox.accept({"lead_id": 1, "lead": {}, "integrations": [{"type": "email"}]}, run_id="own")
    assert (own.run_id, own.must_ring) == ("own", False)
    assert accept(lead_id=2).must_ring, "the next arrival must not ride with a run that nobody has asked for"


def test_a_plan_that_is_done_again_finds_its_tasks(store: Store, settings: Settings, accept: Accept) -> None:
    accepted = accept("email", "telegram")
    first = plan(store, settings, run_id=str(accepted.run_id))
    assert plan(store, settings, run_id=str(accepted.run_id)) == first
    assert first.count("email") == first.count("telegram") == 1


def test_a_wave_for_which_nothing_is_due_has_no_tasks(store: Store, settings: Settings) -> None:
    assert plan(store, settings, run_id="w") == Plan(work={}, takers={})


LATE = NewBatch(
    id="late",
    lead=Lead(id="2"),
    priority=Priority.NORMAL,
    callback_url_sealed=None,
    idempotency_key=None,
    body_sha256="",
    accepted_at=utc_now(),
    deliveries=[NewDelivery(type="telegram", settings={}, credentials_sealed=None)],
)


def test_a_plan_waits_for_an_arrival_that_rides_with_it(
    store: Store, settings: Settings, accept: Accept, clock: StoppedClock
) -> None:
    run_id = str(accept(lead_id=1).run_id)
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as arriving:
            write(arriving, LATE)
            assert not bell.ring_if_needed(arriving, now=clock(), timeout=timedelta(days=1)).must_ring
            planned = pool.submit(plan, store, settings, run_id=run_id)
            waits_or_ends(store, planned)
        assert its_leads(planned.result()) == ["1", "2"], "it rode with a wave that never saw it"


def test_an_arrival_waits_for_a_plan_and_then_rings(store: Store, accept: Accept) -> None:
    run_id = str(accept(lead_id=1).run_id)
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as planning:
            bell.reset(planning, run_id=run_id)
            arrived = pool.submit(accept, lead_id=2)
            waits_or_ends(store, arrived)
        assert arrived.result().must_ring, "it rode with a wave that was planned already"


@pytest.fixture
def while_planning(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Told what another process does while a plan is being made: it has looked, and nothing is committed."""

    def set_up(act: Callable[[], object]) -> None:
        def hand_to(*args: object, **more: object) -> None:
            real(*args, **more)  # type: ignore[arg-type]
            monkeypatch.setattr(opening, "hand_to", real)
            act()

        real = opening.hand_to
        monkeypatch.setattr(opening, "hand_to", hand_to)

    return set_up


def test_no_arrival_waits_for_a_plan_that_looks_through_what_waits(
    store: Store,
    settings: Settings,
    accept: Accept,
    clock: StoppedClock,
    while_planning: Callable[[Callable[[], object]], None],
) -> None:
    run_id = str(accept(lead_id=1).run_id)
    with ThreadPoolExecutor(1) as pool:
        arrived: list[Future[Accepted]] = []

        def arrives() -> None:
            arrived.append(pool.submit(accept, lead_id=2))
            waits_or_ends(store, arrived[0])
            assert arrived[0].done()

        while_planning(arrives)
        made = plan(store, settings, run_id=run_id, clock=clock)
    assert its_leads(made) == ["1"]
    assert arrived[0].result().must_ring, "it came too late for that wave, and needs one of its own"


def test_of_two_plans_at_once_one_has_the_tasks(
    store: Store, settings: Settings, accept: Accept, while_planning: Callable[[Callable[[], object]], None]
) -> None:
    for lead_id in range(3):
        accept(lead_id=lead_id)
    with ThreadPoolExecutor(1) as pool:
        other: list[Future[Plan]] = []

        def plans() -> None:
            other.append(pool.submit(plan, store, settings, run_id="w1"))
            waits_or_ends(store, other[0])
            assert not other[0].done()

        while_planning(plans)
        assert len(its_leads(plan(store, settings, run_id="w0"))) == 3
        assert other[0].result() == Plan(work={}, takers={})


def test_who_sends_waits_for_no_plan(
    store: Store,
    settings: Settings,
    accept: Accept,
    deliverer: Deliverer,
    clock: StoppedClock,
    while_planning: Callable[[Callable[[], object]], None],
) -> None:
    """It has read what is due, and locked nothing of it."""
    delivery_id = f"{accept(lead_id=1).batch_id}-0"
    worker = deliverer.new_worker()
    with ThreadPoolExecutor(1) as pool, worker.lease.of_process():
        taken: list[Future[Sequence[Part]]] = []

        def takes() -> None:
            taken.append(pool.submit(worker.lane("telegram").take, 1))
            waits_or_ends(store, taken[0])
            assert taken[0].done()

        while_planning(takes)
        plan(store, settings, run_id="w", clock=clock)
        assert [part.delivery_id for part in taken[0].result()] == [delivery_id]


def test_nobody_rings_for_what_a_plan_is_looking_at(
    store: Store,
    settings: Settings,
    accept: Accept,
    clock: StoppedClock,
    while_planning: Callable[[Callable[[], object]], None],
) -> None:
    run_id = str(accept(lead_id=1).run_id)
    with ThreadPoolExecutor(1) as pool:
        rung: list[Future[str | None]] = []

        def settles() -> None:
            rung.append(pool.submit(ring_for_rest, store, settings, clock=clock))
            waits_or_ends(store, rung[0])

        while_planning(settles)
        plan(store, settings, run_id=run_id, clock=clock)
        assert rung[0].result() is None


def test_a_plan_that_dies_after_it_has_cleared_the_bell_leaves_what_waits_to_whoever_comes_next(
    store: Store, settings: Settings, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = str(accept(lead_id=1).run_id)
    monkeypatch.setattr("leadcast.flow.plan.lanes.feed", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        plan(store, settings, run_id=run_id)
    monkeypatch.undo()
    rung = ring_for_rest(store, settings)
    assert rung is not None
    assert its_leads(plan(store, settings, run_id=rung)) == ["1"]


def test_a_look_at_what_is_due_waits_for_no_arrival_and_holds_up_none(
    store: Store, settings: Settings, accept: Accept, clock: StoppedClock
) -> None:
    """As long as nothing is to be rung for."""
    for lead_id in range(4):
        accept(lead_id=lead_id)
    plan(store, settings, run_id="w0", clock=clock)
    with ThreadPoolExecutor(1) as pool, store.begin() as arriving:
        bell.ring_if_needed(arriving, now=clock(), timeout=timedelta(seconds=30))
        looked = pool.submit(ring_for_rest, store, settings, clock=clock)
        waits_or_ends(store, looked)
        assert looked.done()


def test_nothing_is_left_unsent_however_arrivals_plans_and_tasks_fall_together(
    store: Store, settings: Settings, accept: Accept, deliverer: Deliverer
) -> None:
    """Whoever must ring starts a run at once, in its own thread, as Airflow would. Nothing else starts runs."""
    taken: list[str] = []
    guard = threading.Lock()

    def run(run_id: str) -> None:
        made = plan(store, settings, run_id=run_id)
        for _ in range(made.count("telegram")):
            task(run_id)

    def task(run_id: str) -> None:
        with store.begin() as connection:
            lanes.begin(connection, "telegram", run_id=run_id)
        worker = deliverer.new_worker()
        with worker.lease.of_process():
            while parts := worker.lane("telegram").take(3):
                for part in parts:
                    deliverer.deliver(
                        part.delivery_id, integration=Service(), last_in_run=True, run_id=run_id, by=worker
                    )
                with guard:
                    taken.extend(part.batch_id for part in parts)

    def arrive(number: int) -> str:
        accepted = accept(lead_id=number)
        if accepted.must_ring:
            run(str(accepted.run_id))
        return accepted.batch_id

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(arrive, range(200)))
    assert sorted(taken) == sorted(accepted), "each is taken exactly once"
