"""Room: the waves together hold no more than they can begin soon, of what comes as of what has waited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select, update

from leadcast.core.ending import Ending
from leadcast.core.errors import RateLimited
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.settings import Settings
from leadcast.engine.runs.ended import TIMED_OUT
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.plan import Plan, plan, ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.store.batches import room
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries, notifications

from .conftest import Service, StoppedClock
from .ground import Ground

pytestmark = pytest.mark.store
D, S = DeliveryState, BatchStatus
SMALL = Settings(pool_slots=1, wave_timeout_s=60, notify_emails=("sales@example.com",))
"""Room for three of each integration: in half a minute, one slot begins so many."""
IN_AN_HOUR = RateLimited("wait", retry_after_s=3600)


@dataclass(frozen=True)
class Yard:
    """Waves that have little room."""

    ground: Ground
    clock: StoppedClock

    def accept(self, *types: str) -> str:
        self.clock.pass_s(1)
        return self.ground.accept(*types).batch_id

    def plan(self, run_id: str) -> Plan:
        return plan(self.ground.store, SMALL, run_id=run_id, clock=self.clock)

    def ids(self, run_id: str) -> list[str]:
        return [ref.delivery_id for refs in self.plan(run_id).work.values() for ref in refs]

    def ring(self) -> str | None:
        return ring_for_rest(self.ground.store, SMALL, clock=self.clock)

    def time_out(self, run_id: str) -> None:
        self.ground.settler.wave(run_id, Ending(critical=TIMED_OUT, requeue_begun=True))

    def waiting(self, count: int, *types: str, due_in_s: float = 0, waits_for: str = "service") -> list[str]:
        """Batches that were let go, since the first delivery of each waits."""
        ids = [self.accept(*types) for _ in range(count)]
        with self.ground.store.begin() as connection:
            connection.execute(
                update(batches)
                .where(batches.c.id.in_(ids))
                .values(status=S.PROCESSING, let_go=True, wave_id="old", started_at=self.clock())
            )
            first = deliveries.c.id.in_([f"{batch_id}-0" for batch_id in ids])
            due_at = self.clock.now.__class__.fromtimestamp(self.clock().timestamp() + due_in_s, self.clock().tzinfo)
            connection.execute(
                update(deliveries)
                .where(first)
                .values(state=D.RETRYING, waits_for=waits_for, round_at=self.clock(), next_attempt_at=due_at)
            )
        return ids

    def taken(self, kind: str) -> int:
        with self.ground.store.begin() as connection:
            return room.claimed(connection, now=self.clock())[kind]

    def batch(self, batch_id: str) -> tuple[str, str | None, bool, int]:
        with self.ground.store.begin() as connection:
            row = connection.execute(select(batches).where(batches.c.id == batch_id)).one()
        return row.status, row.wave_id, row.let_go, row.claims

    def delivery(self, delivery_id: str) -> tuple[str, str | None]:
        with self.ground.store.begin() as connection:
            row = connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()
        return row.state, row.waits_for

    def letters(self) -> list[str]:
        with self.ground.store.begin() as connection:
            rows = connection.execute(select(notifications.c.payload).where(notifications.c.channel == "email"))
            return [row.payload["reason"] for row in rows]


@pytest.fixture
def yard(
    store: Store, deliverer: Deliverer, settler: Settler, accept: Callable[..., Accepted], clock: StoppedClock
) -> Yard:
    deliverer, settler = replace(deliverer, settings=SMALL), replace(settler, settings=SMALL)
    return Yard(Ground(store, SMALL, deliverer, settler, accept), clock)


def test_what_has_waited_and_is_due_all_at_once_fills_the_room_and_no_more(yard: Yard) -> None:
    yard.waiting(10, "telegram")
    first = yard.ids("w0")
    assert (len(first), yard.taken("telegram")) == (3, 3)
    assert yard.ids("w1") == []
    assert yard.ring() is None, "a run of the rest would be for nothing"
    yard.ground.attempt(first[0], Service(), run_id="w0")
    assert len(yard.ids("w2")) == 1


def test_of_those_a_run_that_times_out_is_told_once_and_how_many_it_had_not_begun(yard: Yard) -> None:
    ids = yard.waiting(10, "telegram")
    for number in range(4):
        yard.ids(f"w{number}")
    yard.clock.pass_s(61)
    for number in range(4):
        if number == 0 or yard.taken("telegram"):
            yard.time_out(f"w{number}")
    (letter,) = yard.letters()
    assert "had not begun: 3" in letter
    assert {yard.batch(batch_id)[2] for batch_id in ids} == {True}


def test_what_was_given_back_with_tries_left_fills_the_room_and_no_more(yard: Yard) -> None:
    for number in range(3):
        yard.accept("telegram")
        (delivery_id,) = yard.ids(f"w{number}")
        yard.ground.attempt(delivery_id, Service(answers=[RateLimited("wait", retry_after_s=20)]), run_id=f"w{number}")
        yard.accept("telegram")
        (delivery_id,) = yard.ids(f"x{number}")
        yard.ground.attempt(delivery_id, Service(answers=[RateLimited("wait", retry_after_s=20)]), run_id=f"x{number}")
        yard.time_out(f"w{number}")
        yard.time_out(f"x{number}")
    yard.clock.pass_s(60)
    assert len(yard.ids("y0")) == 3
    assert yard.ids("y1") == []


def test_what_waits_on_in_a_batch_that_a_wave_holds_takes_no_room(yard: Yard) -> None:
    batch_id = yard.accept("telegram", "email")
    yard.ids("w0")
    yard.ground.attempt(f"{batch_id}-0", Service(answers=[IN_AN_HOUR]), run_id="w0")
    assert (yard.taken("telegram"), yard.taken("email")) == (0, 1)


def test_a_batch_is_claimed_for_what_is_due_and_not_for_what_waits_on(yard: Yard) -> None:
    for _ in range(3):
        yard.accept("telegram")
    assert len(yard.ids("w0")) == 3
    ids = yard.waiting(2, "email", "telegram", due_in_s=3600)
    with yard.ground.store.begin() as connection:  # given back: its telegram was never begun, and its email waits
        connection.execute(
            update(batches).where(batches.c.id == ids[0]).values(status=S.PENDING, let_go=False, wave_id=None)
        )
    (due,) = yard.waiting(1, "telegram", "email")
    with yard.ground.store.begin() as connection:  # its email waits on
        values = {"state": D.RETRYING, "waits_for": "limit", "next_attempt_at": yard.clock().replace(hour=23)}
        connection.execute(update(deliveries).where(deliveries.c.id == f"{due}-1").values(**values))
    assert yard.ids("w1") == [], "telegram is full, and no email is due"
    assert [yard.batch(batch_id)[0] for batch_id in (ids[0], due)] == [S.PENDING, S.PROCESSING]
    assert yard.batch(due)[2], "it is let go as before"


def test_what_has_waited_and_does_not_fit_into_a_wave_goes_to_the_next(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadcast.flow.plan.MAX_MAPPED", 1)
    waited, mixed = yard.waiting(1, "telegram")[0], yard.waiting(1, "telegram", "email")[0]
    last = yard.waiting(1, "telegram")[0]
    assert yard.ids("w0") == [f"{waited}-0"]
    assert [yard.batch(batch_id)[2] for batch_id in (waited, last)] == [False, True]
    assert yard.batch(mixed)[:2] == (S.PENDING, None)
    assert yard.ids("w1") == [f"{mixed}-0", f"{mixed}-1"]
    assert yard.ids("w2") == [f"{last}-0"]


def test_a_pause_that_a_service_asked_for_outlives_the_run(yard: Yard) -> None:
    batch_id = yard.accept("telegram")
    assert yard.ids("w0") == [f"{batch_id}-0"]
    service = Service(answers=[RateLimited("wait", retry_after_s=40)])
    yard.ground.attempt(f"{batch_id}-0", service, run_id="w0")
    yard.clock.pass_s(2)
    yard.time_out("w0")
    assert yard.batch(batch_id) == (S.PROCESSING, "w0", True, 0)
    assert yard.ring() is None, "nothing is due"
    assert yard.ids("w1") == []
    yard.ground.attempt(f"{batch_id}-0", service, run_id="w1")  # whatever Airflow starts
    assert len(service.got) == 1
    yard.clock.pass_s(45)
    assert yard.ring() is not None
    assert yard.ids("w2") == [f"{batch_id}-0"]
    yard.ground.attempt(f"{batch_id}-0", service, run_id="w2")
    assert yard.delivery(f"{batch_id}-0") == (D.DELIVERED, None)


def test_it_does_not_keep_the_rest_of_its_batch_waiting(yard: Yard) -> None:
    batch_id = yard.accept("telegram", "email")
    yard.ids("w0")
    service = Service(answers=[RateLimited("wait", retry_after_s=40)])
    yard.ground.attempt(f"{batch_id}-0", service, run_id="w0")
    yard.time_out("w0")
    assert yard.batch(batch_id)[:2] == (S.PENDING, None)
    assert yard.ids("w1") == [f"{batch_id}-1"]
    yard.ground.attempt(f"{batch_id}-1", Service(), run_id="w1")
    yard.ground.settler.so_far([batch_id])
    assert yard.batch(batch_id)[2], "it waits for its telegram alone"
    yard.clock.pass_s(45)
    assert yard.ids("w2") == [f"{batch_id}-0"]


def test_a_wave_that_dies_again_and_again_is_counted_also_where_its_batch_waits(yard: Yard) -> None:
    """Its plan fails, or all of its tasks were tried: what it has not begun may be what it fails by."""
    batch_id = yard.accept("telegram")
    yard.ids("w0")
    yard.ground.attempt(f"{batch_id}-0", Service(answers=[RateLimited("wait", retry_after_s=40)]), run_id="w0")
    yard.ground.settler.wave("w0", Ending(requeue_begun=True, had_its_chance=True))
    assert yard.batch(batch_id) == (S.PROCESSING, "w0", True, 1)
