"""What waits: no run holds it, any may send it, none is sent twice, and each has its end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, update

from leadcast.core.ending import Ending
from leadcast.core.errors import (
    AttemptFailed,
    CredentialsError,
    Gone,
    Postponed,
    RateLimited,
    RejectedError,
    StoreError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.limits import Limit
from leadcast.core.model import DeliveryState
from leadcast.core.settings import Settings
from leadcast.flow import plan as flow_plan
from leadcast.flow.deliver import account_watch
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.plan import ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import DIED, take_over
from leadcast.store.accounts import circuits
from leadcast.store.accounts.circuits import AccountRef
from leadcast.store.accounts.limits import StoredLimits
from leadcast.store.batches import lanes, snapshots
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries, limits, notifications
from tests.support.by_hand import by_hand
from tests.support.planned import plan

from .conftest import Service, StoppedClock, waits_or_ends
from .test_deliver import die_in_mid_air

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
LATER = RateLimited("Come back in two minutes.", retry_after_s=120)
PutOff = partial(TransientError, counts=False)


class Limited(Service):
    """A service that takes ten calls a second."""

    def limits(self, *, settings: Any, account: Any) -> Any:
        return [Limit(name="one", calls=10)]


def attempt(
    deliverer: Deliverer, delivery_id: str, service: Service, *, asked: bool = True, which: str = "", **more: Any
) -> None:
    action = by_hand(deliverer, which=which) if asked else None
    with suppress(AttemptFailed):
        deliverer.deliver(delivery_id, integration=service, **{"last_in_run": False, "action": action, **more})


def states(store: Store, batch_id: str) -> list[D]:
    with store.begin() as connection:
        return [item.state for item in snapshots.of_batch(connection, batch_id=batch_id)]


def row(store: Store, batch_id: str) -> Any:
    with store.begin() as connection:
        return connection.execute(select(batches).where(batches.c.id == batch_id)).one()


def ids(made: Any) -> list[str]:
    return sorted(ref.delivery_id for refs in made.work.values() for ref in refs)


@pytest.mark.parametrize("ended", [UnknownOutcome("no answer"), RejectedError("no such field", code="400")])
def test_a_later_wave_carries_on_only_what_waits(
    store: Store,
    settings: Settings,
    clock: StoppedClock,
    accept: Accept,
    deliverer: Deliverer,
    settler: Settler,
    ended: Any,
) -> None:
    batch_id = accept("telegram", "webhook").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    telegram = Service(answers=[ended])
    attempt(deliverer, f"{batch_id}-0", telegram)
    attempt(deliverer, f"{batch_id}-1", Service(answers=[LATER]))
    settler.wave("run-1", Ending())
    before = states(store, batch_id)
    clock.pass_s(200)
    second = plan(store, settings, run_id="run-2", clock=clock)
    for delivery_id in ids(second):  # what the operators of run-2 do
        attempt(deliverer, delivery_id, telegram if delivery_id.endswith("-0") else Service())
    assert len(telegram.got) == 1, f"was {before}, run-2 got {ids(second)}: sent twice"


def two_that_wait(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> str:
    batch_id = accept("webhook", "telegram").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    for index in range(2):
        attempt(deliverer, f"{batch_id}-{index}", Service(answers=[LATER]))
    settler.wave("run-1", Ending())
    clock.pass_s(200)
    return batch_id


def test_while_a_task_is_to_come_for_the_other_delivery_of_a_batch_nobody_rings_for_it(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    batch_id = two_that_wait(store, settings, clock, accept, deliverer, settler)
    made = flow_plan.plan(store, settings, run_id="run-2", clock=clock)
    assert ids(made) == [f"{batch_id}-0", f"{batch_id}-1"]
    attempt(deliverer, f"{batch_id}-0", Service(), run_id="run-2")
    settler.so_far([batch_id])
    assert ring_for_rest(store, settings, clock=clock) is None
    with store.begin() as connection:
        lanes.begin(connection, "telegram", run_id="run-2")  # and its worker dies before it has sent anything
    assert ring_for_rest(store, settings, clock=clock) is not None


def test_a_held_telegram_that_is_due_in_two_waves_is_sent_once(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    batch_id = two_that_wait(store, settings, clock, accept, deliverer, settler)
    plan(store, settings, run_id="run-2", clock=clock)
    third = plan(store, settings, run_id="run-3", clock=clock)
    assert f"{batch_id}-1" in ids(third), "both waves have a task for it"
    telegram = Service(answers=[UnknownOutcome("no answer")])
    attempt(deliverer, f"{batch_id}-1", telegram, run_id="run-2", asked=False)
    settler.so_far([batch_id])
    attempt(deliverer, f"{batch_id}-1", telegram, run_id="run-3", asked=False)
    assert len(telegram.got) == 1
    assert states(store, batch_id)[1] is D.UNKNOWN


@pytest.mark.parametrize("asked_s", [0, -1, 0.2])
@pytest.mark.parametrize("kind", [RateLimited, PutOff])
def test_who_asks_to_come_back_at_once_is_not_run_after(
    store: Store,
    settings: Settings,
    clock: StoppedClock,
    accept: Accept,
    deliverer: Deliverer,
    settler: Settler,
    kind: Callable[..., TransientError],
    asked_s: float,
) -> None:
    batch_id = accept("webhook").batch_id
    service = Service(answers=[kind("Come back.", retry_after_s=asked_s)] * 500)
    until = clock() + timedelta(hours=1)
    wave = 0
    while clock() < until and (wave := wave + 1) < 200:
        for delivery_id in ids(plan(store, settings, run_id=f"run-{wave}", clock=clock)):
            attempt(deliverer, delivery_id, service, last_in_run=True)
        settler.wave(f"run-{wave}", Ending())
        with store.begin() as connection:
            due_at = connection.execute(select(deliveries.c.next_attempt_at)).scalar_one()
        clock.pass_s(max((due_at - clock()).total_seconds(), 0.01))
    assert states(store, batch_id) == [D.RETRYING]
    assert 5 <= len(service.got) <= 15


def test_all_who_go_there_leave_a_service_alone_that_asks_for_nothing(
    store: Store, settings: Settings, accept: Accept, deliverer: Deliverer, clock: StoppedClock
) -> None:
    limited = Limited(answers=[RateLimited("Come back.", retry_after_s=0)])
    batch_id = accept("webhook", "telegram").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    slept: list[float] = []
    attempt(replace(deliverer, sleep=slept.append), f"{batch_id}-0", limited)
    attempt(replace(deliverer, sleep=slept.append), f"{batch_id}-1", limited)
    assert slept[-1] > 0.5


@pytest.mark.parametrize("ended", ["run-1", "run-2"])
def test_a_batch_of_two_waves_has_no_final_status_while_one_still_works_on_it(
    store: Store,
    settings: Settings,
    clock: StoppedClock,
    accept: Accept,
    deliverer: Deliverer,
    settler: Settler,
    ended: str,
) -> None:
    batch_id = two_that_wait(store, settings, clock, accept, deliverer, settler)
    plan(store, settings, run_id="run-2", clock=clock)
    attempt(deliverer, f"{batch_id}-0", Service(), run_id="run-2")
    settler.so_far([batch_id])
    # run-3 makes its next attempt in 20 s
    attempt(deliverer, f"{batch_id}-1", Service(answers=[TransientError("503", code="503")]), run_id="run-3")
    assert states(store, batch_id)[1] is D.RETRYING
    settler.wave(ended, Ending())  # say, its run was marked failed
    assert row(store, batch_id).status == "processing"


@pytest.fixture
def partial_after_two_runs(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> str:
    """A batch whose first delivery was refused in run-1, and whose second one has waited, and arrived in run-2."""
    batch_id = accept("webhook", "amocrm").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    attempt(deliverer, f"{batch_id}-0", Service(answers=[RejectedError("no")]))
    attempt(deliverer, f"{batch_id}-1", Service(answers=[LATER]))
    settler.wave("run-1", Ending())
    clock.pass_s(200)
    plan(store, settings, run_id="run-2", clock=clock)
    attempt(deliverer, f"{batch_id}-1", Service(), run_id="run-2")
    settler.so_far([batch_id])  # as the operator does
    settler.wave("run-2", Ending())
    return batch_id


def test_an_old_runs_cleared_task_counts_for_the_status(
    store: Store, deliverer: Deliverer, settler: Settler, partial_after_two_runs: str
) -> None:
    batch_id = partial_after_two_runs
    assert row(store, batch_id).status == "partial"
    # a person mends it and clears deliver_webhook where it failed: in run-1; settle is cleared with it
    attempt(deliverer, f"{batch_id}-0", Service(), run_id="run-1")
    settler.wave("run-1", Ending())
    assert states(store, batch_id) == [D.DELIVERED, D.DELIVERED]
    assert row(store, batch_id).status == "completed"


def test_an_old_runs_cleared_task_that_has_to_wait_is_carried_on(
    store: Store,
    settings: Settings,
    clock: StoppedClock,
    deliverer: Deliverer,
    settler: Settler,
    partial_after_two_runs: str,
) -> None:
    batch_id = partial_after_two_runs
    attempt(deliverer, f"{batch_id}-0", Service(answers=[LATER]), run_id="run-1")  # cleared in run-1
    settler.wave("run-1", Ending())
    assert row(store, batch_id).status == "processing"
    clock.pass_s(86400)
    assert ring_for_rest(store, settings, clock=clock) is not None, f"{states(store, batch_id)} waits for ever"


def test_what_was_critical_while_another_of_its_batch_waited_is_told_with_its_end(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    batch_id = accept("webhook", "amocrm").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    attempt(deliverer, f"{batch_id}-1", Service(answers=[LATER]))
    for _ in range(settings.max_claims):
        die_in_mid_air(store, f"{batch_id}-0", clock)
        take_over(settler)
    settler.wave("run-1", Ending())
    assert states(store, batch_id) == [D.FAILED, D.RETRYING]
    assert row(store, batch_id).critical == DIED
    clock.pass_s(200)
    plan(store, settings, run_id="run-2", clock=clock)
    attempt(deliverer, f"{batch_id}-1", Service())
    settler.so_far([batch_id])
    with store.begin() as connection:
        told = list(
            connection.execute(select(notifications.c.occasion).where(notifications.c.batch_id == batch_id)).scalars()
        )
    assert (row(store, batch_id).status, row(store, batch_id).critical) == ("partial", DIED)
    assert "catch" in told


def test_what_no_task_has_tried_since_ends_at_the_first_try_after_give_up(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    """Its pool was full, or its queue had no workers: wave after wave ends before its task has begun."""
    batch_id = accept("webhook").batch_id
    plan(store, settings, run_id="run-0", clock=clock)
    attempt(deliverer, f"{batch_id}-0", Service(answers=[LATER]))
    settler.wave("run-0", Ending())
    for number in range(1, 10):
        clock.pass_s(settings.give_up_after_s)
        assert ring_for_rest(store, settings, clock=clock) is not None
        assert ids(plan(store, settings, run_id=f"run-{number}", clock=clock)) == [f"{batch_id}-0"]
        settler.wave(f"run-{number}", Ending())
    assert states(store, batch_id) == [D.RETRYING], "nobody has tried it, so nothing is known of it"
    attempt(deliverer, f"{batch_id}-0", Service(answers=[LATER]), asked=False)
    settler.so_far([batch_id])
    assert row(store, batch_id).status == "failed"


def test_a_429_that_cannot_be_noted_for_all_is_still_a_429(
    store: Store, deliverer: Deliverer, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreError("the store is away for a moment")

    monkeypatch.setattr(StoredLimits, "pause", away)
    delivery_id = f"{accept('telegram').batch_id}-0"
    service = Limited(answers=[RateLimited("slow down", retry_after_s=5)])
    with suppress(StoreError):
        attempt(deliverer, delivery_id, service)
    attempt(deliverer, delivery_id, service)  # Airflow's own retry
    assert states(store, delivery_id[:-2]) != [D.UNKNOWN]


def test_a_task_that_hangs_while_sending_is_not_repeated_by_airflow_as_if_a_person_had_asked(
    store: Store, deliverer: Deliverer, accept: Accept
) -> None:
    from airflow.sdk.exceptions import AirflowTaskTimeout

    from leadcast.engine.dags.policy import LedgerRetryPolicy

    delivery_id = f"{accept('telegram').batch_id}-0"
    service = Service(answers=[AirflowTaskTimeout("execution_timeout")])
    for try_number in range(1, 4):
        try:
            deliverer.deliver(delivery_id, integration=service, last_in_run=try_number == 3)
        except BaseException as error:
            decision = LedgerRetryPolicy().evaluate(error, try_number, 2)
            if decision.action.value == "fail":
                break
        else:
            break
    assert len(service.got) == 1, "Telegram, on_unknown=hold: sent twice and nobody has decided it"


def test_who_gives_up_takes_no_place_in_the_queue(
    store: Store, settings: Settings, deliverer: Deliverer, accept: Accept
) -> None:
    class Slow(Service):
        def limits(self, *, settings: Any, account: Any) -> Any:
            return [Limit(name="slow", calls=1, period_s=20)]

    tight = replace(deliverer, settings=Settings(give_up_after_s=60))
    service = Slow()
    for _ in range(12):
        attempt(tight, f"{accept('telegram').batch_id}-0", service)
    # 61 s later: all have ended, the service is idle but for one call 5 s ago
    with store.begin() as connection:
        found = connection.execute(select(limits)).one()
        at = float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())
        state = {"queued_until": found.state["queued_until"] - 61, "slots": [at - 5.0]}
        connection.execute(update(limits).values(state=state))
    late = accept("telegram").batch_id
    attempt(tight, f"{late}-0", service)
    assert states(store, late) == [D.RETRYING], "a slot is free in 15 s or more"


def test_a_probe_on_a_machine_whose_clock_is_a_second_behind_is_on_time(
    store: Store, settings: Settings, clock: StoppedClock
) -> None:
    account = AccountRef(id="a" * 40, type="x", label="x")
    error = TransientError("away", code="unreachable")
    for _ in range(settings.circuit_failures):
        with store.begin() as connection:
            circuits.failed(connection, account, error, is_probe=False, settings=settings, now=clock())
    clock.pass_s(settings.circuit_open_s - 1)
    with store.begin() as connection:
        assert circuits.admit(connection, account, now=clock(), lease_s=300)
    with pytest.raises(Postponed), store.begin() as connection:
        circuits.admit(connection, account, now=clock(), lease_s=300)


def test_a_lead_that_we_refuse_ourselves_says_nothing_of_the_service(
    store: Store, settings: Settings, deliverer: Deliverer, accept: Accept, clock: StoppedClock
) -> None:
    """Telegram without a chat: nothing is sent. (The same: a template with a missing field, a price that is none.)"""
    from leadcast.flow.deliver.admit import _ref
    from leadcast.integrations import registry
    from leadcast.integrations.base import Account

    telegram = registry.get("telegram")
    account = Account(credentials=telegram.credentials_model.model_validate({"bot_token": "7000000001:" + "A" * 35}))
    real = replace(deliverer, accounts=lambda integration, inline: account)
    away = TransientError("Cannot reach it.", code="unreachable")
    for _ in range(settings.circuit_failures):
        with store.begin() as connection:
            circuits.failed(connection, _ref(telegram, account), away, is_probe=False, settings=settings, now=clock())
    clock.pass_s(settings.circuit_open_s)
    delivery_id = f"{accept('telegram').batch_id}-0"
    with pytest.raises(AttemptFailed, match="No chat"):
        real.deliver(delivery_id, integration=telegram, last_in_run=False, action=by_hand(real))
    with store.begin() as connection:
        assert len(circuits.listing(connection)) == 1, "closed, and Telegram was not asked"


def test_who_waits_for_the_circuit_takes_no_slot_of_the_limit(
    store: Store, settings: Settings, deliverer: Deliverer, accept: Accept, clock: StoppedClock
) -> None:
    class Group(Service):
        def limits(self, *, settings: Any, account: Any) -> Any:
            return [Limit(name="group", calls=20, period_s=3600)]

    service = Group(answers=[TransientError("away", code="unreachable")] * 5)
    for _ in range(20):
        attempt(deliverer, f"{accept('telegram').batch_id}-0", service)
    assert len(service.got) == 5
    with store.begin() as connection:
        circuits.close(connection, "", now=clock())
    late = accept("telegram").batch_id
    attempt(deliverer, f"{late}-0", service)
    assert states(store, late) == [D.DELIVERED], "5 calls of 20 have gone out"


def test_two_that_hear_410_at_once_tell_people_once(store: Store, settings: Settings, clock: StoppedClock) -> None:
    account, gone = AccountRef(id="b" * 40, type="webhook", label="x"), Gone("no more", code="410")

    def hear() -> None:
        with store.begin() as connection:
            account_watch.note(connection, account, gone, is_probe=False, settings=settings, now=clock())

    with ThreadPoolExecutor(1) as pool:
        with store.begin() as first:
            account_watch.note(first, account, gone, is_probe=False, settings=settings, now=clock())
            clock.pass_s(0.01)
            second = pool.submit(hear)
            waits_or_ends(store, second)
        second.result()
    with store.begin() as connection:
        told = connection.execute(select(notifications).where(notifications.c.occasion == "account")).all()
    assert len(told) == 1


def test_a_delivery_that_meets_an_open_circuit_while_it_closes_does_not_sleep_on(
    store: Store,
    settings: Settings,
    deliverer: Deliverer,
    accept: Accept,
    clock: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(answers=[TransientError("away", code="unreachable")] * 5)
    for _ in range(5):
        attempt(deliverer, f"{accept('telegram').batch_id}-0", service)
    admit = circuits.admit

    def late(*args: Any, **more: Any) -> bool:
        try:
            return admit(*args, **more)
        except Postponed:
            with store.begin() as other:  # the probe comes back with success just now
                circuits.close(other, "", now=clock())
            raise

    monkeypatch.setattr(circuits, "admit", late)
    delivery_id = f"{accept('telegram').batch_id}-0"
    attempt(deliverer, delivery_id, service)
    with store.begin() as connection:
        due_at = connection.execute(select(deliveries.c.next_attempt_at).where(deliveries.c.id == delivery_id)).scalar()
    assert due_at == clock()


def test_no_wave_has_a_task_for_what_an_old_runs_cleared_task_is_sending(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    batch_id = accept("webhook").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    attempt(deliverer, f"{batch_id}-0", Service(answers=[LATER]))
    settler.wave("run-1", Ending())
    listed: list[list[str]] = []
    service = Service(while_sending=lambda: listed.append(ids(plan(store, settings, run_id="run-2", clock=clock))))
    attempt(deliverer, f"{batch_id}-0", service)  # cleared in run-1, well before it is due
    assert listed == [[]]


def test_a_wave_whose_plan_failed_is_told_of_though_its_batches_wait(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    batch_id = accept("webhook").batch_id
    plan(store, settings, run_id="run-1", clock=clock)
    attempt(deliverer, f"{batch_id}-0", Service(answers=[LATER]))
    settler.wave("run-1", Ending())
    clock.pass_s(200)
    plan(store, settings, run_id="run-2", clock=clock)  # then writing the lists fails three times
    settler.wave("run-2", Ending(critical="the plan of the wave failed"))
    with store.begin() as connection:
        told = list(connection.execute(select(notifications.c.occasion)).scalars())
    assert "critical" in told


def test_a_run_is_not_failed_while_one_of_its_batches_waits(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer, settler: Settler
) -> None:
    from leadcast.flow.settle import all_failed

    bad, waits = (accept("webhook").batch_id for _ in range(2))
    plan(store, settings, run_id="run-1", clock=clock)
    for batch_id, error in ((bad, RejectedError("no")), (waits, LATER)):
        attempt(deliverer, f"{batch_id}-0", Service(answers=[error]))
        settler.so_far([batch_id])  # as the operator does
    assert not all_failed(settler.wave("run-1", Ending())), "one of two has failed"


def test_what_airflow_repeats_after_a_killed_process_waits_as_the_service_has_asked(
    store: Store, deliverer: Deliverer, accept: Accept, clock: StoppedClock
) -> None:
    """The ledger says: in 300 s, by a later wave. The process dies before Airflow hears that; Airflow tries again."""
    service = Service(answers=[TransientError("down for a while", code="503", retry_after_s=300)] * 3)
    delivery_id = f"{accept('telegram').batch_id}-0"
    for _ in range(3):
        attempt(deliverer, delivery_id, service, asked=False)
        clock.pass_s(10)
    assert len(service.got) == 1
    assert states(store, delivery_id[:-2]) == [D.RETRYING], f"{len(service.got)} tries in 30 s, and the lead has failed"


def test_who_has_a_place_in_the_queue_of_a_limit_passes_those_who_come_later(store: Store) -> None:
    group = Limit(name="group", calls=1, period_s=60)
    limiter = StoredLimits(store)
    limiter.take([group], may_wait_s=0)
    waits = []
    for _ in range(3):
        with pytest.raises(Postponed) as early:
            limiter.take([group], may_wait_s=10)
        waits.append(early.value.wait_s)
    assert waits == sorted(waits)
    assert waits[0] < 67
    # a minute later: the slot is free, and three have been promised the next ones
    with store.begin() as connection:
        state = connection.execute(select(limits.c.state)).scalar_one()
        earlier = {"slots": [at - 67 for at in state["slots"]], "queued_until": state["queued_until"] - 67}
        connection.execute(update(limits).values(state=earlier))
    with pytest.raises(Postponed):
        limiter.take([group], may_wait_s=10)
    assert limiter.take([group], may_wait_s=10, has_place=True) == 0.0
    with pytest.raises(Postponed) as again:
        limiter.take([group], may_wait_s=10, has_place=True)
    assert again.value.wait_s < 67, "who was promised a slot and lost it gets the next one, not the end"


def test_of_those_that_wait_for_an_account_one_goes_ahead_and_then_another(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer
) -> None:
    """A lead that fails whatever happens must not be the only one that is ever tried."""
    away = TransientError("away", code="unreachable")
    for _ in range(5):  # four of them have failed for good, and the fifth waits, too
        refused = CredentialsError("The service does not take the token (401).", code="401")
        attempt(deliverer, f"{accept('telegram').batch_id}-0", Service(answers=[refused]))
    waiting = {accept("telegram").batch_id for _ in range(4)}
    plan(store, settings, run_id="run-0", clock=clock)
    for batch_id in waiting:
        attempt(deliverer, f"{batch_id}-0", Service())
    settler = Settler(store=store, settings=settings, clock=clock)
    settler.wave("run-0", Ending())
    assert ring_for_rest(store, settings, clock=clock) is None

    tried = []
    for number in range(1, 5):
        with store.begin() as connection:
            (open_one,) = circuits.listing(connection)
        assert open_one.until is not None
        clock.pass_s((open_one.until - clock()).total_seconds())
        (probe,) = ids(plan(store, settings, run_id=f"run-{number}", clock=clock))
        beside = plan(store, settings, run_id=f"beside-{number}", clock=clock)
        assert ids(beside) == [probe], "nor does the next one go ahead while this one has not been tried yet"
        tried.append(probe)
        attempt(deliverer, probe, Service(answers=[away]), asked=False)
        settler.wave(f"run-{number}", Ending())
    assert len(set(tried)) == len(tried)


def test_a_task_of_an_old_run_waits_while_another_run_sends_its_delivery_and_not_for_others_of_its_batch(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, deliverer: Deliverer
) -> None:
    batch_id = accept("webhook", "amocrm").batch_id
    plan(store, settings, run_id="run-2", clock=clock)
    old = partial(deliverer.deliver, last_in_run=False, action=by_hand(deliverer), run_id="run-1")
    waits: list[float | None] = []

    def meanwhile() -> None:
        with pytest.raises(AttemptFailed, match="still on its way") as busy:
            old(f"{batch_id}-0", integration=Service())
        waits.append(busy.value.retry_in_s)
        old(f"{batch_id}-1", integration=Service())

    deliverer.deliver(f"{batch_id}-0", integration=Service(while_sending=meanwhile), last_in_run=False, run_id="run-2")
    assert waits
    assert None not in waits, "what a person wants, it comes back for"
    assert states(store, batch_id) == [D.DELIVERED, D.DELIVERED]


def test_what_has_ended_is_started_again_by_a_person_and_by_nobody_else(
    store: Store, accept: Accept, deliverer: Deliverer
) -> None:
    batch_id = accept("webhook").batch_id
    service = Service(answers=[RejectedError("no")])
    attempt(deliverer, f"{batch_id}-0", service)
    with pytest.raises(AttemptFailed, match="has ended: failed"):
        deliverer.deliver(f"{batch_id}-0", integration=service, last_in_run=False)
    deliverer.deliver(f"{batch_id}-0", integration=service, last_in_run=False, action=by_hand(deliverer))
    assert states(store, batch_id) == [D.DELIVERED]
