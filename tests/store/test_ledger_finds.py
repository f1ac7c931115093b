"""What the model of the ledger has found (test_ledger_model.py), each as the shortest way there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from leadcast.control.cancel import Canceller
from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import Postponed, RejectedError, TransientError, UnknownOutcome
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.flow.settle import Settler
from leadcast.store.batches import batches, ledger
from leadcast.store.database import Store
from tests.support.leases import dead, run_out

from .conftest import Service, StoppedClock
from .ground import Ground
from .mortal_store import Died, Place, Point, Process, dies

pytestmark = pytest.mark.store
D, S = DeliveryState, BatchStatus
DOWN = TransientError("down", code="503")
REFUSED = RejectedError("no such pipeline", code="400")


def test_who_settles_late_leaves_alone_what_is_to_be_sent_again(ground: Ground, settler: Settler) -> None:
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(answers=[REFUSED]))
    settler.wave("w", Ending())
    Retrier(store=ground.store, settings=ground.settings, clock=ground.deliverer.clock).batch(delivery_id[:-2])
    settler.so_far([delivery_id[:-2]])
    assert ground.stands(delivery_id) == (S.PENDING, D.PENDING)
    assert ground.plan("x") == [delivery_id]


def test_a_batch_whose_last_delivery_ends_while_its_run_is_settled_gets_its_status_from_the_sweep(
    ground: Ground, store: Store, settler: Settler
) -> None:
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(answers=[DOWN]))
    # what was open when settling began is delivered before it has its lock
    late = Process(store, Point(Place.AFTER, 1), lambda: ground.attempt(delivery_id, Service()))
    Settler(store=late.store, settings=ground.settings, clock=ground.deliverer.clock).wave("w", Ending())
    ground.sweep()
    assert ground.stands(delivery_id) == (S.COMPLETED, D.DELIVERED)


def test_a_cleared_task_whose_worker_dies_is_found_by_the_sweep(ground: Ground, settler: Settler, store: Store) -> None:
    delivery_id = ground.claimed("webhook")
    ground.attempt(delivery_id, Service(answers=[REFUSED]))
    settler.wave("w", Ending())

    process = Process(store, Point(Place.CALLED), dies)
    service = Service(while_sending=lambda: process.reach(Place.CALLED))
    ground.deliverer = replace(ground.deliverer, store=process.store)
    with suppress(Died):
        ground.attempt(delivery_id, service, asked=True)
    ground.sweep("w")
    assert ground.stands(delivery_id) == (S.PROCESSING, D.SENDING)
    run_out(store)
    ground.sweep("w")
    assert ground.stands(delivery_id) == (S.PROCESSING, D.RETRYING)
    assert ground.plan("x") == [delivery_id]


def test_a_slow_attempt_that_died_is_not_sent_again_before_its_call_can_no_longer_arrive(
    ground: Ground, clock: StoppedClock, store: Store
) -> None:
    delivery_id = ground.claimed("amocrm")
    with store.begin() as connection:
        ledger.begin(connection, delivery_id, lease=dead(store), now=clock())
    clock.pass_s(100)  # it had to wait for its turn between its calls, and died at the last one
    service = Service(can_find=True, absent_after_s=75)
    ground.attempt(delivery_id, service)
    assert service.got == []
    clock.pass_s(75 * 1.1)
    ground.attempt(delivery_id, service)
    assert len(service.got) == 1


def test_what_a_cleared_task_is_about_to_send_goes_on_though_its_run_is_settled_just_then(
    ground: Ground, store: Store, settler: Settler, clock: StoppedClock
) -> None:
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(answers=[Postponed("later", wait_s=3600)]))
    settler.wave("w", Ending())

    def settles() -> None:
        settler.wave("w", Ending())

    process = Process(store, Point(Place.AFTER, 1), settles)
    service = Service(answers=[DOWN])
    whole, ground.deliverer = ground.deliverer, replace(ground.deliverer, store=process.store)
    ground.attempt(delivery_id, service, asked=True)
    ground.deliverer = whole
    ground.sweep("w")
    assert len(service.got) == 1
    assert ground.stands(delivery_id) == (S.PROCESSING, D.RETRYING)
    clock.pass_s(60)  # and not an hour
    assert ground.plan("x") == [delivery_id]


def test_who_plans_does_not_wait_for_a_batch_that_somebody_is_about_to_begin(ground: Ground, store: Store) -> None:
    delivery_id = f"{ground.accept('telegram').batch_id}-0"
    with store.begin() as connection:
        batches.lock(connection, batch_id=delivery_id[:-2])
        assert ground.plan("w") == [delivery_id]
    assert ground.stands(delivery_id) == (S.PENDING, D.PENDING)


def taken_over(ground: Ground, delivery_id: str, service: Service, then: Callable[[], None]) -> None:
    """An attempt that is frozen until its lease is over, while its service is called; then that happens, and it goes
    on."""

    def freeze() -> None:
        run_out(ground.store)
        then()

    service.while_sending = freeze
    ground.attempt(delivery_id, service)


def test_an_attempt_that_was_given_up_for_dead_and_has_delivered_has_delivered(
    ground: Ground, settler: Settler
) -> None:
    delivery_id = ground.claimed()
    taken_over(ground, delivery_id, Service(), lambda: ground.sweep("w"))
    settler.so_far([delivery_id[:-2]])
    assert ground.stands(delivery_id) == (S.COMPLETED, D.DELIVERED)


def test_an_attempt_that_was_given_up_for_dead_and_dies_after_it_has_delivered_leaves_its_batch_to_the_sweep(
    ground: Ground,
) -> None:
    delivery_id = ground.claimed()
    taken_over(ground, delivery_id, Service(), lambda: ground.sweep("w"))
    ground.sweep("w")
    assert ground.stands(delivery_id) == (S.COMPLETED, D.DELIVERED)


def test_an_attempt_that_was_given_up_for_dead_does_not_open_what_has_ended(ground: Ground, settler: Settler) -> None:
    delivery_id = ground.claimed()

    def ends() -> None:
        ground.sweep("w")
        ground.attempt(delivery_id, Service(), run_id="x")  # which cannot be asked
        settler.so_far([delivery_id[:-2]])

    taken_over(ground, delivery_id, Service(answers=[DOWN]), ends)
    assert ground.stands(delivery_id) == (S.FAILED, D.UNKNOWN)


def test_an_attempt_that_was_given_up_for_dead_leaves_alone_what_the_next_one_has_written(ground: Ground) -> None:
    delivery_id = ground.claimed("webhook")
    taken_over(
        ground,
        delivery_id,
        Service(repeatable=True, answers=[UnknownOutcome("no answer")]),
        lambda: ground.attempt(delivery_id, Service(repeatable=True)),
    )
    assert ground.stands(delivery_id)[1] is D.DELIVERED


def test_a_webhook_that_may_have_arrived_is_not_called_cancelled_after_a_person_had_it_sent_again(
    ground: Ground,
) -> None:
    """Nobody need decide about what can be repeated, so a retry is no answer to the question whether it arrived."""
    delivery_id = ground.claimed("webhook")
    parts: dict[str, Any] = {"store": ground.store, "settings": ground.settings, "clock": ground.deliverer.clock}
    ground.attempt(delivery_id, Service(repeatable=True, answers=[UnknownOutcome("no answer")]))
    Canceller(**parts).batch(delivery_id[:-2])
    assert ground.stands(delivery_id) == (S.FAILED, D.UNKNOWN)
    Retrier(**parts).batch(delivery_id[:-2])
    ground.plan("x")
    ground.attempt(delivery_id, Service(repeatable=True, answers=[DOWN]), run_id="x")
    Canceller(**parts).batch(delivery_id[:-2])
    assert ground.stands(delivery_id) == (S.FAILED, D.UNKNOWN)


def test_a_webhook_that_may_have_arrived_is_not_called_cancelled_after_a_person_had_cleared_its_task(
    ground: Ground,
) -> None:
    delivery_id = ground.claimed("webhook")
    canceller = Canceller(store=ground.store, settings=ground.settings, clock=ground.deliverer.clock)
    ground.attempt(delivery_id, Service(repeatable=True, answers=[UnknownOutcome("no answer")]))
    canceller.batch(delivery_id[:-2])
    ground.attempt(delivery_id, Service(repeatable=True, answers=[DOWN]), asked=True)
    ground.sweep("w")
    assert ground.stands(delivery_id) == (S.FAILED, D.UNKNOWN)


def test_a_cancel_that_dies_before_the_batch_has_its_status_leaves_it_to_the_sweep(
    ground: Ground, store: Store, settler: Settler
) -> None:
    """What waited is cancelled now: no later wave has a task for anything of its batch."""
    delivery_id = ground.claimed("webhook")
    later = TransientError("greylisted", code="450", retry_after_s=600, counts=False)
    ground.attempt(delivery_id, Service(repeatable=True, answers=[later]))
    settler.wave("w", Ending())

    process = Process(store, Point(Place.AFTER, 1), dies)
    with suppress(Died):
        Canceller(store=process.store, settings=ground.settings, clock=ground.deliverer.clock).batch(delivery_id[:-2])
    assert ground.stands(delivery_id) == (S.PROCESSING, D.CANCELLED)
    ground.sweep("w")
    assert ground.stands(delivery_id) == (S.CANCELLED, D.CANCELLED)


def test_a_clear_that_was_seen_to_counts_no_more_when_another_run_has_sent_it_since(
    ground: Ground, settler: Settler
) -> None:
    """The engine may start the task of the first run again, since it has lost sight of it; nobody wants it sent."""
    delivery_id = ground.claimed()
    parts: dict[str, Any] = {"store": ground.store, "settings": ground.settings, "clock": ground.deliverer.clock}
    ground.attempt(delivery_id, Service(answers=[REFUSED]), asked=True, asked_by="w:1")
    settler.wave("w", Ending())
    Retrier(**parts).batch(delivery_id[:-2])
    ground.plan("x")
    ground.attempt(delivery_id, Service(answers=[UnknownOutcome("no answer")]), run_id="x", asked_by="x:0")
    Canceller(**parts).batch(delivery_id[:-2])

    service = Service()
    ground.attempt(delivery_id, service, asked=True, asked_by="w:1")
    assert service.got == []
