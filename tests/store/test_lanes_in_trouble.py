"""Lanes where something is amiss: a queue that stands still, a store in trouble, rows of an older version, people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import RejectedError
from leadcast.core.model import DeliveryState
from leadcast.flow.deliver.chunk import Part
from leadcast.flow.deliver.worker import NOT_BEGUN_PAUSE, OVERDUE_AFTER
from leadcast.integrations import registry
from leadcast.store.batches import lanes
from leadcast.store.schema import deliveries
from leadcast.store.schema import lanes as lane_rows

from .conftest import Service, waits_or_ends
from .test_lanes import Yard, yard

__all__ = ["yard"]
pytestmark = pytest.mark.store
D = DeliveryState


def batch_of(delivery_id: str) -> str:
    return delivery_id.rpartition("-")[0]


def test_a_run_of_its_own_has_no_task_where_a_queue_stands_still_and_the_lead_goes_out_when_it_is_back(
    yard: Yard,
) -> None:
    """Else each of many such runs would wait, until Airflow has no place for any other run."""
    yard.accept("telegram")
    yard.plan("stands-still")
    yard.clock.pass_s(lanes.STILL_AFTER.total_seconds() + 1)
    own = yard.accept("telegram", "webhook")
    planned = yard.plan("own", own_batch_id=batch_of(own))
    assert set(planned.work) == {"webhook"}
    yard.begin_task("stands-still")
    assert own in yard.due()


def test_for_a_moment_a_run_of_its_own_has_its_task_beside_one_that_waits(yard: Yard) -> None:
    yard.accept("telegram")
    yard.plan("first")
    own = yard.accept("telegram")
    assert [ref.delivery_id for ref in yard.plan("own", own_batch_id=batch_of(own)).work["telegram"]] == [own]


def test_what_has_failed_is_sent_again_by_a_run_that_is_cleared_though_its_queue_stands_still(yard: Yard) -> None:
    """It is in no lane: nobody else would."""
    delivery_id = yard.accept("telegram")
    yard.send(delivery_id, Service(answers=[RejectedError("no", code="400")]), run_id="cleared")
    yard.settler.wave("cleared", Ending())
    yard.accept("telegram")
    yard.plan("stands-still")
    yard.clock.pass_s(lanes.STILL_AFTER.total_seconds() + 1)
    assert [ref.delivery_id for ref in yard.plan("cleared").work["telegram"]] == [delivery_id]


def test_of_very_many_that_have_failed_a_cleared_run_has_as_many_tasks_as_airflow_takes(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadcast.flow.plan.MAX_OWN", 2)
    failed = [yard.accept("telegram") for _ in range(3)]
    for delivery_id in failed:
        yard.send(delivery_id, Service(answers=[RejectedError("no", code="400")]), run_id="cleared")
    yard.settler.wave("cleared", Ending())
    assert [ref.delivery_id for ref in yard.plan("cleared").work["telegram"]] == failed[:2]


def test_what_a_person_has_seen_to_is_not_sent_whichever_run_has_begun_its_batch(yard: Yard) -> None:
    first = yard.accept("telegram", "webhook")
    marked = f"{batch_of(first)}-1"
    yard.send(first, Service(), run_id="another")
    yard.settler.wave("w", Ending(given_up=lambda: {marked}))
    assert yard.row(marked).state == D.FAILED
    assert yard.batch(first).status == "partial"


def test_what_a_person_has_wanted_sent_since_is_not_ended_by_the_run_that_was_marked(yard: Yard) -> None:
    delivery_id = yard.accept("telegram")
    made = yard.clock()
    yard.send(delivery_id, Service(answers=[RejectedError("no", code="400")]))
    yard.settler.wave("w", Ending())
    yard.clock.pass_s(1)
    Retrier(store=yard.store, settings=yard.settings, clock=yard.clock).batch(batch_of(delivery_id))
    yard.settler.wave("w", Ending(given_up=lambda: {delivery_id}, since=made))
    assert yard.row(delivery_id).state == D.PENDING


def test_what_a_person_has_seen_to_before_it_was_begun_no_other_task_sends(yard: Yard) -> None:
    delivery_id = yard.accept("telegram")
    yard.settler.wave("w", Ending(given_up=lambda: {delivery_id}))
    service = Service()
    yard.send(delivery_id, service, run_id="another")
    assert service.got == []
    assert yard.row(delivery_id).state == D.FAILED


def test_what_could_not_be_begun_is_others_a_moment_later_though_its_process_lives(yard: Yard) -> None:
    yard.accept("telegram")
    with yard.process() as worker:
        lane = worker.lane("telegram")
        (part,) = lane.take(1)
        assert yard.due() == []
        lane.drop(part)
        yard.clock.pass_s(NOT_BEGUN_PAUSE.total_seconds())
        assert yard.due() == [part.delivery_id]


def test_what_another_has_taken_since_is_not_given_back(yard: Yard) -> None:
    delivery_id = yard.accept("telegram")
    with yard.process() as late, yard.process() as worker:
        worker.lane("telegram").take(1)
        late.lane("telegram").drop(Part(delivery_id, batch_of(delivery_id)))
        assert yard.due() == []


def test_what_a_process_has_died_with_is_looked_for_first_once_it_has_been_due_for_long(yard: Yard) -> None:
    doubtful = yard.accept("telegram")
    yard.dies_with()
    yard.clock.pass_s(1)
    with yard.store.begin() as connection:
        lost = update(deliveries).where(deliveries.c.id == doubtful)
        connection.execute(lost.values(worker_id=None, losses=1))
    with yard.process() as worker:
        assert worker.lane("telegram").take_overdue() == []
        yard.clock.pass_s(OVERDUE_AFTER.total_seconds())
        assert [part.delivery_id for part in worker.lane("telegram").take_overdue()] == [doubtful]


def test_a_row_of_before_lists_is_taken_with_the_others(yard: Yard) -> None:
    ids = [yard.accept("telegram") for _ in range(2)]
    with yard.store.begin() as connection:
        connection.execute(update(deliveries).where(deliveries.c.id == ids[1]).values(listed_at=None))
    with yard.process() as worker:
        assert {part.delivery_id for part in worker.lane("telegram").take(2)} == set(ids)


def test_a_run_that_ends_and_a_plan_lock_the_lanes_in_one_order(yard: Yard) -> None:
    for kind in registry.types():
        yard.accept(kind)
    yard.plan("ends")
    with yard.store.begin() as connection:  # so that the last of them comes first in the table
        for kind in sorted(registry.types(), reverse=True):
            connection.execute(update(lane_rows).where(lane_rows.c.type == kind).values(waiting=2))

    def end() -> None:
        with yard.store.begin() as connection:
            lanes.give_up(connection, run_id="ends")

    with ThreadPoolExecutor(2) as pool:
        with yard.store.begin() as connection:
            connection.execute(select(lane_rows).where(lane_rows.c.type == "telegram").with_for_update())
            planning = pool.submit(yard.plan, "next")
            waits_or_ends(yard.store, planning)
            ending = pool.submit(end)
            waits_or_ends(yard.store, ending)
        planning.result()
        ending.result()


def test_what_is_not_installed_rings_for_nobody(yard: Yard) -> None:
    delivery_id = yard.accept("telegram")
    with yard.store.begin() as connection:
        gone = update(deliveries).where(deliveries.c.id == delivery_id)
        long_ago = yard.clock() - timedelta(days=1)
        connection.execute(gone.values(type="fax", state=D.RETRYING, round_at=long_ago, next_attempt_at=long_ago))
    assert yard.ring() is None
