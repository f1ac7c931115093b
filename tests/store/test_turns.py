"""Whose turn it is when many wait, and what a person's decision to send again counts for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from leadcast.core.ending import Ending
from leadcast.core.errors import (
    AttemptFailed,
    CredentialsError,
    RateLimited,
    RejectedError,
    StoreError,
    TransientError,
    UnknownOutcome,
    Unsendable,
)
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.settings import Settings
from leadcast.engine.dags.sweep_steps import pick_up
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.flow.plan import ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.integrations.telegram.settings import TelegramSettings
from leadcast.store.accounts import circuits
from leadcast.store.batches import ledger, snapshots
from leadcast.store.database import Store
from tests.support.by_hand import by_hand
from tests.support.planned import plan

from .conftest import Service, StoppedClock

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
LATER = RateLimited("Come back in two minutes.", retry_after_s=120)
AWAY = TransientError("away", code="unreachable")
REFUSED = CredentialsError("The service does not take the token (401).", code="401")


class Other(Service):
    def identity(self, account: Any) -> Any:
        return ("another account",)


def attempt(
    deliverer: Deliverer, delivery_id: str, service: Service, *, asked: bool = True, which: str = "", **more: Any
) -> None:
    action = by_hand(deliverer, which=which) if asked else None
    with suppress(AttemptFailed):
        deliverer.deliver(delivery_id, integration=service, **{"last_in_run": False, "action": action, **more})


def left_alone(accept: Accept, deliverer: Deliverer, kind: type[Service] = Service) -> None:
    """Its account has failed five times in a row. Four of the leads have ended by it, and the fifth waits."""
    for _ in range(5):
        attempt(deliverer, f"{accept('telegram').batch_id}-0", kind(answers=[REFUSED]))


def states(store: Store, batch_id: str) -> list[D]:
    with store.begin() as connection:
        return [item.state for item in snapshots.of_batch(connection, batch_id=batch_id)]


def status(store: Store, batch_id: str) -> BatchStatus:
    with store.begin() as connection:
        (batch,) = snapshots.of_batches(connection, batch_ids=[batch_id])
    return batch.status


def ids(made: Any) -> list[str]:
    return sorted(ref.delivery_id for refs in made.work.values() for ref in refs)


def was_cleared(max_tries: int, *, retries: int = 2) -> bool:
    from leadcast.engine.dags.deliver_operator import DeliverOperator

    return DeliverOperator._was_cleared(SimpleNamespace(retries=retries), max_tries)  # type: ignore[arg-type]


def test_an_account_that_stays_away_does_not_hold_up_the_probe_of_another(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    """A has been away for hours, its circuit is open for 15 minutes at a time; B was away for a minute."""
    left_alone(accept, deliverer)
    waits_for_a = [accept("telegram").batch_id for _ in range(2)]
    plan(store, settings, run_id="run-0", clock=clock)
    for batch_id in waits_for_a:
        attempt(deliverer, f"{batch_id}-0", Service())
    settler.wave("run-0", Ending())
    for _ in range(4):  # probes of A, by what comes in
        clock.pass_s(1000)
        attempt(deliverer, f"{accept('telegram').batch_id}-0", Service(answers=[AWAY]))
    left_alone(accept, deliverer, Other)
    waits_for_b = accept("telegram").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    attempt(deliverer, f"{waits_for_b}-0", Other())
    settler.wave("run-1", Ending())
    with store.begin() as connection:
        until = sorted(item.until for item in circuits.listing(connection) if item.until is not None)
    clock.pass_s(settings.circuit_open_s)
    assert until[0] <= clock() < until[1], "B's time is over, A's is not"
    made = plan(store, settings, run_id="run-2", clock=clock)
    assert len(ids(made)) == 1, "nobody tries B, though its time is over"


def test_one_is_the_probe_of_its_account_while_another_of_its_batch_is_being_sent(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer
) -> None:
    # they wait from the same moment, so the one of the lower id goes first
    first, other = sorted(accept("telegram", "webhook").batch_id for _ in range(2))
    plan(store, settings, run_id="run-1", clock=clock)
    over = CredentialsError("The subscription is over (244).", code="244", for_all=True)
    attempt(deliverer, f"{first}-0", Service(answers=[over]), run_id="run-1", asked=False)
    attempt(deliverer, f"{other}-0", Service(), run_id="run-1", asked=False)
    assert states(store, first) == [D.RETRYING, D.PENDING]
    clock.pass_s(settings.circuit_open_s)
    probes: list[list[str]] = []

    def look() -> None:
        made = plan(store, settings, run_id="run-2", clock=clock)
        probes.append([ref.delivery_id for ref in made.work["telegram"]])
        attempt(deliverer, f"{first}-0", Service(), run_id="run-2", asked=False)

    attempt(deliverer, f"{first}-1", Other(while_sending=look), run_id="run-1", asked=False)
    assert probes == [[f"{first}-0"]]
    assert states(store, first) == [D.DELIVERED, D.DELIVERED]


def test_a_person_who_clears_what_was_never_begun_has_it_sent_by_the_run_that_is_cleared(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    """The run timed out before Airflow had even queued the task (try_number 0); then a person clears the run."""
    batch_id = accept("webhook").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    settler.wave("run-1", Ending(critical="the run timed out"))
    assert states(store, batch_id) == [D.PENDING]
    assert ids(plan(store, settings, run_id="run-1", clock=clock)) == [f"{batch_id}-0"], "plan hands it on"
    # Airflow 3.3.2, clear_task_instances: max_tries = try_number (0) + retries; a new mapped instance has the same
    asked = was_cleared(0 + 2)
    attempt(deliverer, f"{batch_id}-0", Service(), run_id="run-1", asked=asked)
    assert states(store, batch_id) == [D.DELIVERED], "refused: 'To send it again, clear its task.'"


def test_a_cleared_task_is_sent_at_once_while_another_run_sends_the_rest_of_its_batch(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    batch_id = accept("webhook", "amocrm").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    attempt(deliverer, f"{batch_id}-0", Service(answers=[RejectedError("no")]), run_id="run-1", asked=False)
    attempt(deliverer, f"{batch_id}-1", Service(answers=[LATER]), run_id="run-1", asked=False)
    settler.wave("run-1", Ending())
    clock.pass_s(200)
    assert ids(plan(store, settings, run_id="run-2", clock=clock)) == [f"{batch_id}-1"]
    cleared = Service()

    def clear() -> None:  # a person clears deliver_webhook in run-1: try 2, max_tries 3
        attempt(deliverer, f"{batch_id}-0", cleared, run_id="run-1", asked=was_cleared(3))
        settler.wave("run-1", Ending())

    attempt(deliverer, f"{batch_id}-1", Service(while_sending=clear), run_id="run-2", asked=False)
    assert len(cleared.got) == 1
    settler.so_far([batch_id])
    assert status(store, batch_id) is BatchStatus.COMPLETED


def test_what_a_late_task_of_a_run_that_has_ended_has_begun_goes_on_in_another(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    batch_id = accept("webhook").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    settler.wave("run-1", Ending(critical="the run timed out"))
    assert status(store, batch_id) is BatchStatus.PENDING, "nothing of it has begun"
    attempt(deliverer, f"{batch_id}-0", Service(answers=[TransientError("503")]), run_id="run-1", asked=False)
    assert status(store, batch_id) is BatchStatus.PROCESSING
    clock.pass_s(3600)
    pick_up(settler)
    assert states(store, batch_id) == [D.RETRYING], "nobody has died"
    assert ids(plan(store, settings, run_id="run-2", clock=clock)) == [f"{batch_id}-0"]


def test_a_cleared_task_whose_first_try_met_a_store_that_was_away_is_sent_by_the_second(
    store: Store,
    settings: Settings,
    clock: StoppedClock,
    accept: Accept,
    deliverer: Deliverer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same: the worker died, or was never given the task, before anything was begun."""
    batch_id = accept("webhook").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    attempt(deliverer, f"{batch_id}-0", Service(answers=[RejectedError("no")]), run_id="run-1", asked=False)
    with monkeypatch.context() as patch, suppress(StoreError):

        def away(*_: Any, **__: Any) -> object:
            raise StoreError("away for a moment")

        patch.setattr(ledger, "due_all", away)
        attempt(deliverer, f"{batch_id}-0", Service(), run_id="run-1", asked=was_cleared(3))
    attempt(deliverer, f"{batch_id}-0", Service(), run_id="run-1", asked=was_cleared(3))  # Airflow's own retry
    assert states(store, batch_id) == [D.DELIVERED]


def test_what_a_person_has_decided_to_send_again_is_not_held_after_a_429(
    store: Store, accept: Accept, deliverer: Deliverer, clock: StoppedClock
) -> None:
    batch_id = accept("telegram").batch_id
    service = Service(answers=[UnknownOutcome("no answer"), RateLimited("slow down", retry_after_s=5)])
    attempt(deliverer, f"{batch_id}-0", service)
    assert states(store, batch_id) == [D.UNKNOWN]
    attempt(deliverer, f"{batch_id}-0", service)  # a person has decided: again
    assert states(store, batch_id) == [D.RETRYING]
    clock.pass_s(6)
    attempt(deliverer, f"{batch_id}-0", service, asked=False)
    assert states(store, batch_id) == [D.DELIVERED], "the 429 says that it was not executed, and a person has decided"


def test_those_that_have_tried_an_account_end_when_they_were_put_off_for_long_and_the_others_wait_on(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    left_alone(accept, deliverer)
    waiting = [accept("telegram").batch_id for _ in range(40)]
    plan(store, settings, run_id="run-0", clock=clock)
    for batch_id in waiting:
        attempt(deliverer, f"{batch_id}-0", Service(), run_id="run-0", asked=False)
    settler.wave("run-0", Ending())
    first_tried: dict[str, datetime] = {}
    for minute in range(60 * 5):  # an hour more than give_up_after_s
        clock.pass_s(60)
        if ring_for_rest(store, settings, clock=clock) is None:
            continue
        run_id = f"run-{minute + 1}"
        for delivery_id in ids(plan(store, settings, run_id=run_id, clock=clock)):
            service = Service(answers=[AWAY])
            attempt(deliverer, delivery_id, service, run_id=run_id, asked=False)
            if service.got:
                first_tried.setdefault(delivery_id[:-2], clock())
        settler.wave(run_id, Ending())
    long_ago = clock() - timedelta(seconds=settings.give_up_after_s + 60)
    for batch_id in waiting:
        has_ended = batch_id in first_tried and first_tried[batch_id] < long_ago
        assert states(store, batch_id) == [D.FAILED if has_ended else D.RETRYING]
    assert 2 < len(first_tried) < 40


def test_a_probe_that_we_refuse_ourselves_leaves_the_turn_to_the_next(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer
) -> None:
    left_alone(accept, deliverer)
    clock.pass_s(settings.circuit_open_s)
    attempt(deliverer, f"{accept('telegram').batch_id}-0", Service(answers=[Unsendable("No chat.")]))
    following = accept("telegram").batch_id
    attempt(deliverer, f"{following}-0", Service())
    assert states(store, following) == [D.DELIVERED], "left alone for timeout_s more, and the service was not asked"


def test_of_many_that_are_due_at_one_moment_one_has_the_turn(store: Store, settings: Settings) -> None:
    """An account has closed and let all go at one moment, then opened again: 800 with one `next_attempt_at`."""
    with store.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO batches (id, lead_id, lead, status, priority, body_sha256, wave_id) "
                "SELECT 'b' || i, 'x', '{}', 'processing', 1, 'x', 'old' FROM generate_series(1, 800) i"
            )
        )
        connection.execute(
            text(
                "INSERT INTO deliveries (id, batch_id, index, type, settings, state, waits_for, account, "
                "next_attempt_at, round_at) SELECT 'b' || i || '-0', 'b' || i, 0, 'telegram', '{}', 'retrying', "
                "'circuit', 'a', now() - interval '9 s', now() FROM generate_series(1, 800) i"
            )
        )
        connection.execute(
            text(
                "INSERT INTO circuits (account, type, label, failures, openings, opened_at, open_until) "
                "VALUES ('a', 'telegram', 'a', 5, 1, now() - interval '61 s', now() - interval '1 s')"
            )
        )
    made = plan(store, settings, run_id="run-1")
    assert len(ids(made)) == 1


def test_a_persons_decision_counts_once_whatever_airflow_repeats_after_it(
    store: Store, accept: Accept, deliverer: Deliverer
) -> None:
    batch_id = accept("telegram").batch_id
    service = Service(answers=[UnknownOutcome("no answer"), UnknownOutcome("no answer again")])
    attempt(deliverer, f"{batch_id}-0", service)
    for _ in range(2):  # the second is Airflow's own retry of the task that was cleared
        attempt(deliverer, f"{batch_id}-0", service, which="run-1:3")
    assert (len(service.got), states(store, batch_id)) == (2, [D.UNKNOWN])
    attempt(deliverer, f"{batch_id}-0", service, which="run-1:5")
    assert states(store, batch_id) == [D.DELIVERED]


def test_fields_keep_the_order_in_which_they_were_written(store: Store, inbox: Inbox, deliverer: Deliverer) -> None:
    """People read them: the lines of a message, the custom fields in a note."""
    names = ["Зачем он пишет нам", "Б", "Город", "a"]
    custom = dict.fromkeys(names, "x")
    body = {
        "lead_id": 1,
        "lead": {"custom": custom},
        "integrations": [{"type": "telegram", "settings": {"fields": custom}}],
    }
    seen: list[list[str]] = []

    class Reader(Service):
        settings_model = TelegramSettings

        def deliver(self, lead: Any, *, settings: Any, account: Any, call: Any) -> Any:
            seen.extend([list(lead.custom), list(settings.fields)])
            return super().deliver(lead, settings=settings, account=account, call=call)

    attempt(deliverer, f"{inbox.accept(body).batch_id}-0", Reader())
    assert seen == [names, names]
