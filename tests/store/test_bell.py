"""The bell: a batch that waits always has a wave which will claim it, and not a wave each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from leadcast.core.clock import utc_now
from leadcast.core.model import BatchStatus, Lead, Priority
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.flow.plan import Plan, plan, ring_for_rest
from leadcast.store.batches import bell, claims
from leadcast.store.batches.batches import NewBatch, NewDelivery, write
from leadcast.store.database import Store
from leadcast.store.schema import batches
from tests.support.by_hand import by_hand

from .conftest import Service, StoppedClock, waits_or_ends

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]


def unclaimed(store: Store) -> int:
    with store.begin() as connection:
        waiting = select(func.count()).select_from(batches).where(batches.c.status == BatchStatus.PENDING)
        return connection.execute(waiting).scalar_one()


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


def test_a_wave_claims_urgent_batches_first_and_rings_for_the_rest(
    store: Store, inbox: Inbox, accept: Accept, clock: StoppedClock
) -> None:
    for lead_id, priority in ((1, "low"), (2, "normal"), (3, "high")):
        accept("email", "telegram", lead_id=lead_id, priority=priority)
        clock.pass_s(1)
    made = plan(store, Settings(wave_max_batches=2), run_id="w1", clock=clock)
    assert [ref.lead_id for ref in made.work["email"]] == ["3", "2"]
    assert [ref.lead_id for ref in made.work["telegram"]] == ["3", "2"]
    clock.pass_s(31)
    assert plan(store, Settings(wave_max_batches=1), run_id="w2", clock=clock).next_run_id is None
    assert unclaimed(store) == 0


@pytest.fixture
def small() -> Settings:
    """Room for three deliveries of each integration: in half a minute, one slot begins so many."""
    return Settings(pool_slots=1, wave_timeout_s=60)


def claimed_by(made: Plan, kind: str) -> list[str]:
    return [ref.lead_id for ref in made.work.get(kind, ())]


def test_the_waves_together_claim_what_they_can_begin_soon(
    store: Store, small: Settings, accept: Accept, deliverer: Deliverer, clock: StoppedClock
) -> None:
    for lead_id in range(6):
        run_id = accept("telegram", lead_id=lead_id).run_id
        clock.pass_s(1)
    first = plan(store, small, run_id=str(run_id), clock=clock)
    assert (claimed_by(first, "telegram"), first.next_run_id) == (["0", "1", "2"], None), "the rest has no room"
    assert claimed_by(plan(store, small, run_id="w1", clock=clock), "telegram") == []
    assert ring_for_rest(store, small, clock=clock) is None, "a run of it would be for nothing"
    begun = first.work["telegram"][0].delivery_id
    deliverer.deliver(begun, integration=Service(), last_in_run=True, action=by_hand(deliverer), run_id=str(run_id))
    assert ring_for_rest(store, small, clock=clock) is not None
    assert claimed_by(plan(store, small, run_id="w2", clock=clock), "telegram") == ["3"], "the oldest of the rest"


def test_an_integration_that_stands_still_keeps_no_other_from_being_claimed(
    store: Store, small: Settings, accept: Accept, deliverer: Deliverer, clock: StoppedClock
) -> None:
    for number in range(8):  # amocrm's queue has no worker: what is claimed of it is never begun
        accept("amocrm", "webhook", lead_id=number)
        run_id = f"w{number}"
        made = plan(store, small, run_id=run_id, clock=clock)
        (webhook,) = made.work["webhook"]
        assert webhook.lead_id == str(number)
        deliverer.deliver(
            webhook.delivery_id, integration=Service(), last_in_run=True, action=by_hand(deliverer), run_id=run_id
        )
    accept("amocrm", lead_id=100)
    assert claimed_by(plan(store, small, run_id="w", clock=clock), "amocrm") == [], "it waits in the inbox"
    accept("telegram", lead_id=101)
    made = plan(store, small, run_id="w", clock=clock)
    assert (claimed_by(made, "telegram"), claimed_by(made, "amocrm")) == (["101"], [])


def test_a_long_queue_of_one_integration_that_has_some_room_hides_nobody_behind_it(
    store: Store, accept: Accept, clock: StoppedClock
) -> None:
    small = Settings(pool_slots=1, wave_timeout_s=60, wave_max_batches=8)
    for number in range(8):
        accept("email", lead_id=number)
        clock.pass_s(1)
    for number in range(8):
        accept("email", "amocrm", lead_id=100 + number)
        clock.pass_s(1)
    accept("telegram", lead_id=200)
    made = plan(store, small, run_id="w", clock=clock)
    assert claimed_by(made, "telegram") == ["200"], "it has room, and its wave has, too"
    assert claimed_by(made, "email")[:3] == ["0", "1", "2"], "the oldest first"


def test_the_batch_that_a_run_was_triggered_with_needs_no_room(store: Store, small: Settings, accept: Accept) -> None:
    for lead_id in range(4):
        accept(lead_id=lead_id)
    plan(store, small, run_id="w0")
    own = accept(lead_id=7)
    assert claimed_by(plan(store, small, run_id="own", own_batch_id=own.batch_id), "telegram") == ["7"]


def test_what_a_full_wave_leaves_behind_has_a_wave_of_its_own(store: Store, accept: Accept) -> None:
    first = accept(lead_id=1)
    accept(lead_id=2)
    made = plan(store, Settings(wave_max_batches=1), run_id=str(first.run_id))
    assert made.next_run_id is not None
    assert unclaimed(store) == 1


def test_a_run_that_was_triggered_with_a_batch_claims_that_one_first(store: Store, accept: Accept) -> None:
    accept(lead_id=1, priority="high")
    own = accept(lead_id=2, priority="low")
    made = plan(store, Settings(wave_max_batches=1), run_id="w", own_batch_id=own.batch_id)
    assert [ref.lead_id for ref in made.work["telegram"]] == ["2"]


def test_a_batch_that_its_own_run_brings_makes_nobody_wait_for_another_run(inbox: Inbox, accept: Accept) -> None:
    own = inbox.accept({"lead_id": 1, "lead": {}, "integrations": [{"type": "email"}]}, run_id="own")
    assert (own.run_id, own.must_ring) == ("own", False)
    assert accept(lead_id=2).must_ring, "the next arrival must not ride with a run that nobody has asked for"


def test_a_wave_takes_no_more_of_one_kind_than_airflow_maps_over(
    store: Store, settings: Settings, accept: Accept, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadcast.flow.plan.MAX_MAPPED", 4)
    for lead_id in range(3):
        accept("email", "email", "telegram", lead_id=lead_id)
        clock.pass_s(1)
    made = plan(store, settings, run_id="w1")
    assert {kind: len(refs) for kind, refs in made.work.items()} == {"email": 4, "telegram": 2}
    assert unclaimed(store) == 1
    assert [ref.lead_id for ref in plan(store, settings, run_id="w2").work["telegram"]] == ["2"]


def test_a_plan_that_is_done_again_finds_its_claims(store: Store, settings: Settings, accept: Accept) -> None:
    accepted = accept("email", "telegram")
    first = plan(store, settings, run_id=str(accepted.run_id))
    assert plan(store, settings, run_id=str(accepted.run_id)).work == first.work


def test_a_wave_without_batches_has_no_work(store: Store, settings: Settings) -> None:
    made = plan(store, settings, run_id="w")
    assert made.work == {}
    assert made.next_run_id is None


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
        planned.result()
    assert unclaimed(store) == 0, "it rode with a wave that never saw it"


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
    """Told what another process does while a plan is being made: after its claims, before they are committed."""

    def set_up(act: Callable[[], object]) -> None:
        def claim(*args: object, **more: object) -> set[str]:
            claimed = real(*args, **more)  # type: ignore[arg-type]
            monkeypatch.setattr(claims, "claim", real)
            act()
            return claimed

        real = claims.claim
        monkeypatch.setattr(claims, "claim", claim)

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
    assert (claimed_by(made, "telegram"), made.next_run_id) == (["1"], None)
    assert arrived[0].result().must_ring, "it came too late for that wave, and needs one of its own"


def test_two_plans_at_once_claim_no_more_than_there_is_room_for(
    store: Store, accept: Accept, while_planning: Callable[[Callable[[], object]], None]
) -> None:
    small = Settings(pool_slots=1, wave_timeout_s=60, wave_max_batches=3)
    for lead_id in range(6):
        accept(lead_id=lead_id)
    with ThreadPoolExecutor(1) as pool:
        other: list[Future[Plan]] = []

        def plans() -> None:
            other.append(pool.submit(plan, store, small, run_id="w1"))
            waits_or_ends(store, other[0])

        while_planning(plans)
        assert len(claimed_by(plan(store, small, run_id="w0"), "telegram")) == 3
        assert claimed_by(other[0].result(), "telegram") == []


def test_nobody_rings_for_what_a_plan_is_claiming(
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
    monkeypatch.setattr("leadcast.flow.plan.claims.claim", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        plan(store, settings, run_id=run_id)
    monkeypatch.undo()
    rung = ring_for_rest(store, settings)
    assert rung is not None
    assert [ref.lead_id for ref in plan(store, settings, run_id=rung).work["telegram"]] == ["1"]


def test_a_look_at_what_has_no_room_waits_for_no_arrival_and_holds_up_none(
    store: Store, small: Settings, accept: Accept, clock: StoppedClock
) -> None:
    for lead_id in range(4):
        accept(lead_id=lead_id)
    plan(store, small, run_id="w0", clock=clock)
    with ThreadPoolExecutor(1) as pool, store.begin() as arriving:
        bell.ring_if_needed(arriving, now=clock(), timeout=timedelta(seconds=30))
        looked = pool.submit(ring_for_rest, store, small, clock=clock)
        waits_or_ends(store, looked)
        assert looked.done()


def test_no_batch_is_left_without_a_wave_however_arrivals_and_plans_fall_together(
    store: Store, settings: Settings, accept: Accept
) -> None:
    """Whoever must ring starts a plan at once, in its own thread, as Airflow would. Nothing else starts plans."""
    claimed: list[str] = []
    guard = threading.Lock()

    def run(run_id: str) -> None:
        made = plan(store, settings, run_id=run_id)
        with guard:
            claimed.extend(ref.batch_id for refs in made.work.values() for ref in refs)
        if made.next_run_id:
            run(made.next_run_id)

    def arrive(number: int) -> str:
        accepted = accept(lead_id=number)
        if accepted.must_ring:
            run(str(accepted.run_id))
        return accepted.batch_id

    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(arrive, range(200)))
    assert unclaimed(store) == 0
    assert sorted(claimed) == sorted(accepted), "each is claimed exactly once"
