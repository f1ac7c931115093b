"""What has ended without success is sent again: when a person asks, and on schedule where it may pass by itself."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from leadcast.control.cancel import Canceller
from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import (
    AttemptFailed,
    CredentialsError,
    DeliveryError,
    Postponed,
    RejectedError,
    SettingsError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import BatchStatus, DeliveryState, Receipt
from leadcast.core.request_errors import BatchBusy, BatchErased, BatchNotFound, NothingToCancel, NothingToRetry
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.settle import Settler
from leadcast.integrations.base import Account
from leadcast.store.batches import bell, views
from leadcast.store.batches.batches import of_wave
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries, notifications
from tests.support.by_hand import by_hand, chosen
from tests.support.planned import plan

from .carried import due_for
from .conftest import OneSecret, Service, StoppedClock

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
S = BatchStatus
REFUSED = RejectedError("no such pipeline", code="400")
DOWN = TransientError("down", code="503")
SILENT = UnknownOutcome("no answer", code="timeout")


@pytest.fixture
def retrier(store: Store, settings: Settings, clock: StoppedClock) -> Retrier:
    return Retrier(store=store, settings=settings, clock=clock)


@pytest.fixture
def canceller(store: Store, settings: Settings, clock: StoppedClock) -> Canceller:
    return Canceller(store=store, settings=settings, clock=clock)


class Ground:
    """Batches that are sent and settled the way runs do it."""

    def __init__(
        self, store: Store, settings: Settings, deliverer: Deliverer, settler: Settler, accept: Accept
    ) -> None:
        self.store, self.settings, self.deliverer, self.settler, self.accept = (
            store,
            settings,
            deliverer,
            settler,
            accept,
        )
        self.run_id = ""

    def run(self, service: Service, *, settle: bool = True) -> list[str]:
        """One wave; every delivery is tried until it ends or waits. Returns the ids of those that were."""
        with self.store.begin() as connection:
            run_id = self.run_id = bell.waiting_run(connection) or f"sweep-{len(service.got)}"
        made = plan(self.store, self.settings, run_id=run_id, clock=self.deliverer.clock)
        sent = due_for(self.store, made, now=self.deliverer.clock())
        for delivery_id in sent:
            self.send(delivery_id, service, run_id=run_id)
        if settle:
            self.settler.so_far({delivery_id.rpartition("-")[0] for delivery_id in sent})  # as each of the tasks does
            self.settler.wave(run_id, Ending())
        return sent

    def send(self, delivery_id: str, service: Service, *, run_id: str = "", last_in_run: bool = False) -> None:
        for _ in range(5):
            try:
                self.deliverer.deliver(delivery_id, integration=service, last_in_run=last_in_run, run_id=run_id)
            except AttemptFailed as failed:
                if failed.retry_in_s is None or failed.waits:
                    return
                continue
            return

    def batch(self, batch_id: str) -> views.BatchView:
        with self.store.begin() as connection:
            found = views.batch(connection, batch_id)
        assert found is not None
        assert (found.finished_at is not None) == found.status.is_final
        return found

    def states(self, batch_id: str) -> list[D]:
        return [item.state for item in self.batch(batch_id).deliveries]


@pytest.fixture
def ground(store: Store, settings: Settings, deliverer: Deliverer, settler: Settler, accept: Accept) -> Ground:
    return Ground(store, settings, deliverer, settler, accept)


# --- a person asks


def test_what_failed_is_sent_again_and_what_was_delivered_is_not(ground: Ground, retrier: Retrier) -> None:
    batch_id = ground.accept("amocrm", "email").batch_id
    ground.run(Service(answers=[Receipt(external_id="1"), REFUSED]))
    assert ground.batch(batch_id).status is S.PARTIAL
    put_back = retrier.batch(batch_id)
    assert (put_back.deliveries, put_back.must_ring) == (1, True)
    assert (ground.batch(batch_id).status, ground.states(batch_id)) == (S.PENDING, [D.DELIVERED, D.PENDING])
    assert ground.run(Service()) == [f"{batch_id}-1"]
    assert ground.batch(batch_id).status is S.COMPLETED


def test_the_wave_of_a_retry_has_all_tries_anew(ground: Ground, retrier: Retrier) -> None:
    batch_id = ground.accept("amocrm").batch_id
    ground.run(Service(answers=[DOWN, DOWN, DOWN]))
    assert (ground.states(batch_id), ground.batch(batch_id).deliveries[0].attempts) == ([D.FAILED], 3)
    retrier.batch(batch_id)
    ground.run(Service(answers=[DOWN, DOWN]))
    assert (ground.states(batch_id), ground.batch(batch_id).deliveries[0].attempts) == ([D.DELIVERED], 6)


def test_what_may_have_arrived_is_asked_for_before_it_is_sent_again(ground: Ground, retrier: Retrier) -> None:
    batch_id = ground.accept("amocrm").batch_id
    ground.run(Service(answers=[SILENT]))
    assert ground.states(batch_id) == [D.UNKNOWN]
    retrier.batch(batch_id)
    service = Service(can_find=True, finds=[Receipt(external_id="7")])
    ground.run(service)
    assert (ground.states(batch_id), service.got) == ([D.DELIVERED], [])


def test_where_nobody_can_be_asked_the_person_has_decided(ground: Ground, retrier: Retrier) -> None:
    batch_id = ground.accept("telegram").batch_id
    ground.run(Service(answers=[SILENT]))
    assert ground.states(batch_id) == [D.UNKNOWN]
    retrier.batch(batch_id)
    ground.run(Service())
    assert ground.states(batch_id) == [D.DELIVERED]


def test_a_batch_in_which_nothing_has_failed_yet_is_not_retried(ground: Ground, retrier: Retrier) -> None:
    batch_id = ground.accept("telegram").batch_id
    with pytest.raises(BatchBusy, match="pending"):
        retrier.batch(batch_id)
    ground.run(Service(answers=[Postponed("later", wait_s=3600)]))
    assert ground.batch(batch_id).status is S.PROCESSING
    with pytest.raises(BatchBusy, match="processing"):
        retrier.batch(batch_id)


def test_what_has_failed_is_retried_while_others_of_its_batch_are_still_to_be_sent(
    ground: Ground, retrier: Retrier
) -> None:
    batch_id = ground.accept("amocrm", "email").batch_id
    plan(ground.store, ground.settings, run_id="w", clock=ground.deliverer.clock)
    ground.send(f"{batch_id}-0", Service(answers=[REFUSED]), run_id="w")
    assert (ground.batch(batch_id).status, ground.states(batch_id)) == (S.PROCESSING, [D.FAILED, D.PENDING])
    assert retrier.batch(batch_id).deliveries == 1
    assert (ground.batch(batch_id).status, ground.states(batch_id)) == (S.PROCESSING, [D.PENDING, D.PENDING])
    assert ground.run(Service()) == [f"{batch_id}-0", f"{batch_id}-1"]
    assert ground.batch(batch_id).status is S.COMPLETED


def test_who_sends_is_left_to_it_by_a_retry_of_another_delivery(ground: Ground, retrier: Retrier) -> None:
    """Both go on in one batch: each delivery has its own lease."""
    batch_id = ground.accept("amocrm", "email").batch_id
    plan(ground.store, ground.settings, run_id="w", clock=ground.deliverer.clock)
    ground.send(f"{batch_id}-0", Service(answers=[REFUSED]), run_id="w")
    found: list[list[str]] = []

    def meanwhile() -> None:
        retrier.batch(batch_id)
        found.append(ground.run(Service()))

    ground.send(f"{batch_id}-1", Service(while_sending=meanwhile), run_id="w")
    assert found == [[f"{batch_id}-0"]]
    ground.settler.so_far([batch_id])
    assert (ground.batch(batch_id).status, ground.states(batch_id)) == (S.COMPLETED, [D.DELIVERED, D.DELIVERED])


def test_what_a_person_retries_belongs_to_the_run_that_sends_it(ground: Ground, retrier: Retrier, store: Store) -> None:
    """And the run of before settles nothing of it any more."""
    batch_id = ground.accept("telegram").batch_id
    ground.run(Service(answers=[REFUSED]))
    first = ground.run_id
    retrier.batch(batch_id)
    with store.begin() as connection:
        assert of_wave(connection, run_id=first) == []
    ground.run(Service())
    assert ground.run_id != first
    with store.begin() as connection:
        assert of_wave(connection, run_id=ground.run_id) == [batch_id]


def test_there_must_be_something_to_retry(ground: Ground, retrier: Retrier) -> None:
    batch_id = ground.accept("telegram").batch_id
    ground.run(Service())
    with pytest.raises(NothingToRetry, match="completed"):
        retrier.batch(batch_id)
    with pytest.raises(BatchNotFound):
        retrier.batch("none")


def test_what_was_erased_cannot_be_sent_again(ground: Ground, retrier: Retrier, store: Store) -> None:
    batch_id = ground.accept("telegram").batch_id
    ground.run(Service(answers=[REFUSED]))
    with store.begin() as connection:
        connection.execute(update(batches).values(erased_at=ground.deliverer.clock()))
    with pytest.raises(BatchErased):
        retrier.batch(batch_id)
    service = Service()
    with pytest.raises(AttemptFailed, match="erased"):
        ground.deliverer.deliver(
            f"{batch_id}-0", integration=service, last_in_run=True, action=by_hand(ground.deliverer)
        )
    assert service.got == []


def test_in_a_batch_that_waits_for_an_account_what_failed_goes_out_without_the_rest(
    ground: Ground, retrier: Retrier
) -> None:
    batch_id = ground.accept("amocrm", "email").batch_id
    ground.run(Service(answers=[Postponed("later", wait_s=3600), REFUSED]))
    batch = ground.batch(batch_id)
    assert (batch.status, ground.states(batch_id)) == (S.PROCESSING, [D.RETRYING, D.FAILED])
    retrier.batch(batch_id)
    assert ground.run(Service()) == [f"{batch_id}-1"]
    batch = ground.batch(batch_id)
    assert (batch.status, ground.states(batch_id)) == (S.PROCESSING, [D.RETRYING, D.DELIVERED])
    ground.deliverer.clock.pass_s(3601)  # type: ignore[attr-defined]
    ground.run(Service())
    assert ground.batch(batch_id).status is S.COMPLETED


def test_how_a_retry_went_is_told_even_if_it_went_as_before(ground: Ground, retrier: Retrier, store: Store) -> None:
    batch_id = ground.accept("telegram").batch_id
    ground.run(Service(answers=[REFUSED]))
    ground.settler.wave(ground.run_id, Ending())
    retrier.batch(batch_id)
    ground.run(Service(answers=[REFUSED]))
    ground.settler.wave(ground.run_id, Ending())
    with store.begin() as connection:
        told = connection.execute(select(notifications.c.occasion).where(notifications.c.channel == "email"))
        assert list(told.scalars()) == ["failed", "failed"]


def test_two_who_ask_at_once_have_it_sent_once(ground: Ground, retrier: Retrier) -> None:
    batch_id = ground.accept("telegram").batch_id
    ground.run(Service(answers=[REFUSED]))
    retrier.batch(batch_id)
    with pytest.raises(BatchBusy):
        retrier.batch(batch_id)
    service = Service()
    ground.run(service)
    assert len(service.got) == 1


# --- on schedule


def everything(clock: StoppedClock) -> dict[str, Any]:
    return {"since": clock() - timedelta(days=1), "until": clock() + timedelta(days=1)}


def test_the_schedule_sends_again_what_may_pass(
    ground: Ground, retrier: Retrier, clock: StoppedClock, store: Store
) -> None:
    answers: dict[str, list[Exception]] = {
        "may pass": [DOWN] * 3,
        "token": [CredentialsError("401")],
        "refused": [REFUSED],
        "silent": [SILENT],
    }
    found = {}
    for name, given in answers.items():
        found[name] = ground.accept("telegram").batch_id
        ground.run(Service(answers=list(given)))
    put_back = retrier.window(**everything(clock))
    assert (put_back.batches, put_back.deliveries) == (2, 2)
    status = {name: ground.batch(batch_id).status for name, batch_id in found.items()}
    assert status == {"may pass": S.PENDING, "token": S.PENDING, "refused": S.FAILED, "silent": S.FAILED}
    ground.run(Service())
    assert ground.batch(found["may pass"]).status is S.COMPLETED


def test_the_schedule_asks_for_what_may_have_arrived_where_that_can_be_asked(
    ground: Ground, retrier: Retrier, clock: StoppedClock
) -> None:
    batch_id = ground.accept("amocrm").batch_id
    ground.run(Service(answers=[SILENT]))
    assert retrier.window(**everything(clock)).deliveries == 1
    service = Service(can_find=True, finds=[Receipt(external_id="7")])
    ground.run(service)
    assert (ground.states(batch_id), service.got) == ([D.DELIVERED], [])


def test_the_schedule_leaves_alone_what_was_cancelled(
    ground: Ground, retrier: Retrier, canceller: Canceller, clock: StoppedClock
) -> None:
    batch_id = ground.accept("telegram", "email").batch_id
    ground.run(Service(answers=[DOWN, DOWN, DOWN, Postponed("later", wait_s=3600)]))
    assert canceller.batch(batch_id).status is S.FAILED
    assert ground.states(batch_id) == [D.FAILED, D.CANCELLED]
    assert retrier.window(**everything(clock)).deliveries == 0
    assert retrier.batch(batch_id).deliveries == 1, "a person may"


@pytest.mark.parametrize(("kind", "error", "state"), [("telegram", DOWN, D.FAILED), ("amocrm", SILENT, D.UNKNOWN)])
def test_the_schedule_leaves_alone_what_a_person_has_seen_to(
    ground: Ground, retrier: Retrier, clock: StoppedClock, kind: str, error: DeliveryError, state: D
) -> None:
    batch_id = ground.accept(kind).batch_id
    plan(ground.store, ground.settings, run_id="w", clock=clock)
    service, marked = Service(answers=[error], can_find=True), f"{batch_id}-0"
    with suppress(AttemptFailed):
        ground.deliverer.deliver(marked, integration=service, last_in_run=False, run_id="w")
    ground.settler.wave("w", Ending(given_up=lambda: {marked}))
    assert (ground.batch(batch_id).status, ground.states(batch_id)) == (S.FAILED, [state])
    assert retrier.window(**everything(clock)).deliveries == 0
    assert retrier.batch(batch_id).deliveries == 1, "a person may"


def test_the_schedule_gives_up_after_its_rounds_and_a_person_gives_it_new_ones(
    ground: Ground, retrier: Retrier, clock: StoppedClock, settings: Settings
) -> None:
    batch_id = ground.accept("telegram").batch_id
    ground.run(Service(answers=[DOWN] * 3))
    for _ in range(settings.retry_rounds):
        assert retrier.window(**everything(clock)).batches == 1
        ground.run(Service(answers=[DOWN] * 3))
    assert retrier.window(**everything(clock)).batches == 0
    retrier.batch(batch_id)
    ground.run(Service(answers=[DOWN] * 3))
    assert retrier.window(**everything(clock)).batches == 1


def test_only_batches_of_the_window_are_looked_at_and_none_twice(
    ground: Ground, retrier: Retrier, clock: StoppedClock
) -> None:
    found = []
    for _ in range(3):
        found.append(ground.accept("telegram").batch_id)
        ground.run(Service(answers=[DOWN] * 3))
        clock.pass_s(3600)
    start = clock() - timedelta(hours=2)
    assert retrier.window(since=start, until=start + timedelta(hours=1)).batches == 1
    assert retrier.window(since=start, until=start + timedelta(hours=1)).batches == 0, "it is on its way"
    assert [ground.batch(batch_id).status for batch_id in found] == [S.FAILED, S.PENDING, S.FAILED]


def test_many_batches_are_put_back_page_by_page(
    ground: Ground, retrier: Retrier, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadcast.control.retry.AT_ONCE", 2)
    for _ in range(5):
        ground.accept("telegram")
    ground.run(Service(answers=[REFUSED, *[DOWN] * 12]))
    put_back = retrier.window(**everything(clock))
    assert (put_back.batches, put_back.must_ring) == (4, True)


def test_what_the_schedule_sends_again_goes_after_what_is_new(
    ground: Ground, retrier: Retrier, clock: StoppedClock
) -> None:
    old = ground.accept("telegram").batch_id
    ground.run(Service(answers=[DOWN] * 3))
    retrier.window(**everything(clock))
    clock.pass_s(1)
    new = ground.accept("telegram").batch_id
    work = plan(ground.store, ground.settings, run_id="w", clock=clock).work
    assert [ref.batch_id for ref in work["telegram"]] == [new, old]


def test_what_a_person_sends_again_has_its_place_by_its_priority(
    ground: Ground, retrier: Retrier, clock: StoppedClock
) -> None:
    old = ground.accept("telegram", priority="high").batch_id
    ground.run(Service(answers=[DOWN] * 3))
    retrier.window(**everything(clock))
    ground.run(Service(answers=[REFUSED]))
    new = ground.accept("telegram").batch_id
    retrier.batch(old)
    work = plan(ground.store, ground.settings, run_id="w", clock=clock).work
    assert [ref.batch_id for ref in work["telegram"]] == [old, new]


# --- leads that are too old


def test_an_old_lead_is_held_until_a_person_retries_it(ground: Ground, retrier: Retrier, clock: StoppedClock) -> None:
    batch_id = ground.accept("telegram").batch_id
    clock.pass_s(ground.settings.hold_after_s + 1)
    service = Service()
    ground.run(service)
    held = ground.batch(batch_id).deliveries[0]
    assert (held.state, service.got) == (D.FAILED, [])
    assert held.error is not None
    assert (held.error["code"], held.error["may_pass"]) == ("held_for_age", False)
    assert "24 hours" in held.error["message"]
    retrier.batch(batch_id)
    ground.run(Service(answers=[DOWN, DOWN]))
    assert ground.states(batch_id) == [D.DELIVERED]


def test_a_person_who_clears_its_task_has_decided_too(ground: Ground, clock: StoppedClock) -> None:
    batch_id = ground.accept("telegram").batch_id
    clock.pass_s(ground.settings.hold_after_s + 1)
    ground.run(Service())
    for answers in ([DOWN], [DOWN], []):
        service = Service(answers=list(answers))
        with suppress(AttemptFailed):
            ground.deliverer.deliver(
                f"{batch_id}-0",
                integration=service,
                last_in_run=False,
                action=by_hand(ground.deliverer, which="cleared once"),
                run_id=ground.run_id,
            )
        assert len(service.got) == 1
    assert ground.states(batch_id) == [D.DELIVERED]


def test_held_leads_can_be_switched_off(ground: Ground, clock: StoppedClock) -> None:
    batch_id = ground.accept("telegram").batch_id
    clock.pass_s(10_000_000)
    ground.deliverer = replace(ground.deliverer, settings=Settings(hold_after_s=0))
    ground.run(Service())
    assert ground.states(batch_id) == [D.DELIVERED]


def test_a_window_that_a_person_has_chosen_is_sent_however_old_it_is(
    ground: Ground, retrier: Retrier, clock: StoppedClock
) -> None:
    failed = ground.accept("telegram").batch_id
    ground.run(Service(answers=[DOWN] * 3))
    refused = ground.accept("telegram").batch_id
    ground.run(Service(answers=[REFUSED]))
    window = everything(clock)
    clock.pass_s(ground.settings.hold_after_s + 1)
    held = ground.accept("email").batch_id
    clock.pass_s(ground.settings.hold_after_s + 1)
    ground.run(Service())
    assert ground.states(held) == [D.FAILED]
    window["until"] = clock()
    assert retrier.window(**window, action=chosen(clock)).batches == 2
    service = Service()
    ground.run(service)
    assert (ground.states(failed), ground.states(held), len(service.got)) == ([D.DELIVERED], [D.DELIVERED], 2)
    assert ground.states(refused) == [D.FAILED], "what the service has refused stays as it is"


def test_the_schedule_does_not_decide_that_an_old_lead_is_sent(
    ground: Ground, retrier: Retrier, clock: StoppedClock
) -> None:
    batch_id = ground.accept("telegram").batch_id
    ground.run(Service(answers=[DOWN] * 3))
    window = everything(clock)
    clock.pass_s(ground.settings.hold_after_s + 1)
    assert retrier.window(**window).batches == 1
    service = Service()
    ground.run(service)
    assert (ground.states(batch_id), service.got) == ([D.FAILED], [])
    assert retrier.window(**window).batches == 0, "held, it waits for a person"


def test_a_persons_window_has_its_rounds_and_leaves_alone_what_may_arrive_twice(
    ground: Ground, retrier: Retrier, clock: StoppedClock, settings: Settings
) -> None:
    silent = ground.accept("telegram").batch_id
    ground.run(Service(answers=[SILENT]))
    ground.accept("telegram")
    ground.run(Service(answers=[DOWN] * 3))
    for _ in range(settings.retry_rounds):
        assert retrier.window(**everything(clock), action=chosen(clock)).batches == 1
        ground.run(Service(answers=[DOWN] * 3))
    assert retrier.window(**everything(clock), action=chosen(clock)).batches == 0
    assert ground.states(silent) == [D.UNKNOWN]


def test_what_failed_on_the_installations_own_settings_is_sent_once_they_are_mended(
    ground: Ground, retrier: Retrier, clock: StoppedClock
) -> None:
    batch_id = ground.accept("telegram").batch_id

    def no_account(*_: object) -> Account[OneSecret]:
        raise SettingsError("Sealed credentials cannot be opened")

    sound, ground.deliverer = ground.deliverer, replace(ground.deliverer, accounts=no_account)
    ground.run(Service())
    assert ground.states(batch_id) == [D.FAILED]
    ground.deliverer = sound
    assert retrier.window(**everything(clock)).batches == 1
    ground.run(Service())
    assert ground.states(batch_id) == [D.DELIVERED]


def test_two_windows_at_once_put_each_lead_back_once(ground: Ground, retrier: Retrier, clock: StoppedClock) -> None:
    for _ in range(6):
        ground.accept("telegram")
    ground.run(Service(answers=[DOWN] * 18))
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: retrier.window(**everything(clock), action=chosen(clock)), range(3)))
    assert sum(put_back.deliveries for put_back in done) == 6
    assert sum(put_back.must_ring for put_back in done) == 1
    service = Service()
    ground.run(service)
    assert len(service.got) == 6


# --- cancelling


def test_what_waits_is_cancelled_and_no_wave_takes_it(ground: Ground, canceller: Canceller) -> None:
    batch_id = ground.accept("amocrm", "email").batch_id
    assert canceller.batch(batch_id).status is S.CANCELLED
    assert (ground.run(Service()), ground.states(batch_id)) == ([], [D.CANCELLED, D.CANCELLED])
    assert canceller.batch(batch_id).status is S.CANCELLED, "who asks again has what he wants"


def test_what_has_ended_by_itself_cannot_be_cancelled(ground: Ground, canceller: Canceller) -> None:
    batch_id = ground.accept("amocrm").batch_id
    ground.run(Service())
    with pytest.raises(NothingToCancel, match="completed"):
        canceller.batch(batch_id)


def test_what_was_delivered_before_stays_delivered(ground: Ground, canceller: Canceller) -> None:
    batch_id = ground.accept("amocrm", "email").batch_id
    ground.run(Service(answers=[Receipt(external_id="1"), Postponed("later", wait_s=3600)]))
    assert canceller.batch(batch_id).status is S.PARTIAL
    assert ground.states(batch_id) == [D.DELIVERED, D.CANCELLED]


def test_what_may_have_arrived_is_not_called_cancelled(ground: Ground, canceller: Canceller, store: Store) -> None:
    batch_id = ground.accept("amocrm").batch_id
    ground.run(Service(can_find=True, absent_after_s=7200, answers=[SILENT]), settle=False)
    with store.begin() as connection:
        connection.execute(update(deliveries).values(state=D.RETRYING, in_doubt=True))
    canceller.batch(batch_id)
    assert ground.states(batch_id) == [D.UNKNOWN]


def test_an_attempt_on_its_way_is_the_last_one(ground: Ground, canceller: Canceller) -> None:
    batch_id = ground.accept("amocrm").batch_id
    statuses: list[S] = []
    service = Service(answers=[DOWN], while_sending=lambda: statuses.append(canceller.batch(batch_id).status))
    ground.run(service)
    assert statuses == [S.PROCESSING]
    assert (ground.batch(batch_id).status, ground.states(batch_id)) == (S.CANCELLED, [D.CANCELLED])
    assert len(service.got) == 1


def test_an_attempt_on_its_way_that_arrives_has_arrived(ground: Ground, canceller: Canceller) -> None:
    batch_id = ground.accept("amocrm").batch_id
    ground.run(Service(while_sending=lambda: canceller.batch(batch_id)))
    assert ground.batch(batch_id).status is S.COMPLETED


def test_a_cancelled_batch_whose_attempt_died_is_not_sent_again(
    ground: Ground, canceller: Canceller, store: Store
) -> None:
    batch_id = ground.accept("amocrm").batch_id
    ground.run(Service(answers=[SILENT]), settle=False)
    with store.begin() as connection:
        connection.execute(update(deliveries).values(state=D.SENDING, in_doubt=True))
    assert canceller.batch(batch_id).status is S.FAILED
    service = Service()
    ground.send(f"{batch_id}-0", service, run_id=ground.run_id)
    assert (ground.states(batch_id), service.got) == ([D.UNKNOWN], [])


def test_what_failed_in_a_cancelled_batch_may_be_retried_the_rest_may_not(
    ground: Ground, retrier: Retrier, canceller: Canceller
) -> None:
    batch_id = ground.accept("amocrm", "email").batch_id
    ground.run(Service(answers=[REFUSED, Postponed("later", wait_s=3600)]))
    canceller.batch(batch_id)
    assert ground.batch(batch_id).status is S.FAILED
    retrier.batch(batch_id)
    assert ground.run(Service()) == [f"{batch_id}-0"]
    assert (ground.batch(batch_id).status, ground.states(batch_id)) == (S.PARTIAL, [D.DELIVERED, D.CANCELLED])
