"""A process that sends many holds all that it has begun by one lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from leadcast.core.errors import LEASE_OVER, AttemptFailed, NotBegun, StoreError
from leadcast.core.model import DeliveryState, Receipt
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.deliver.worker import Worker
from leadcast.flow.inbox import Accepted
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import take_over
from leadcast.store.database import Store
from leadcast.store.lease import Lease
from leadcast.store.schema import deliveries, workers
from tests.support.leases import age
from tests.support.planned import plan

from .conftest import Service, StoppedClock

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
LEASE_S = 30


@pytest.fixture
def ids(accept: Accept, store: Store, settler: Settler, clock: StoppedClock) -> list[str]:
    """Deliveries that a run has tasks for."""
    made = [f"{accept('telegram').batch_id}-0" for _ in range(3)]
    plan(store, settler.settings, run_id="w", clock=clock)
    return made


@pytest.fixture
def worker(deliverer: Deliverer) -> Worker:
    return deliverer.new_worker()


@pytest.fixture
def lease(worker: Worker) -> Lease:
    return worker.lease


def deliver(deliverer: Deliverer, delivery_id: str, service: Service, worker: Worker | None) -> Receipt | None:
    return deliverer.deliver(delivery_id, integration=service, last_in_run=False, run_id="w", by=worker)


def count(store: Store) -> int:
    with store.begin() as connection:
        return connection.execute(select(func.count()).select_from(workers)).scalar_one()


def state(store: Store, delivery_id: str) -> Any:
    with store.begin() as connection:
        return connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).one()


def test_one_row_stands_for_all_that_it_sends(
    store: Store, deliverer: Deliverer, worker: Worker, lease: Lease, ids: list[str]
) -> None:
    seen: list[int] = []
    inner = Service(while_sending=lambda: seen.append(count(store)))
    outer = Service(while_sending=lambda: deliver(deliverer, ids[1], inner, worker))
    with lease.of_process():
        assert deliver(deliverer, ids[0], outer, worker)
        assert deliver(deliverer, ids[2], inner, worker)
        assert count(store) == 1, "what has ended ends it for none of the others"
    assert (seen, count(store)) == ([1, 1], 0)


def test_what_it_sends_nobody_else_begins_whatever_else_of_it_has_ended(
    store: Store, deliverer: Deliverer, worker: Worker, lease: Lease, ids: list[str]
) -> None:
    def others() -> None:
        deliver(deliverer, ids[1], Service(), worker)
        with pytest.raises(AttemptFailed, match="still on its way"):
            deliver(deliverer, ids[0], Service(), None)

    with lease.of_process():
        assert deliver(deliverer, ids[0], Service(while_sending=others), worker)


def test_what_breaks_it_off_leaves_what_is_on_its_way_held_until_the_lease_is_over(
    store: Store, deliverer: Deliverer, worker: Worker, lease: Lease, ids: list[str]
) -> None:
    class TimeOut(BaseException):
        pass

    with pytest.raises(TimeOut), lease.of_process():
        raise TimeOut
    assert count(store) == 1


def test_once_it_is_over_it_begins_nothing_more(
    store: Store, deliverer: Deliverer, worker: Worker, lease: Lease, ids: list[str]
) -> None:
    """Another may be at work on all that it has begun: a new process has a new lease."""
    service = Service()
    with lease.of_process():
        age(store, LEASE_S + 1)
        with pytest.raises(NotBegun, match="no sign of life"):
            deliver(deliverer, ids[0], service, worker)
        with store.begin() as connection, pytest.raises(StoreError):
            lease.take(connection)
    found = state(store, ids[0])
    assert (service.got, found.state, found.attempts) == ([], D.PENDING, 0)


def test_once_it_is_over_nothing_goes_out_that_was_begun(
    store: Store, deliverer: Deliverer, worker: Worker, lease: Lease, ids: list[str]
) -> None:
    service = Service()

    def loses_it() -> None:
        age(store, LEASE_S + 1)
        lease.renew()
        service.got[-1].pace()
        raise AssertionError("it went out")

    service.while_sending = loses_it
    with lease.of_process(), pytest.raises(AttemptFailed) as failed:
        deliver(deliverer, ids[0], service, worker)
    assert failed.value.error.code == LEASE_OVER


def test_a_process_that_is_told_to_end_leaves_to_others_what_it_has_not_sent(
    store: Store, deliverer: Deliverer, worker: Worker, lease: Lease, ids: list[str]
) -> None:
    service = Service()

    def told_to_end() -> None:
        lease.stop()
        service.got[-1].pace()
        raise AssertionError("it went out")

    service.while_sending = told_to_end
    with lease.of_process(), pytest.raises(AttemptFailed, match="told to end"):
        deliver(deliverer, ids[0], service, worker)
    found = state(store, ids[0])
    assert (found.state, found.in_doubt, found.tries, count(store)) == (D.RETRYING, False, 0, 0)


def test_what_it_has_taken_nobody_else_begins_and_at_its_end_what_it_has_not_begun_is_anybodys(
    store: Store, deliverer: Deliverer, worker: Worker, lease: Lease, ids: list[str]
) -> None:
    with lease.of_process():
        assert [part.delivery_id for part in worker.lane("telegram").take(2)] == sorted(ids)[:2]
        with pytest.raises(AttemptFailed, match="still on its way"):
            deliver(deliverer, sorted(ids)[0], Service(), None)
        assert deliver(deliverer, sorted(ids)[1], Service(), worker)
    first, second, third = (state(store, delivery_id) for delivery_id in sorted(ids))
    assert (first.state, second.state, third.state) == (D.PENDING, D.DELIVERED, D.PENDING)
    assert deliver(deliverer, first.id, Service(), None)


def test_what_a_process_had_taken_that_died_is_taken_over(
    store: Store, settler: Settler, worker: Worker, lease: Lease, ids: list[str]
) -> None:
    class Killed(BaseException):
        pass

    def takes_one_and_is_killed() -> None:
        with lease.of_process():
            worker.lane("telegram").take(1)
            raise Killed

    with pytest.raises(Killed):
        takes_one_and_is_killed()
    assert take_over(settler) == 0, "it may live"
    age(store, LEASE_S + 1)
    assert take_over(settler) == 1
    assert [state(store, delivery_id).losses for delivery_id in sorted(ids)] == [1, 0, 0]
    assert {(row.state, row.worker_id) for row in (state(store, each) for each in ids)} == {(D.PENDING, None)}
