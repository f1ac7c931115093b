"""From the ledger to a status that is right, and each thing told once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed, RejectedError, TransientError
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.setting_choices import Occasion
from leadcast.core.settings import Settings
from leadcast.engine.dags.sweep_steps import settle_dead_waves
from leadcast.engine.runs.ended import STOPPED
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.plan import plan
from leadcast.flow.settle import Settler, all_failed
from leadcast.store.batches import claims, ledger, snapshots, views
from leadcast.store.database import Store
from leadcast.store.schema import notifications
from tests.support.by_hand import by_hand
from tests.support.leases import dead

from .conftest import Service, StoppedClock
from .ground import Runs
from .test_deliver import die_in_mid_air

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
GOOD = None
BAD = RejectedError("no such pipeline", code="400")
ENDED = "the run has ended before its time"


@pytest.fixture
def wave(store: Store, settings: Settings, deliverer: Deliverer, accept: Accept) -> Callable[..., str]:
    """A wave with one batch, whose deliveries have been tried with these outcomes. Returns the batch's id."""

    def wave(*outcomes: Exception | None, run_id: str = "w", types: tuple[str, ...] = ("amocrm", "email")) -> str:
        batch_id = accept(*types).batch_id
        plan(store, settings, run_id=run_id, clock=deliverer.clock)
        for index, outcome in enumerate(outcomes):
            send(deliverer, f"{batch_id}-{index}", outcome)
        return batch_id

    return wave


def send(deliverer: Deliverer, delivery_id: str, outcome: Exception | None) -> None:
    service = Service(answers=[outcome] if outcome else [])
    try:
        deliverer.deliver(delivery_id, integration=service, last_in_run=True, action=by_hand(deliverer))
    except AttemptFailed:
        assert outcome is not None


def status(store: Store, batch_id: str) -> BatchStatus:
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert (view.finished_at is not None) == view.status.is_final
    return view.status


def states(store: Store, batch_id: str) -> list[D]:
    with store.begin() as connection:
        return [item.state for item in snapshots.of_batch(connection, batch_id=batch_id)]


def told(store: Store) -> list[tuple[str, str]]:
    with store.begin() as connection:
        rows = connection.execute(
            select(notifications.c.channel, notifications.c.occasion).order_by(notifications.c.id)
        )
        return [(row.channel, row.occasion) for row in rows]


def reasons(store: Store) -> list[str]:
    """What people are told by e-mail."""
    with store.begin() as connection:
        rows = connection.execute(
            select(notifications.c.payload).where(notifications.c.channel == "email").order_by(notifications.c.id)
        )
        return [row.payload["reason"] for row in rows]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((GOOD, GOOD), BatchStatus.COMPLETED),
        ((GOOD, BAD), BatchStatus.PARTIAL),
        ((BAD, BAD), BatchStatus.FAILED),
    ],
)
def test_the_status_follows_from_the_ledger_and_is_told_once(
    store: Store,
    settler: Settler,
    wave: Callable[..., str],
    outcomes: tuple[Exception | None, ...],
    expected: BatchStatus,
) -> None:
    batch_id = wave(*outcomes)
    for _ in range(3):
        settler.wave("w", Ending())
    assert status(store, batch_id) is expected
    assert told(store) == [("hook", "then"), ("hook", "finally"), ("email", expected.value)]


def test_a_wave_in_which_every_batch_failed_is_known(settler: Settler, wave: Callable[..., str]) -> None:
    wave(BAD, BAD)
    assert all_failed(settler.wave("w", Ending()))
    wave(GOOD, BAD)
    assert not all_failed(settler.wave("w", Ending()))
    assert not all_failed(settler.wave("an empty wave", Ending()))


def test_a_delivery_that_was_cleared_and_succeeded_changes_the_status_and_that_is_told(
    store: Store, settler: Settler, deliverer: Deliverer, wave: Callable[..., str]
) -> None:
    batch_id = wave(GOOD, BAD)
    settler.wave("w", Ending())
    send(deliverer, f"{batch_id}-1", GOOD)
    settler.wave("w", Ending())
    assert status(store, batch_id) is BatchStatus.COMPLETED
    assert [occasion for channel, occasion in told(store) if channel == "email"] == ["partial", "completed"]


def test_what_a_run_that_was_stopped_left_in_mid_air_is_unknown_or_failed_where_repeating_is_safe(
    store: Store,
    settings: Settings,
    settler: Settler,
    deliverer: Deliverer,
    clock: StoppedClock,
    wave: Callable[..., str],
) -> None:
    batch_id = wave(types=("telegram", "webhook", "email"))
    for index in (0, 1):
        with store.begin() as connection:
            ledger.begin(connection, f"{batch_id}-{index}", lease=dead(store), now=clock())
    settler.wave("w", Ending(critical=STOPPED))
    assert states(store, batch_id) == [D.UNKNOWN, D.FAILED, D.PENDING]
    assert status(store, batch_id) is BatchStatus.PENDING, "the e-mail was never begun, and goes out with a later wave"
    plan(store, settings, run_id="w2", clock=clock)
    send(deliverer, f"{batch_id}-2", GOOD)
    settler.wave("w2", Ending())
    assert status(store, batch_id) is BatchStatus.PARTIAL
    assert [occasion for channel, occasion in told(store) if channel == "email"] == ["critical", "critical"]
    assert reasons(store) == [f"{STOPPED}. Deliveries that it had not begun: 1. A later run sends them.", STOPPED]


def test_what_is_still_being_sent_is_left_alone_and_settled_later(
    store: Store, settler: Settler, deliverer: Deliverer, wave: Callable[..., str]
) -> None:
    batch_id = wave(types=("telegram",))
    service = Service(while_sending=lambda: settler.wave("w", Ending()))
    deliverer.deliver(f"{batch_id}-0", integration=service, last_in_run=True, action=by_hand(deliverer))
    assert states(store, batch_id) == [D.DELIVERED]
    assert status(store, batch_id) is BatchStatus.PROCESSING
    settler.wave("w", Ending())
    assert status(store, batch_id) is BatchStatus.COMPLETED


def test_while_the_wave_goes_on_open_deliveries_stay_open(
    store: Store, settler: Settler, wave: Callable[..., str]
) -> None:
    batch_id = wave(GOOD)
    settler.so_far([batch_id])
    assert states(store, batch_id) == [D.DELIVERED, D.PENDING]
    assert status(store, batch_id) is BatchStatus.PROCESSING
    assert told(store) == []


def test_a_run_that_was_stopped_is_critical_for_what_it_had_begun_and_its_reason_is_told(
    store: Store, settler: Settler, clock: StoppedClock, wave: Callable[..., str]
) -> None:
    batch_id = wave(GOOD)
    die_in_mid_air(store, f"{batch_id}-1", clock)
    settler.wave("w", Ending(critical=STOPPED))
    assert states(store, batch_id) == [D.DELIVERED, D.FAILED]
    assert status(store, batch_id) is BatchStatus.PARTIAL
    assert told(store) == [("hook", "catch"), ("hook", "then"), ("hook", "finally"), ("email", "critical")]
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert view.critical == STOPPED


@pytest.mark.parametrize("gives_back", [True, False], ids=["timed out", "stopped by a person"])
def test_what_a_run_has_not_begun_goes_back_however_often_it_ends_and_one_letter_a_run_says_so(
    store: Store, settings: Settings, settler: Settler, clock: StoppedClock, wave: Callable[..., str], gives_back: bool
) -> None:
    ids = [wave(run_id="w0"), wave(run_id="w0"), wave(GOOD, run_id="w0")]
    for number in range(2 * settings.max_claims):
        settler.wave(f"w{number}", Ending(critical=ENDED, requeue_begun=gives_back))
        assert [status(store, each) for each in ids] == [BatchStatus.PENDING] * 3
        assert len(plan(store, settings, run_id=f"w{number + 1}", clock=clock).work["email"]) == 3
    assert told(store) == [("email", "critical")] * 2 * settings.max_claims
    assert set(reasons(store)) == {f"{ENDED}. Deliveries that it had not begun: 5. A later run sends them."}


def test_a_run_that_timed_out_gives_back_what_has_tries_left_and_counts_what_it_died_of(
    store: Store,
    settings: Settings,
    settler: Settler,
    deliverer: Deliverer,
    clock: StoppedClock,
    wave: Callable[..., str],
) -> None:
    batch_id = wave(run_id="w0", types=("amocrm",))
    for number in range(settings.max_claims):
        assert status(store, batch_id) is BatchStatus.PROCESSING
        die_in_mid_air(store, f"{batch_id}-0", clock)
        settler.wave(f"w{number}", Ending(critical=ENDED, requeue_begun=True))
        plan(store, settings, run_id=f"w{number + 1}", clock=clock)
    assert (status(store, batch_id), states(store, batch_id)) == (BatchStatus.FAILED, [D.UNKNOWN])
    assert set(reasons(store)) == {ENDED}


def test_what_waits_to_be_tried_again_outlives_any_number_of_runs_that_time_out(
    store: Store,
    settings: Settings,
    settler: Settler,
    deliverer: Deliverer,
    clock: StoppedClock,
    wave: Callable[..., str],
) -> None:
    batch_id = wave(run_id="w0", types=("amocrm",))
    with pytest.raises(AttemptFailed):
        deliverer.deliver(
            f"{batch_id}-0",
            integration=Service(answers=[TransientError("down")]),
            last_in_run=False,
            action=by_hand(deliverer),
        )
    for number in range(2 * settings.max_claims):
        settler.wave(f"w{number}", Ending(critical=ENDED, requeue_begun=True))
        plan(store, settings, run_id=f"w{number + 1}", clock=clock)
    assert states(store, batch_id) == [D.RETRYING]


def test_a_letter_about_a_run_is_written_before_anything_goes_back(
    store: Store, settler: Settler, wave: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever settles the run after we have died finds nothing of it any more, and so nothing to tell."""
    wave()
    monkeypatch.setattr(Settler, "batch", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        settler.wave("w", Ending(critical=ENDED, requeue_begun=True))
    assert told(store) == [("email", "critical")]


def test_a_run_that_ended_with_everything_sent_is_not_critical(
    store: Store, settler: Settler, wave: Callable[..., str]
) -> None:
    batch_id = wave(GOOD, GOOD)
    settler.wave("w", Ending(critical="settle was killed"))
    assert status(store, batch_id) is BatchStatus.COMPLETED
    assert ("email", "critical") not in told(store)


def test_after_a_failed_plan_the_batches_go_back_and_the_next_wave_takes_them(
    store: Store, settings: Settings, settler: Settler, wave: Callable[..., str]
) -> None:
    batch_id = wave()
    assert settler.wave("w", Ending(critical="the plan failed", requeue_begun=True)) == []
    assert status(store, batch_id) is BatchStatus.PENDING
    assert told(store) == [("email", "critical")]
    assert set(plan(store, settings, run_id="w2").work) == {"amocrm", "email"}


def test_a_wave_that_comes_late_leaves_alone_what_another_has_claimed_by_now(
    store: Store, settings: Settings, settler: Settler, wave: Callable[..., str]
) -> None:
    batch_id = wave(run_id="dead")
    settler.wave("dead", Ending(critical="gone", requeue_begun=True))
    plan(store, settings, run_id="alive")
    assert settler.batch(batch_id, run_id="dead", ending=Ending(critical="gone")) is None
    assert states(store, batch_id) == [D.PENDING, D.PENDING]
    assert status(store, batch_id) is BatchStatus.PROCESSING


def test_a_batch_is_settled_with_its_last_delivery_while_the_wave_goes_on(
    store: Store, settler: Settler, deliverer: Deliverer, wave: Callable[..., str]
) -> None:
    batch_id = wave(GOOD)
    settler.so_far([batch_id])
    assert status(store, batch_id) is BatchStatus.PROCESSING
    send(deliverer, f"{batch_id}-1", BAD)
    settler.so_far([batch_id])
    assert status(store, batch_id) is BatchStatus.PARTIAL


@pytest.mark.parametrize("critical", ["the plan failed", ""], ids=["its plan", "the tasks that are to begin it"])
def test_a_batch_that_kills_every_wave_is_given_up(
    store: Store, settings: Settings, settler: Settler, wave: Callable[..., str], critical: str
) -> None:
    batch_id = wave(run_id="w0")
    tasks = frozenset[str]() if critical else {f"{batch_id}-{index}" for index in range(2)}
    for number in range(settings.max_claims):
        assert status(store, batch_id) is BatchStatus.PROCESSING
        settler.wave(
            f"w{number}",
            Ending(
                critical=critical,
                requeue_begun=True,
                had_its_chance=bool(critical),
                failed_with=lambda: tasks,
            ),
        )
        plan(store, settings, run_id=f"w{number + 1}")
    assert status(store, batch_id) is BatchStatus.FAILED
    assert (("email", "critical") if critical else ("email", "failed")) in told(store)
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert {item.error["code"] for item in view.deliveries if item.error} == {"not_begun"}


def test_what_was_not_begun_goes_back_however_often_where_its_task_has_not_failed(
    store: Store, settings: Settings, settler: Settler, wave: Callable[..., str]
) -> None:
    """The store was away, say; what rides with it is another matter."""
    batch_id = wave(run_id="w0")
    for number in range(settings.max_claims + 2):
        assert settler.wave(f"w{number}", Ending(requeue_begun=True, failed_with=lambda: {f"{batch_id}-0"})) == []
        plan(store, settings, run_id=f"w{number + 1}")
    assert states(store, batch_id) == [D.FAILED, D.PENDING]


def test_a_batch_that_ends_critically_once_more_is_told_of_by_its_run(
    store: Store, settler: Settler, clock: StoppedClock, wave: Callable[..., str]
) -> None:
    """Its own letter is the same as before, which has gone out; and the run was cleared, so somebody waits for it."""
    batch_id = wave(types=("telegram",))
    for clears, letters in ((0, 1), (1, 2), (1, 2)):
        with store.begin() as connection:
            claims.ensure_claim(connection, batch_id=batch_id, run_id="w")
        die_in_mid_air(store, f"{batch_id}-0", clock)
        for _ in range(2):
            settler.wave("w", Ending(critical=STOPPED, told_as=f"w {clears}"))
        assert (status(store, batch_id), reasons(store)) == (BatchStatus.FAILED, [STOPPED] * letters)


def test_people_hear_only_of_what_they_asked_for(store: Store, clock: StoppedClock, wave: Callable[..., str]) -> None:
    wave(GOOD, GOOD)
    quiet = Settings(notify_on=(Occasion.FAILED,), notify_emails=("a@example.com",))
    Settler(store=store, settings=quiet, clock=clock).wave("w", Ending())
    assert [row for row in told(store) if row[0] == "email"] == []


def test_the_sweep_settles_waves_whose_run_is_over_and_no_others(
    store: Store, settler: Settler, wave: Callable[..., str]
) -> None:
    stopped, running = wave(GOOD, run_id="stopped"), wave(GOOD, run_id="running")
    state = {"running": "running", "stopped": "failed"}.get
    assert settle_dead_waves(settler, runs=Runs(state)) == 1
    assert (status(store, stopped), status(store, running)) == (BatchStatus.PENDING, BatchStatus.PROCESSING)
    assert ("email", "critical") in told(store)


def test_the_sweep_gives_back_what_a_vanished_run_has_left_open(
    store: Store, settler: Settler, clock: StoppedClock, wave: Callable[..., str]
) -> None:
    ended, begun, not_begun = wave(GOOD, BAD, run_id="w0"), wave(GOOD, run_id="w1"), wave(run_id="w2")
    assert settle_dead_waves(settler, runs=Runs(lambda _: None)) == 0, "it may just be on its way"
    clock.pass_s(61)
    assert settle_dead_waves(settler, runs=Runs(lambda _: None)) == 3
    assert [status(store, each) for each in (ended, begun, not_begun)] == [
        BatchStatus.PARTIAL,
        BatchStatus.PENDING,
        BatchStatus.PENDING,
    ]


def test_an_error_that_may_pass_says_so_in_the_ledger(store: Store, wave: Callable[..., str]) -> None:
    batch_id = wave(TransientError("down"), BAD)
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert [item.error["may_pass"] for item in view.deliveries if item.error] == [True, False]
