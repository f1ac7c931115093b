"""An account that fails in a row is left alone: its deliveries wait, people hear of it once, it closes by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed, CredentialsError, Gone, RejectedError, TransientError
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.settings import Settings
from leadcast.engine.dags.sweep_steps import pick_up
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.plan import ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.store.accounts import circuits
from leadcast.store.batches import snapshots, views
from leadcast.store.database import Store
from leadcast.store.schema import notifications
from tests.support.by_hand import by_hand
from tests.support.planned import plan

from .conftest import Service, StoppedClock

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
REFUSED = CredentialsError("The service does not take the token (401).", code="401")
AWAY = TransientError("Cannot reach it; nothing was sent.", code="unreachable")


@pytest.fixture
def send(accept: Accept, deliverer: Deliverer, store: Store) -> Callable[..., views.DeliveryView]:
    """A new lead to the service, one attempt; how its delivery stands then."""

    def send(service: Service, *, via: Deliverer = deliverer) -> views.DeliveryView:
        return again(f"{accept('telegram').batch_id}-0", service, via=via)

    def again(delivery_id: str, service: Service, *, via: Deliverer = deliverer) -> views.DeliveryView:
        with suppress(AttemptFailed):
            via.deliver(delivery_id, integration=service, last_in_run=False, action=by_hand(via))
        with store.begin() as connection:
            batch = views.batch(connection, delivery_id.rpartition("-")[0])
        assert batch is not None
        return batch.deliveries[0]

    send.again = again  # type: ignore[attr-defined]
    return send


def told(store: Store) -> list[str]:
    with store.begin() as connection:
        query = select(notifications.c.payload).where(notifications.c.occasion == "account")
        return [row.payload["reason"] for row in connection.execute(query)]


@pytest.mark.parametrize("error", [REFUSED, AWAY])
def test_after_five_failures_in_a_row_deliveries_wait_and_the_service_is_not_asked(
    store: Store, send: Any, error: Exception
) -> None:
    service = Service(answers=[error] * 5)
    for _ in range(5):
        send(service)
    waiting = send(service)
    assert (waiting.state, waiting.waits_for, waiting.attempts) == (D.RETRYING, "circuit", 0)
    assert len(service.got) == 5
    (words,) = told(store)
    assert "5" in words
    assert "scripted" in words


def test_a_long_reason_is_told_to_its_end(store: Store, send: Any) -> None:
    reason = f"The mail server puts off 1 of 9 recipients: {'a***@example.com (450), ' * 15}; nobody was mailed."
    service = Service(answers=[TransientError(reason, code="unreachable")] * 5)
    for _ in range(5):
        send(service)
    (words,) = told(store)
    assert reason in words


def test_the_delivery_that_opens_it_waits_too(send: Any) -> None:
    service = Service(answers=[REFUSED] * 5)
    states = [send(service).state for _ in range(5)]
    assert states == [D.FAILED] * 4 + [D.RETRYING]


def test_what_is_said_of_the_account_itself_opens_it_at_once_and_costs_no_lead(
    store: Store, send: Any, clock: StoppedClock, settings: Settings
) -> None:
    over = CredentialsError("The subscription is over (244).", code="244", for_all=True)
    service = Service(answers=[over])
    first, other = send(service), send(service)
    assert [(item.state, item.waits_for) for item in (first, other)] == [(D.RETRYING, "circuit")] * 2
    assert len(service.got) == 1
    (words,) = told(store)
    assert "The subscription is over" in words
    clock.pass_s(settings.circuit_open_s)
    assert [send.again(item.id, service).state for item in (first, other)] == [D.DELIVERED] * 2
    assert len(told(store)) == 1


def test_a_success_or_a_refused_lead_in_between_begins_the_count_anew(store: Store, send: Any) -> None:
    service = Service(answers=[*[REFUSED] * 4, RejectedError("no such field"), *[REFUSED] * 4, None, *[REFUSED] * 4])
    assert send(Service(answers=[])).state is D.DELIVERED
    for _ in range(14):
        assert send(service).waits_for is None
    assert told(store) == []


def test_when_the_time_is_over_one_goes_as_a_probe_and_after_its_success_all_go_on(
    store: Store, send: Any, clock: StoppedClock, settings: Settings
) -> None:
    service = Service(answers=[REFUSED] * 5)
    for _ in range(5):
        send(service)
    waiting = [send(service) for _ in range(3)]
    clock.pass_s(settings.circuit_open_s)
    assert send(service).state is D.DELIVERED
    assert len(service.got) == 6
    with store.begin() as connection:
        assert circuits.listing(connection) == []
    assert [send.again(item.id, service).state for item in waiting] == [D.DELIVERED] * 3


def test_while_the_probe_is_on_its_way_the_others_wait(send: Any, clock: StoppedClock, settings: Settings) -> None:
    service = Service(answers=[AWAY] * 5)
    for _ in range(5):
        send(service)
    clock.pass_s(settings.circuit_open_s)
    meanwhile: list[views.DeliveryView] = []
    service.while_sending = lambda: meanwhile.append(send(Service()))
    service.answers = [AWAY]
    send(service)
    assert meanwhile[0].waits_for == "circuit"


def test_a_probe_that_fails_keeps_it_open_for_longer_and_people_hear_nothing_new(
    store: Store, send: Any, clock: StoppedClock, settings: Settings
) -> None:
    service = Service(answers=[REFUSED] * 20)
    for _ in range(5):
        send(service)
    pauses = []
    for _ in range(3):
        with store.begin() as connection:
            (found,) = circuits.listing(connection)
        assert found.until is not None
        pauses.append((found.until - clock()).total_seconds())
        clock.pass_s(pauses[-1])
        assert send(service).waits_for == "circuit", "a probe burns no lead"
    assert pauses == [60, 120, 240]
    assert len(told(store)) == 1


def test_another_account_of_the_same_service_is_not_concerned(send: Any, deliverer: Deliverer) -> None:
    service = Service(answers=[REFUSED] * 5)
    for _ in range(5):
        send(service)

    class Other(Service):
        def identity(self, account: Any) -> Any:
            return ("another token",)

    assert send(Other()).state is D.DELIVERED


def test_what_waits_outlives_its_run_and_is_sent_by_later_ones(
    store: Store, accept: Accept, deliverer: Deliverer, settler: Settler, settings: Settings, clock: StoppedClock
) -> None:
    def carry(delivery_id: str, run_id: str) -> None:
        deliverer.deliver(delivery_id, integration=service, last_in_run=False, run_id=run_id)

    waiting = [f"{accept('telegram').batch_id}-0" for _ in range(6)]
    plan(store, settings, run_id="run-1", clock=clock)
    service = Service(answers=[REFUSED] * 5)
    for delivery_id in waiting:
        with pytest.raises(AttemptFailed):
            carry(delivery_id, "run-1")
    settled = {item.batch_id: item.status for item in settler.wave("run-1", Ending(critical="the run timed out"))}
    statuses = [settled[delivery_id[:-2]] for delivery_id in waiting]
    assert statuses == [BatchStatus.FAILED] * 4 + [BatchStatus.PROCESSING] * 2
    pick_up(settler)
    assert ring_for_rest(store, settings, clock=clock) is None, "nothing is due yet"

    clock.pass_s(settings.circuit_open_s)
    assert ring_for_rest(store, settings, clock=clock) is not None
    (probe,) = plan(store, settings, run_id="run-2", clock=clock).work["telegram"]
    carry(probe.delivery_id, "run-2")
    (other,) = plan(store, settings, run_id="run-3", clock=clock).work["telegram"]
    assert {probe.delivery_id, other.delivery_id} == set(waiting[4:])
    carry(other.delivery_id, "run-3")
    settler.so_far([probe.batch_id, other.batch_id])
    with store.begin() as connection:
        done = snapshots.of_batches(connection, batch_ids=[probe.batch_id, other.batch_id])
    assert [item.status for item in done] == [BatchStatus.COMPLETED] * 2


def test_after_four_hours_a_delivery_no_longer_waits(send: Any, clock: StoppedClock, settings: Settings) -> None:
    service = Service(answers=[REFUSED] * 200)
    for _ in range(5):
        send(service)
    waiting = send(service)
    for _ in range(60):
        clock.pass_s(settings.circuit_longest_s)
        waiting = send.again(waiting.id, service)
        if waiting.state.is_final:
            break
    assert waiting.state is D.FAILED
    assert waiting.error is not None
    assert waiting.error["class"] == "CredentialsError"


def test_a_receiver_that_is_gone_is_sent_nothing_until_a_person_says_so(
    store: Store, send: Any, clock: StoppedClock
) -> None:
    service = Service(answers=[Gone("It wants no more (410).", code="410")])
    assert send(service).state is D.FAILED
    clock.pass_s(10 * 86400)
    refused = send(service)
    assert (refused.state, len(service.got)) == (D.FAILED, 1)
    assert refused.error is not None
    assert refused.error["code"] == "stopped"
    (words,) = told(store)
    assert "410" in words
    with store.begin() as connection:
        (found,) = circuits.listing(connection)
        assert circuits.close(connection, found.account.id[:8], now=clock())
    assert send(service).state is D.DELIVERED


def test_two_failures_at_the_same_moment_open_it_once(store: Store, send: Any, deliverer: Deliverer) -> None:
    tight = replace(deliverer, settings=Settings(circuit_failures=1, notify_emails=("a@example.com",)))
    service = Service(answers=[REFUSED, REFUSED])
    service.while_sending = lambda: send(Service(answers=[REFUSED]), via=tight) if len(service.got) == 1 else None
    send(service, via=tight)
    assert len(told(store)) == 1
    with store.begin() as connection:
        (found,) = circuits.listing(connection)
    assert found.failures == 2
