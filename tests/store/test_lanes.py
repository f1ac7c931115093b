"""Lanes: what is due is his who takes it, in turn, while his lease lasts; no run holds what nobody has taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Row, select, update

from leadcast.control.cancel import Canceller
from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed, CredentialsError, Postponed, RejectedError, StoreError, TransientError
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.settings import Settings
from leadcast.engine.dags.sweep_steps import free_lanes
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.deliver.worker import Worker
from leadcast.flow.inbox import Accepted
from leadcast.flow.plan import MOST, ONE_BY_ONE, Plan, Takers, plan, ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import DIED, blame, settle_left, take_over
from leadcast.store.batches import lanes, ledger
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries, notifications, workers
from tests.support.leases import run_out

from .conftest import Service, StoppedClock, waits_or_ends
from .test_deliver import die_in_mid_air

pytestmark = pytest.mark.store
D = DeliveryState
S = BatchStatus


@dataclass
class Yard:
    """Leads that wait, runs that are planned, and processes that take from the lanes."""

    store: Store
    settings: Settings
    clock: StoppedClock
    deliverer: Deliverer
    settler: Settler
    inbox: Callable[..., Accepted]

    def accept(self, *types: str, **more: Any) -> str:
        """A batch, a second after the one before. Returns the id of its first delivery."""
        self.clock.pass_s(1)
        return f"{self.inbox(*types or ('telegram',), **more).batch_id}-0"

    @contextmanager
    def process(self) -> Iterator[Worker]:
        """One that sends, for as long as this lasts."""
        worker = self.deliverer.new_worker()
        with worker.lease.of_process():
            yield worker

    def dies_with(self, limit: int = 1, *, are_doubtful: bool = False) -> list[str]:
        """A process takes so many, and is not heard of any more. Their ids."""
        worker = self.deliverer.new_worker()
        with self.store.begin() as connection:
            worker_id = worker.lease.take(connection)
            taken = lanes.take(
                connection,
                "telegram",
                worker_id=worker_id,
                now=self.clock(),
                limit=limit,
                are_doubtful=are_doubtful,
            )
        run_out(self.store)
        return [delivery_id for delivery_id, _ in taken]

    def send(self, delivery_id: str, service: Service, *, run_id: str = "w", by: Worker | None = None) -> None:
        with suppress(AttemptFailed):
            self.deliverer.deliver(delivery_id, integration=service, last_in_run=True, run_id=run_id, by=by)

    def due(self, kind: str = "telegram") -> list[str]:
        with self.store.begin() as connection:
            return [ref.delivery_id for ref in lanes.due(connection, kind, now=self.clock(), limit=1000)]

    def plan(self, run_id: str, **more: Any) -> Plan:
        return plan(self.store, self.settings, run_id=run_id, clock=self.clock, **more)

    def begin_task(self, run_id: str, kind: str = "telegram") -> None:
        with self.store.begin() as connection:
            lanes.begin(connection, kind, run_id=run_id)

    def ring(self, kind: str = "") -> str | None:
        return ring_for_rest(self.store, self.settings, kind=kind, clock=self.clock)

    def row(self, delivery_id: str) -> Row[Any]:
        with self.store.begin() as connection:
            return connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()

    def batch(self, delivery_id: str) -> Row[Any]:
        with self.store.begin() as connection:
            batch_id = delivery_id.rpartition("-")[0]
            return connection.execute(select(batches).where(batches.c.id == batch_id)).one()

    def letters(self) -> list[str]:
        with self.store.begin() as connection:
            found = select(notifications.c.occasion).where(notifications.c.channel == "email")
            return list(connection.execute(found).scalars())


@pytest.fixture
def yard(
    store: Store,
    settings: Settings,
    clock: StoppedClock,
    deliverer: Deliverer,
    settler: Settler,
    accept: Callable[..., Accepted],
) -> Yard:
    return Yard(store, settings, clock, deliverer, settler, accept)


def ids(taken: Any) -> list[str]:
    return [part.delivery_id for part in taken]


# --- what a lane gives, and in which order


def test_the_urgent_come_first_then_the_oldest_and_what_the_schedule_sends_again_last_of_its_priority(
    yard: Yard,
) -> None:
    again = yard.accept()
    yard.send(again, Service(answers=[CredentialsError("401")]))
    yard.settler.so_far([again[:-2]])
    Retrier(store=yard.store, settings=yard.settings, clock=yard.clock).window(
        since=yard.clock().replace(year=2000), until=yard.clock().replace(year=2100)
    )
    low, first, second, high = (yard.accept(priority=name) for name in ("low", "normal", "normal", "high"))
    expected = [high, first, second, again, low]
    assert yard.due() == expected
    with yard.process() as worker:
        assert ids(worker.lane("telegram").take(10)) == expected


def test_what_was_put_off_has_its_turn_by_the_time_to_which_it_was(yard: Yard) -> None:
    old = yard.accept()
    yard.send(old, Service(answers=[Postponed("later", wait_s=60)]))
    yard.clock.pass_s(30)
    new = yard.accept()
    assert yard.due() == [new], "the other's time has not come"
    yard.clock.pass_s(60)
    assert yard.due() == [new, old]


def test_a_process_gets_no_more_than_it_wants_and_of_its_own_lane_only(yard: Yard) -> None:
    first, second, third = (yard.accept("telegram", "email") for _ in range(3))
    with yard.process() as worker:
        lane = worker.lane("telegram")
        assert ids(lane.take(2)) == [first, second]
        assert ids(lane.take(2)) == [third]
        assert ids(lane.take(2)) == []


def test_what_has_ended_or_is_being_sent_is_in_no_lane(yard: Yard) -> None:
    sent, refused, cancelled, on_its_way = (yard.accept() for _ in range(4))
    yard.send(sent, Service())
    yard.send(refused, Service(answers=[RejectedError("no")]))
    Canceller(store=yard.store, settings=yard.settings, clock=yard.clock).batch(cancelled[:-2])
    seen: list[list[str]] = []
    yard.send(on_its_way, Service(while_sending=lambda: seen.append(yard.due())))
    assert seen == [[]]
    assert yard.due() == []


# --- taken


def test_what_is_taken_is_nobody_elses_until_its_process_ends(yard: Yard) -> None:
    first, second = yard.accept(), yard.accept()
    with yard.process() as one, yard.process() as other:
        assert ids(one.lane("telegram").take(1)) == [first]
        assert yard.due() == [second]
        assert take_over(yard.settler) == 0, "its process lives"
        assert ids(other.lane("telegram").take(10)) == [second]
        service = Service()
        yard.send(first, service, by=other)
        assert service.got == [], "nor does another send it that has a task for it"
        yard.send(second, service, by=other)
        assert len(service.got) == 1
    assert (yard.due(), yard.row(first).losses) == ([first], 0)


def test_nothing_that_a_process_has_taken_needs_another_run(yard: Yard) -> None:
    yard.accept()
    yard.plan("w")
    yard.begin_task("w")
    yard.clock.pass_s(60)
    with yard.process() as worker:
        worker.lane("telegram").take(10)
        assert yard.ring() is None
    assert yard.ring() is not None, "it has ended, and given them back"


def test_what_is_taken_is_still_to_be_sent_and_nobody_has_begun_its_batch(yard: Yard) -> None:
    delivery_id = yard.accept()
    with yard.process() as worker:
        worker.lane("telegram").take(1)
        assert (yard.row(delivery_id).state, yard.row(delivery_id).attempts) == (D.PENDING, 0)
        assert yard.batch(delivery_id).status == S.PENDING
        yard.send(delivery_id, Service(), by=worker)
    assert (yard.row(delivery_id).state, yard.row(delivery_id).worker_id) == (D.DELIVERED, None)


def test_a_process_whose_lease_is_over_takes_nothing_more(yard: Yard) -> None:
    delivery_id = yard.accept()
    with yard.process() as worker:
        run_out(yard.store)
        with pytest.raises(StoreError, match="no sign of life"):
            worker.lane("telegram").take(1)
    assert yard.due() == [delivery_id]


def test_what_is_being_sent_when_its_process_ends_is_not_given_back_as_if_it_were_not(yard: Yard) -> None:
    """Whatever broke it off: it may have arrived."""
    delivery_id = yard.accept()
    with yard.process() as worker:
        worker.lane("telegram").take(1)
        with yard.store.begin() as connection:
            ledger.begin(connection, delivery_id, lease=worker.lease, now=yard.clock())
    assert (yard.row(delivery_id).state, yard.due()) == (D.SENDING, [])
    assert take_over(yard.settler) == 1
    row = yard.row(delivery_id)
    assert (row.state, row.in_doubt, row.losses) == (D.RETRYING, True, 1)


def test_processes_that_take_at_once_never_take_the_same(yard: Yard) -> None:
    accepted = {yard.accept() for _ in range(60)}

    def takes(_: int) -> list[str]:
        taken: list[str] = []
        with yard.process() as worker:
            while found := ids(worker.lane("telegram").take(4)):
                taken += found
                for delivery_id in found:
                    yard.send(delivery_id, Service(), by=worker)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [delivery_id for each in pool.map(takes, range(6)) for delivery_id in each]
    assert len(taken) == len(set(taken))
    assert set(taken) == accepted


def test_who_takes_waits_for_nobody_who_takes_at_the_same_moment(yard: Yard) -> None:
    first, second = yard.accept(), yard.accept()
    with yard.process() as one, yard.process() as other, ThreadPoolExecutor(1) as pool:
        with yard.store.begin() as connection:
            worker_id = one.lease.take(connection)
            lanes.take(connection, "telegram", worker_id=worker_id, now=yard.clock(), limit=1)
            taken = pool.submit(other.lane("telegram").take, 10)
            waits_or_ends(yard.store, taken)
            assert taken.done()
        assert ids(taken.result()) == [second]
    assert yard.due() == [first, second]


def test_two_runs_may_send_what_is_of_one_batch(yard: Yard) -> None:
    first = yard.accept("telegram", "email")
    second = f"{first[:-2]}-1"
    yard.send(first, Service(while_sending=lambda: yard.send(second, Service(), run_id="v")), run_id="w")
    assert yard.batch(first).wave_id == "w", "in which it was begun"
    yard.settler.so_far([first[:-2]])
    assert yard.batch(first).status == S.COMPLETED


# --- tasks that have not begun


def test_what_no_process_has_taken_waits_for_nobody(yard: Yard) -> None:
    """A task of another run is to be called after it, and stands in a queue that stands still."""
    delivery_id = yard.accept()
    assert [ref.delivery_id for ref in yard.plan("stands-still").work["telegram"]] == [delivery_id]
    with yard.process() as worker:
        (part,) = worker.lane("telegram").take(10)
        yard.send(part.delivery_id, Service(), run_id="goes-on", by=worker)
    assert yard.row(delivery_id).state == D.DELIVERED
    service = Service()
    yard.send(delivery_id, service, run_id="stands-still")
    assert service.got == []


def test_a_lane_for_which_tasks_wait_gets_no_more_until_they_have_begun(yard: Yard) -> None:
    yard.accept()
    yard.accept()
    assert yard.plan("first").count("telegram") == 2
    late = yard.accept()
    yard.clock.pass_s(60)
    assert yard.plan("second").count("telegram") == 0
    assert yard.ring() is None, "a run would find nothing to do"
    yard.begin_task("first")
    assert yard.plan("third").count("telegram") == 0, "another of them is still to begin"
    yard.begin_task("first")
    assert yard.ring() is not None
    assert late in [ref.delivery_id for ref in yard.plan("fourth").work["telegram"]]


@pytest.mark.parametrize("is_settled", [True, False], ids=["settled", "gone without a word"])
def test_a_lane_gets_tasks_again_once_the_run_is_over_for_whose_it_has_waited(yard: Yard, is_settled: bool) -> None:
    delivery_id = yard.accept()
    yard.plan("over")
    assert free_lanes(yard.store, will_begin=lambda run_id, kind: True) == 0
    assert yard.plan("next").count("telegram") == 0
    if is_settled:
        yard.settler.wave("over", Ending(critical="stopped"))
    else:
        assert free_lanes(yard.store, will_begin=lambda run_id, kind: False) == 1
    assert [ref.delivery_id for ref in yard.plan("next").work["telegram"]] == [delivery_id]


def test_a_plan_that_is_run_again_finds_that_it_is_its_own_tasks_that_wait(yard: Yard) -> None:
    yard.accept()
    assert yard.plan("w") == yard.plan("w")


def test_tasks_of_a_run_of_before_change_nothing_of_what_waits_for_another(yard: Yard) -> None:
    """One that comes late, or is cleared."""
    yard.accept()
    yard.plan("old")
    yard.settler.wave("old", Ending())
    yard.plan("new")
    yard.begin_task("old")
    yard.settler.wave("old", Ending())
    assert yard.plan("other").count("telegram") == 0


def test_the_batch_that_a_run_was_triggered_with_has_its_tasks_in_any_case(yard: Yard) -> None:
    yard.accept()
    yard.plan("waits")
    own = yard.accept("telegram", "email")
    made = yard.plan("own", own_batch_id=own[:-2])
    assert {kind: [ref.delivery_id for ref in refs] for kind, refs in made.work.items()} == {
        "telegram": [own],
        "email": [f"{own[:-2]}-1"],
    }
    assert yard.plan("third").count("telegram") == 0, "those of the other run wait as before"


def test_one_lanes_waiting_tasks_hold_up_no_other_lane(yard: Yard) -> None:
    for _ in range(5):  # amocrm's queue has no worker
        yard.accept("amocrm")
        yard.plan("amocrm-only")
    both = yard.accept("amocrm", "webhook")
    yard.clock.pass_s(60)
    made = yard.plan("w")
    assert [ref.delivery_id for ref in made.work["webhook"]] == [f"{both[:-2]}-1"]
    assert made.count("amocrm") == 0
    yard.begin_task("w", "webhook")
    assert yard.ring("webhook") is not None, "for what is due there no task waits"
    assert yard.ring("amocrm") is None


def test_few_have_a_task_each_and_many_as_many_as_there_are_slots_for(yard: Yard) -> None:
    yard.settings = Settings(pool_slots=2)
    few = [yard.accept() for _ in range(ONE_BY_ONE)]
    made = yard.plan("w")
    assert ([ref.delivery_id for ref in made.work["telegram"]], made.takers) == (few, {})
    for due, expected in ((5, Takers(count=1, due=5)), (60, Takers(count=2, due=60)), (130, Takers(count=2, due=100))):
        while len(yard.due()) < due:
            yard.inbox("telegram")
        made = yard.plan("w")
        assert (made.work, made.takers) == ({}, {"telegram": expected})
    assert MOST * yard.settings.pool_slots == 100


# --- what processes have died with


def test_what_a_process_has_died_with_comes_last_and_apart(yard: Yard) -> None:
    doubtful = yard.accept()
    assert yard.dies_with() == [doubtful]
    assert yard.due() == [], "nobody has taken over yet"
    assert take_over(yard.settler) == 1
    sound = yard.accept(priority="low")
    assert set(yard.due()) == {doubtful, sound}
    with yard.process() as worker:
        lane = worker.lane("telegram")
        assert (ids(lane.take(10)), ids(lane.take(10))) == ([sound], [])
        assert ids(lane.take_doubtful()) == [doubtful]
        yard.send(doubtful, Service(), by=worker)
    assert yard.row(doubtful).state == D.DELIVERED


def test_what_was_taken_and_never_begun_is_ended_after_so_many_deaths(yard: Yard) -> None:
    delivery_id = yard.accept()
    for number in range(yard.settings.max_claims):
        assert yard.row(delivery_id).state == D.PENDING
        assert yard.dies_with(are_doubtful=number > 0) == [delivery_id]
        assert take_over(yard.settler) == 1
    row, batch = yard.row(delivery_id), yard.batch(delivery_id)
    assert (row.state, row.error["code"], row.error["may_pass"]) == (D.FAILED, "not_begun", True)
    assert (batch.status, batch.critical) == (S.FAILED, DIED)
    assert yard.letters() == ["critical"]
    assert yard.due() == []


@pytest.mark.parametrize(("kind", "state"), [("telegram", D.UNKNOWN), ("webhook", D.FAILED)])
def test_what_was_being_sent_goes_on_in_doubt_until_it_has_no_tries_left(yard: Yard, kind: str, state: D) -> None:
    yard.settings = Settings(tries=2, notify_emails=("sales@example.com",))
    settler = replace(yard.settler, settings=yard.settings)
    delivery_id = yard.accept(kind)
    die_in_mid_air(yard.store, delivery_id, yard.clock)
    take_over(settler)
    row = yard.row(delivery_id)
    assert (row.state, row.in_doubt, row.losses) == (D.RETRYING, True, 1)
    assert yard.due(kind) == [delivery_id], "at once"
    die_in_mid_air(yard.store, delivery_id, yard.clock)
    take_over(settler)
    assert (yard.row(delivery_id).state, yard.row(delivery_id).error["code"]) == (state, "died")
    assert (yard.batch(delivery_id).status, yard.batch(delivery_id).critical) == (S.FAILED, DIED)


def test_an_attempt_that_comes_to_its_end_clears_what_was_counted(yard: Yard) -> None:
    delivery_id = yard.accept()
    yard.dies_with()
    take_over(yard.settler)
    assert yard.row(delivery_id).losses == 1
    yard.send(delivery_id, Service(answers=[Postponed("later", wait_s=60)]))
    yard.clock.pass_s(120)
    yard.send(delivery_id, Service(answers=[TransientError("later", retry_after_s=600)]))
    assert yard.row(delivery_id).losses == 0


def test_of_a_batch_that_was_cancelled_meanwhile_nothing_goes_on(yard: Yard) -> None:
    delivery_id = yard.accept()
    with yard.process() as worker:
        worker.lane("telegram").take(1)
        with yard.store.begin() as connection:
            ledger.begin(connection, delivery_id, lease=worker.lease, now=yard.clock())
        Canceller(store=yard.store, settings=yard.settings, clock=yard.clock).batch(delivery_id[:-2])
        assert yard.row(delivery_id).state == D.SENDING
    take_over(yard.settler)
    assert (yard.row(delivery_id).state, yard.batch(delivery_id).status) == (D.UNKNOWN, S.FAILED)
    assert yard.batch(delivery_id).critical is None


def test_what_is_cancelled_while_a_process_has_taken_it_is_not_sent(yard: Yard) -> None:
    delivery_id, service = yard.accept(), Service()
    with yard.process() as worker:
        (part,) = worker.lane("telegram").take(1)
        Canceller(store=yard.store, settings=yard.settings, clock=yard.clock).batch(delivery_id[:-2])
        yard.send(part.delivery_id, service, by=worker)
    assert (service.got, yard.row(delivery_id).state) == ([], D.CANCELLED)


def test_two_who_take_over_at_once_count_each_death_once(yard: Yard) -> None:
    accepted = [yard.accept() for _ in range(20)]
    assert yard.dies_with(20) == accepted
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: take_over(yard.settler), range(3)))
    assert sum(found) == 20
    assert {yard.row(delivery_id).losses for delivery_id in accepted} == {1}


def test_all_that_the_dead_have_left_is_taken_over_however_much_it_is(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadcast.flow.take_over.AT_ONCE", 2)
    accepted = [yard.accept() for _ in range(5)]
    yard.dies_with(5)
    assert take_over(yard.settler) == 5
    assert sorted(yard.due()) == sorted(accepted)


def test_of_a_worker_whose_row_is_gone_all_is_taken_over(yard: Yard) -> None:
    yard.accept()
    yard.dies_with()
    with yard.store.begin() as connection:
        connection.execute(workers.delete())
    assert take_over(yard.settler) == 1


def test_a_batch_whose_last_delivery_has_ended_with_its_process_gets_its_status(yard: Yard) -> None:
    ended, open_one = yard.accept(), yard.accept("telegram", "email")
    yard.send(ended, Service())
    yard.send(open_one, Service())
    assert yard.batch(ended).status == S.PROCESSING
    assert settle_left(yard.settler) == 1
    assert (yard.batch(ended).status, yard.batch(open_one).status) == (S.COMPLETED, S.PROCESSING)
    assert settle_left(yard.settler) == 0


# --- what goes wrong before anything is begun


def test_what_may_be_why_a_process_breaks_comes_last_and_is_ended_when_that_was_so_too_often(yard: Yard) -> None:
    delivery_id, sound = yard.accept(), yard.accept()
    for number in range(1, yard.settings.max_claims):
        blame(yard.settler, [delivery_id])
        assert (yard.row(delivery_id).state, yard.row(delivery_id).losses) == (D.PENDING, number)
    with yard.process() as worker:
        lane = worker.lane("telegram")
        assert (ids(lane.take(10)), ids(lane.take_doubtful())) == ([sound], [delivery_id])
    blame(yard.settler, [delivery_id])
    assert (yard.row(delivery_id).state, yard.row(delivery_id).error["code"]) == (D.FAILED, "not_begun")
    assert (yard.batch(delivery_id).status, yard.batch(delivery_id).critical) == (S.FAILED, DIED)
    assert yard.row(sound).losses == 0


def test_what_others_have_taken_or_begun_or_ended_since_is_not_blamed(yard: Yard) -> None:
    taken, begun, ended = (yard.accept() for _ in range(3))
    yard.send(ended, Service(answers=[RejectedError("no")]))
    yard.send(begun, Service(while_sending=lambda: blame(yard.settler, [begun])))
    with yard.process() as worker:
        assert ids(worker.lane("telegram").take(1)) == [taken]
        for _ in range(yard.settings.max_claims):
            blame(yard.settler, [taken, begun, ended])
    assert [yard.row(each).state for each in (taken, begun, ended)] == [D.PENDING, D.DELIVERED, D.FAILED]
    assert [yard.row(each).losses for each in (taken, begun, ended)] == [0, 0, 0]


def test_a_person_who_retries_what_was_ended_so_gives_it_new_tries(yard: Yard) -> None:
    delivery_id = yard.accept()
    with yard.store.begin() as connection:
        connection.execute(update(deliveries).values(losses=yard.settings.max_claims - 1))
    blame(yard.settler, [delivery_id])
    assert yard.row(delivery_id).state == D.FAILED
    Retrier(store=yard.store, settings=yard.settings, clock=yard.clock).batch(delivery_id[:-2])
    with yard.process() as worker:
        assert ids(worker.lane("telegram").take(10)) == [delivery_id]
        yard.send(delivery_id, Service(), by=worker)
    yard.settler.so_far([delivery_id[:-2]])
    assert (yard.batch(delivery_id).status, yard.batch(delivery_id).critical) == (S.COMPLETED, None)
