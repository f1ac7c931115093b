"""From the ledger to a status that is right, and each thing told once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import GIVEN_UP, AttemptFailed, RejectedError, TransientError
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.setting_choices import Occasion
from leadcast.core.settings import Settings
from leadcast.engine.runs.ended import STOPPED
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.settle import Settler, all_failed
from leadcast.flow.take_over import take_over
from leadcast.store.batches import ledger, opening, snapshots, views
from leadcast.store.database import Store
from leadcast.store.schema import notifications
from tests.support.by_hand import by_hand
from tests.support.leases import dead
from tests.support.planned import plan

from .conftest import Service, StoppedClock

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


def die_in_mid_call(store: Store, delivery_id: str, clock: StoppedClock) -> None:
    """What a process that was killed while sending leaves behind."""
    with store.begin() as connection:
        locked = opening.lock_of(connection, delivery_ids=[delivery_id])
        ledger.begin(connection, delivery_id, lease=dead(store), now=clock())
        opening.open_all(connection, locked.values(), run_id="w")


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


def test_what_a_run_leaves_in_mid_air_is_another_runs_once_its_process_is_dead(
    store: Store,
    settings: Settings,
    settler: Settler,
    deliverer: Deliverer,
    clock: StoppedClock,
    wave: Callable[..., str],
) -> None:
    batch_id = wave(types=("amocrm", "telegram", "email"))
    for index in (0, 1):
        die_in_mid_call(store, f"{batch_id}-{index}", clock)
    settler.wave("w", Ending(critical=STOPPED))
    assert states(store, batch_id) == [D.SENDING, D.SENDING, D.PENDING], "a run that ends changes nothing of it"
    take_over(settler)
    assert states(store, batch_id) == [D.RETRYING, D.RETRYING, D.PENDING]
    plan(store, settings, run_id="w2", clock=clock)
    service = Service(repeatable=True)
    for index in range(3):
        deliverer.deliver(f"{batch_id}-{index}", integration=service, last_in_run=True, run_id="w2")
    settler.so_far([batch_id])
    assert status(store, batch_id) is BatchStatus.COMPLETED
    assert reasons(store)[0] == f"{STOPPED}. Deliveries that it leaves: 3. A later run sends them."


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


def test_a_run_that_does_not_come_to_its_end_is_told_of_once_and_its_batches_are_not_critical(
    store: Store, settler: Settler, wave: Callable[..., str]
) -> None:
    batch_id = wave(GOOD)
    for _ in range(3):
        settler.wave("w", Ending(critical=STOPPED))
    settler.wave("w", Ending(critical=ENDED))
    assert states(store, batch_id) == [D.DELIVERED, D.PENDING]
    assert status(store, batch_id) is BatchStatus.PROCESSING
    assert told(store) == [("email", "critical")]
    assert reasons(store) == [f"{STOPPED}. Deliveries that it leaves: 1. A later run sends them."]
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert not view.critical


def test_what_runs_have_not_begun_is_due_however_often_they_end_and_one_letter_a_run_says_so(
    store: Store, settings: Settings, settler: Settler, clock: StoppedClock, wave: Callable[..., str]
) -> None:
    ids = [wave(run_id="w0"), wave(run_id="w0"), wave(GOOD, run_id="w0")]
    for number in range(2 * settings.max_claims):
        settler.wave(f"w{number}", Ending(critical=ENDED))
        assert [status(store, each) for each in ids] == [BatchStatus.PENDING] * 2 + [BatchStatus.PROCESSING]
        assert len(plan(store, settings, run_id=f"w{number + 1}", clock=clock).work["email"]) == 3
    assert told(store) == [("email", "critical")] * 2 * settings.max_claims
    first, *others = reasons(store)
    assert first == f"{ENDED}. Deliveries that it leaves: 5. A later run sends them."
    assert set(others) == {f"{ENDED}. A later run sends what is due."}


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
        settler.wave(f"w{number}", Ending(critical=ENDED))
        plan(store, settings, run_id=f"w{number + 1}", clock=clock)
    assert states(store, batch_id) == [D.RETRYING]


def test_whoever_settles_a_run_after_another_has_died_of_it_tells_of_it(
    store: Store, settler: Settler, wave: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = wave(GOOD, BAD)
    with monkeypatch.context() as dying:
        dying.setattr(Settler, "tell_of_run", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            settler.wave("w", Ending(critical=ENDED))
    assert status(store, batch_id) is BatchStatus.PARTIAL
    settler.wave("w", Ending(critical=ENDED))
    assert [occasion for channel, occasion in told(store) if channel == "email"] == ["partial", "critical"]


def test_a_batch_of_a_run_that_ended_badly_with_everything_sent_is_not_critical(
    store: Store, settler: Settler, wave: Callable[..., str]
) -> None:
    batch_id = wave(GOOD, GOOD)
    settler.wave("w", Ending(critical="settle was killed"))
    assert status(store, batch_id) is BatchStatus.COMPLETED
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert not view.critical
    assert reasons(store)[-1] == "settle was killed. A later run sends what is due."


def test_after_a_failed_plan_people_are_told_and_the_next_wave_has_what_waits(
    store: Store, settings: Settings, settler: Settler, clock: StoppedClock, accept: Accept
) -> None:
    batch_id = accept("amocrm", "email").batch_id
    assert settler.wave("w", Ending(critical="the plan failed")) == []
    assert status(store, batch_id) is BatchStatus.PENDING
    assert told(store) == [("email", "critical")]
    assert set(plan(store, settings, run_id="w2", clock=clock).work) == {"amocrm", "email"}


def test_a_wave_that_comes_late_leaves_alone_what_was_sent_again_since(
    store: Store,
    settler: Settler,
    settings: Settings,
    deliverer: Deliverer,
    clock: StoppedClock,
    wave: Callable[..., str],
) -> None:
    batch_id = wave(BAD)
    retrier = Retrier(store=store, settings=settings, clock=clock)

    def given_up() -> set[str]:
        """While it looks what a person has marked, the rest ends, is retried, and is another run's."""
        send(deliverer, f"{batch_id}-1", BAD)
        settler.so_far([batch_id])
        retrier.batch(batch_id)
        plan(store, settings, run_id="another", clock=clock)
        return {f"{batch_id}-0", f"{batch_id}-1"}

    made = clock() - timedelta(minutes=1)
    assert settler.wave("w", Ending(given_up=given_up, since=made)) == []
    assert states(store, batch_id) == [D.PENDING, D.PENDING]
    assert status(store, batch_id) is BatchStatus.PENDING


def test_what_a_person_has_marked_as_a_success_ends_and_the_rest_of_its_batch_goes_on(
    store: Store, settler: Settler, wave: Callable[..., str]
) -> None:
    batch_id = wave(types=("amocrm", "email", "telegram"))
    settler.wave("w", Ending(given_up=lambda: {f"{batch_id}-1", "of another batch"}))
    assert states(store, batch_id) == [D.PENDING, D.FAILED, D.PENDING]
    assert status(store, batch_id) is BatchStatus.PENDING
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert (view.deliveries[1].error or {})["code"] == GIVEN_UP


def test_what_a_process_still_sends_is_not_given_up(
    store: Store, settler: Settler, deliverer: Deliverer, wave: Callable[..., str]
) -> None:
    batch_id = wave(types=("telegram",))
    marked = f"{batch_id}-0"
    service = Service(while_sending=lambda: settler.wave("w", Ending(given_up=lambda: {marked})))
    deliverer.deliver(marked, integration=service, last_in_run=True, action=by_hand(deliverer))
    assert states(store, batch_id) == [D.DELIVERED]


def test_a_batch_is_settled_with_its_last_delivery_while_the_wave_goes_on(
    store: Store, settler: Settler, deliverer: Deliverer, wave: Callable[..., str]
) -> None:
    batch_id = wave(GOOD)
    settler.so_far([batch_id])
    assert status(store, batch_id) is BatchStatus.PROCESSING
    send(deliverer, f"{batch_id}-1", BAD)
    settler.so_far([batch_id])
    assert status(store, batch_id) is BatchStatus.PARTIAL


def test_a_run_that_was_cleared_and_ends_so_again_is_told_of_again(
    store: Store, settler: Settler, wave: Callable[..., str]
) -> None:
    """Somebody waits for it."""
    wave(types=("telegram",))
    for clears, letters in ((0, 1), (1, 2), (1, 2)):
        settler.wave("w", Ending(critical=STOPPED, told_as=f"w {clears}"))
        assert len(reasons(store)) == letters


def test_people_hear_only_of_what_they_asked_for(store: Store, clock: StoppedClock, wave: Callable[..., str]) -> None:
    wave(GOOD, GOOD)
    quiet = Settings(notify_on=(Occasion.FAILED,), notify_emails=("a@example.com",))
    Settler(store=store, settings=quiet, clock=clock).wave("w", Ending())
    assert [row for row in told(store) if row[0] == "email"] == []


def test_an_error_that_may_pass_says_so_in_the_ledger(store: Store, wave: Callable[..., str]) -> None:
    batch_id = wave(TransientError("down"), BAD)
    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert [item.error["may_pass"] for item in view.deliveries if item.error] == [True, False]
