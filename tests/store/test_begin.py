"""An attempt looks at the ledger, waits for its turn, and begins: then it sees what has happened meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from leadcast.control.cancel import Canceller
from leadcast.control.retry import Retrier
from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.ending import Ending
from leadcast.core.errors import Postponed, RejectedError, TransientError, UnknownOutcome
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.flow.deliver.admit import Admission
from leadcast.flow.settle import Settler
from tests.support.leases import run_out

from .conftest import Service, StoppedClock
from .ground import Ground
from .mortal_store import Place, Point, Process

pytestmark = pytest.mark.store
D, S = DeliveryState, BatchStatus
REFUSED = RejectedError("no such pipeline", code="400")
DOWN = TransientError("down", code="503")


def cleared_while_its_run_is_settled(
    ground: Ground, delivery_id: str, settler: Settler, service: Service, then: Callable[[], None] = lambda: None
) -> None:
    """A person clears its task; between the look at it and the beginning of its attempt its run is settled, and then
    that happens."""

    def happens() -> None:
        settler.wave("w", Ending())
        then()

    process = Process(ground.store, Point(Place.AFTER, 1), happens)
    ground.deliverer = replace(ground.deliverer, store=process.store)
    ground.attempt(delivery_id, service, asked=True)


@pytest.mark.parametrize("others", [[], ["webhook"]])
def test_a_cleared_task_that_dies_is_taken_over_though_its_run_was_settled_before_it_began(
    ground: Ground, settler: Settler, others: list[str]
) -> None:
    """Its batch had ended, or all that was open in it waited: it is open again, and goes on."""
    batch_id = ground.accept("webhook", *others).batch_id
    ground.plan("w")
    ground.attempt(f"{batch_id}-0", Service(answers=[REFUSED]))
    for index, _ in enumerate(others, start=1):
        ground.attempt(f"{batch_id}-{index}", Service(answers=[Postponed("later", wait_s=3600)]))
    settler.wave("w", Ending())

    seen: list[object] = []

    def is_taken_for_dead() -> None:
        run_out(ground.store)
        ground.sweep("w")
        seen.extend([ground.stands(f"{batch_id}-0"), ground.plan("x")])

    service = Service(while_sending=is_taken_for_dead)
    cleared_while_its_run_is_settled(ground, f"{batch_id}-0", settler, service)
    assert seen == [(S.PROCESSING, D.RETRYING), [f"{batch_id}-0"]]


def test_a_batch_has_not_ended_when_a_cleared_task_of_it_has_to_wait(
    ground: Ground, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(answers=[REFUSED]))
    settler.wave("w", Ending())

    def not_admitted(*args: object, **kwargs: object) -> None:
        raise Postponed("later", wait_s=3600)

    monkeypatch.setattr(Admission, "wait_for_turn", not_admitted)
    cleared_while_its_run_is_settled(ground, delivery_id, settler, Service())
    assert ground.stands(delivery_id) == (S.PROCESSING, D.RETRYING)


def test_what_is_retried_while_a_cleared_task_is_about_to_send_it_is_sent_once(
    ground: Ground, settler: Settler
) -> None:
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(answers=[REFUSED]))
    settler.wave("w", Ending())

    def is_retried() -> None:
        Retrier(store=ground.store, settings=ground.settings, clock=ground.deliverer.clock).batch(delivery_id[:-2])
        assert ground.plan("x") == [delivery_id]

    service = Service()
    cleared_while_its_run_is_settled(ground, delivery_id, settler, service, is_retried)
    ground.attempt(delivery_id, service, run_id="x")
    assert len(service.got) == 1
    settler.so_far([delivery_id[:-2]])
    assert ground.stands(delivery_id) == (S.COMPLETED, D.DELIVERED)


def test_what_a_person_has_asked_for_and_had_to_wait_is_sent_for_him_later(
    ground: Ground, settler: Settler, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as old as it was, and held for its age unless the ledger remembers that somebody wants it all the same."""
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(answers=[REFUSED]))
    settler.wave("w", Ending())
    clock.pass_s(ground.settings.hold_after_s + 1)

    def not_admitted(*args: object, **kwargs: object) -> None:
        raise Postponed("left alone", wait_s=60, code=WAITS_FOR_CIRCUIT)

    with monkeypatch.context() as left_alone:
        left_alone.setattr(Admission, "wait_for_turn", not_admitted)
        ground.attempt(delivery_id, Service(), asked=True)
    settler.wave("w", Ending())
    clock.pass_s(60)
    service = Service()
    assert ground.plan("x") == [delivery_id]
    ground.attempt(delivery_id, service, run_id="x")
    assert len(service.got) == 1


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("has_to_wait", [False, True])
def test_what_is_cancelled_between_the_look_and_the_attempt_is_not_sent(
    ground: Ground, settler: Settler, monkeypatch: pytest.MonkeyPatch, asked: bool, has_to_wait: bool
) -> None:
    """Since it may have arrived before it is `unknown` then, not cancelled; and not because somebody has decided."""
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(repeatable=True, answers=[UnknownOutcome("no answer")]))
    if asked:
        settler.wave("w", Ending())

    def not_admitted(*args: object, **kwargs: object) -> None:
        raise Postponed("later", wait_s=60)

    if has_to_wait:
        monkeypatch.setattr(Admission, "wait_for_turn", not_admitted)
    canceller = Canceller(store=ground.store, settings=ground.settings, clock=ground.deliverer.clock)
    process = Process(ground.store, Point(Place.AFTER, 1), lambda: canceller.batch(delivery_id[:-2]))
    ground.deliverer = replace(ground.deliverer, store=process.store)
    service = Service(repeatable=True, answers=[DOWN])
    ground.attempt(delivery_id, service, asked=asked)
    assert service.got == []
    assert ground.stands(delivery_id) == (S.FAILED, D.UNKNOWN)
