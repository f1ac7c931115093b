"""The sweep: what no wave is going to do any more is picked up, whatever else of it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed, LeadcastError, RejectedError, StoreError
from leadcast.core.model import BatchStatus, DeliveryState, Receipt
from leadcast.core.settings import Settings
from leadcast.engine.dags import sweep_steps as sweep
from leadcast.engine.runs.trouble import SILENT_AFTER, Trouble, UnsweptError
from leadcast.flow import plan as flow_plan
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import DIED
from leadcast.flow.told import Moment
from leadcast.store.batches import bell, lanes, views
from leadcast.store.database import Store
from leadcast.store.schema import attempts, deliveries, notifications
from tests.support.leases import dead
from tests.support.planned import plan

from .carried import due_for
from .conftest import Service, StoppedClock
from .test_deliver import die_in_mid_air

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
S = BatchStatus


class Airflow:
    """Knows its runs: id → state. `silent`: of these it does not answer."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.silent: set[str] = set()
        self.asked: list[str] = []

    def run_state(self, run_id: str) -> str | None:
        self.asked.append(run_id)
        if "*" in self.silent or run_id in self.silent:
            raise ConnectionError("the API is away")
        return self.runs.get(run_id)


class Ground:
    """The store with its sweep, and waves that end as a test wants them to."""

    def __init__(
        self, store: Store, settings: Settings, clock: StoppedClock, deliverer: Deliverer, accept: Accept
    ) -> None:
        self.store, self.settings, self.clock, self.deliverer, self.accept = store, settings, clock, deliverer, accept
        self.airflow = Airflow()

    def sweep(self, *, hooks: Collection[str] = ()) -> None:
        """Picks up what the dead have left, and frees the lanes of runs that are over."""
        sweep.pick_up(Settler(store=self.store, settings=self.settings, clock=self.clock, hooks=hooks))
        sweep.free_lanes(
            self.store, will_begin=lambda run_id, kind: self.airflow.run_state(run_id) in ("queued", "running")
        )

    def ring(self) -> str | None:
        """The run that the sweep has to create."""
        return sweep.ring(
            self.store,
            self.settings,
            run_state=self.airflow.run_state,
            clock=self.clock,
        )

    def planned(self, run_id: str, *types: str, state: str | None = None) -> str:
        """A batch that this run has tasks for, of which none has begun; returns its id."""
        batch_id = self.accept(*types or ("telegram",)).batch_id
        flow_plan.plan(self.store, self.settings, run_id=run_id, own_batch_id=batch_id, clock=self.clock)
        if state is not None:
            self.airflow.runs[run_id] = state
        return batch_id

    def wave(self, run_id: str, service: Service) -> list[str]:
        """A run from its plan to its settle. Returns the ids of the deliveries that it had."""
        made = plan(self.store, self.settings, run_id=run_id, clock=self.clock)
        sent = due_for(self.store, made, now=self.clock())
        for delivery_id in sent:
            self.deliverer.deliver(delivery_id, integration=service, last_in_run=True, run_id=run_id)
        settler = Settler(store=self.store, settings=self.settings, clock=self.clock)
        settler.so_far({delivery_id.rpartition("-")[0] for delivery_id in sent})
        settler.wave(run_id, Ending())
        return sent

    def ended(self, *outcomes: Exception | None) -> str:
        """A batch whose deliveries have all ended so, and that nobody has settled; returns its id."""
        batch_id = self.accept(*("telegram", "email")[: len(outcomes)]).batch_id
        for index, outcome in enumerate(outcomes):
            with suppress(AttemptFailed):
                self.deliverer.deliver(
                    f"{batch_id}-{index}",
                    integration=Service(answers=[outcome] if outcome else []),
                    last_in_run=True,
                    run_id="w",
                )
        assert self.status(batch_id) is S.PROCESSING
        return batch_id

    def batch(self, batch_id: str) -> views.BatchView:
        with self.store.begin() as connection:
            found = views.batch(connection, batch_id)
        assert found is not None
        return found

    def status(self, batch_id: str) -> S:
        return self.batch(batch_id).status


@pytest.fixture
def ground(store: Store, settings: Settings, clock: StoppedClock, deliverer: Deliverer, accept: Accept) -> Ground:
    return Ground(store, settings, clock, deliverer, accept)


# --- accepted and never planned


def test_a_bell_that_nobody_has_heard_is_rung_again(ground: Ground, settings: Settings) -> None:
    first = ground.accept("telegram").run_id
    assert ground.ring() is None, "its run may just be on its way"
    ground.clock.pass_s(settings.bell_timeout_s + 1)
    again = ground.ring()
    assert again not in (None, first)


def test_a_run_that_was_deleted_before_it_was_planned_gets_a_successor(ground: Ground, settings: Settings) -> None:
    run_id = ground.accept("telegram").run_id
    assert run_id is not None
    ground.airflow.runs[run_id] = "queued"
    ground.clock.pass_s(settings.bell_timeout_s + 1)
    assert ground.ring() is None
    del ground.airflow.runs[run_id]
    ground.clock.pass_s(1)
    assert ground.ring() is not None, "it was there, so it is not to come any more"


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_waits_for_hours_gets_no_second_one_beside_it(ground: Ground, state: str) -> None:
    run_id = ground.accept("telegram").run_id
    assert run_id is not None
    ground.airflow.runs[run_id] = state
    for _ in range(60):
        ground.clock.pass_s(10)
        assert ground.ring() is None
        ground.clock.pass_s(50)
        assert ground.accept("telegram").run_id == run_id, "who comes meanwhile rides with it"


def test_who_comes_after_the_sweep_has_stopped_rings_beside_a_run_that_waits(
    ground: Ground, settings: Settings
) -> None:
    run_id = ground.accept("telegram").run_id
    assert run_id is not None
    ground.airflow.runs[run_id] = "queued"
    assert ground.ring() is None
    ground.clock.pass_s(60 + settings.bell_timeout_s + 1)
    assert ground.accept("telegram").must_ring


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_run_that_ended_without_planning_gets_a_successor(ground: Ground, settings: Settings, state: str) -> None:
    run_id = ground.accept("telegram").run_id
    assert run_id is not None
    ground.airflow.runs[run_id] = state
    ground.clock.pass_s(settings.bell_timeout_s + 1)
    assert ground.ring() is not None


def test_an_airflow_that_does_not_answer_stops_no_bell(ground: Ground, settings: Settings) -> None:
    ground.accept("telegram")
    ground.airflow.silent = {"*"}
    ground.clock.pass_s(settings.bell_timeout_s + 1)
    assert ground.ring() is not None


# --- what the dead have left


def test_what_a_dead_process_had_taken_is_delivered_once_by_the_next(ground: Ground) -> None:
    ground.airflow.runs["w"] = "running"
    batch_id = ground.planned("w", "telegram", "email")
    first = Service(answers=[Receipt(external_id="1")])
    ground.deliverer.deliver(f"{batch_id}-0", integration=first, last_in_run=True, run_id="w")
    with ground.store.begin() as connection:
        worker_id = dead(ground.store).take(connection)
        lanes.take_these(connection, [f"{batch_id}-1"], worker_id=worker_id)
    ground.clock.pass_s(61)
    assert ground.ring() is None, "he may live"
    del ground.airflow.runs["w"]
    ground.sweep()
    run_id = ground.ring()
    assert run_id is not None
    service = Service()
    assert ground.wave(run_id, service) == [f"{batch_id}-1"]
    assert (ground.status(batch_id), len(first.got), len(service.got)) == (S.COMPLETED, 1, 1)


@pytest.mark.parametrize(("state", "is_over"), [("failed", True), ("success", True), (None, True), ("running", False)])
def test_whatever_has_become_of_a_run_what_it_has_not_begun_waits_for_no_other_reason_than_a_run_to_come(
    ground: Ground, state: str | None, is_over: bool
) -> None:
    batch_id = ground.planned("w", state=state)
    ground.clock.pass_s(61)
    ground.sweep()
    assert ground.status(batch_id) is S.PENDING
    run_id = ground.ring()
    assert (run_id is not None) == is_over
    assert ground.wave(run_id or "w", Service()) == [f"{batch_id}-0"]


def test_a_batch_that_ends_by_a_death_is_settled_by_the_same_sweep(ground: Ground) -> None:
    batch_id = ground.planned("w")
    for _ in range(ground.settings.tries):
        die_in_mid_air(ground.store, f"{batch_id}-0", ground.clock)
        ground.sweep()
    assert ground.status(batch_id) is S.FAILED
    assert ground.batch(batch_id).critical == DIED


def hooks_told(store: Store) -> list[str]:
    with store.begin() as connection:
        told = select(notifications.c.occasion).where(notifications.c.channel == "hook").order_by(notifications.c.id)
        return list(connection.execute(told).scalars())


@pytest.mark.parametrize("hooks", [(), (Moment.CATCH, Moment.FINALLY)])
def test_the_sweep_calls_the_hooks_that_there_are(ground: Ground, store: Store, hooks: Collection[Moment]) -> None:
    batch_id = ground.planned("w")
    for _ in range(ground.settings.tries):
        die_in_mid_air(ground.store, f"{batch_id}-0", ground.clock)
        ground.sweep(hooks=hooks)
    assert ground.status(batch_id) is S.FAILED
    assert hooks_told(store) == list(hooks)


# --- it survives


def test_a_run_that_airflow_does_not_tell_of_keeps_no_other_lane_waiting(ground: Ground) -> None:
    ground.planned("w0", "amocrm", state="failed")
    others = [ground.planned("w1", "telegram", state="failed"), ground.planned("w2", "email", state="failed")]
    ground.airflow.silent = {"w0"}
    with pytest.raises(UnsweptError, match=r"Not known how they stand: asking for w0$"):
        ground.sweep()
    assert sorted(ground.wave("next", Service())) == sorted(f"{batch_id}-0" for batch_id in others)


def test_an_airflow_that_does_not_answer_is_not_asked_for_every_run(ground: Ground) -> None:
    kinds = ("amocrm", "bitrix24", "email", "telegram", "webhook")
    assert len(kinds) > SILENT_AFTER
    for kind in kinds:
        ground.planned(f"of {kind}", kind)
    ground.airflow.silent = {"*"}
    with pytest.raises(UnsweptError):
        ground.sweep()
    assert len(ground.airflow.asked) == SILENT_AFTER


@pytest.fixture
def poisonous(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Ids of batches whose settling raises."""
    ids: set[str] = set()
    real = Settler._write_status

    def write(self: Settler, connection: object, known: object, **more: object) -> object:
        if known.batch_id in ids:  # type: ignore[attr-defined]
            raise ValueError("what is in there is not what it should be")
        return real(self, connection, known, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Settler, "_write_status", write)
    return ids


def test_a_batch_that_cannot_be_settled_keeps_no_other_of_its_run_from_it(
    ground: Ground, settler: Settler, poisonous: set[str]
) -> None:
    first, sound = ground.ended(RejectedError("no")), ground.ended(None)
    poisonous.add(first)
    with pytest.raises(ValueError, match="not what it should be"):
        settler.wave("w", Ending())
    assert [ground.status(each) for each in (first, sound)] == [S.PROCESSING, S.COMPLETED]
    poisonous.clear()
    settler.wave("w", Ending())
    assert ground.status(first) is S.FAILED


def test_a_batch_that_cannot_be_settled_keeps_no_other_from_being_swept(ground: Ground, poisonous: set[str]) -> None:
    first, sound = ground.ended(RejectedError("no")), ground.ended(None)
    poisonous.add(first)
    with suppress(ValueError, UnsweptError):
        ground.sweep()
    assert [ground.status(each) for each in (first, sound)] == [S.PROCESSING, S.COMPLETED]


def test_a_wave_whose_store_is_away_is_not_tried_batch_by_batch(
    ground: Ground, store: Store, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def away(self: Settler, batch_ids: Collection[str], **_: object) -> None:
        tried.extend(batch_ids)
        raise StoreError("away")

    def no_answer() -> None:
        raise StoreError("still away")

    batch_ids = [ground.ended(None) for _ in range(3)]
    monkeypatch.setattr(Settler, "so_far", away)
    monkeypatch.setattr(store, "ping", no_answer)
    with pytest.raises(StoreError, match="still away"):
        settler.wave("w", Ending())
    assert sorted(tried) == sorted(batch_ids), "all at once, and then none by itself"


def test_trouble_in_one_thing_is_noted_and_the_next_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    trouble = Trouble()
    done: list[str] = []
    with trouble.noted("the first"):
        raise KeyError("+79990000007")
    with trouble.noted("the second"):
        raise LeadcastError("its words are ours")
    with trouble.noted("the third"):
        done.append("the third")
    assert (trouble.found, done) == (["the first", "the second"], ["the third"])
    said = capsys.readouterr().out
    assert "KeyError" in said
    assert "its words are ours" in said
    assert "+79990000007" not in said, "an unforeseen error may hold a lead's data"


def test_two_sweeps_at_once_take_over_once_and_ring_once(ground: Ground) -> None:
    ids = [ground.planned(f"w{number}") for number in range(4)]
    with ground.store.begin() as connection:
        worker_id = dead(ground.store).take(connection)
        lanes.take_these(connection, [f"{batch_id}-0" for batch_id in ids], worker_id=worker_id)
    ground.clock.pass_s(61)

    def swept(_: int) -> str | None:
        ground.sweep()
        return ground.ring()

    with ThreadPoolExecutor(2) as pool:
        rung = [run_id for run_id in pool.map(swept, range(2)) if run_id]
    assert len(rung) == 1
    service = Service()
    assert len(ground.wave(rung[0], service)) == 4
    assert [ground.status(batch_id) for batch_id in ids] == [S.COMPLETED] * 4
    assert len(service.got) == 4


# --- an integration that is not installed any more


@pytest.fixture
def uninstalled(ground: Ground) -> str:
    """A batch for Telegram and for an integration that was there when it was accepted; returns its id."""
    batch_id = ground.accept("telegram", "email").batch_id
    with ground.store.begin() as connection:
        connection.execute(update(deliveries).where(deliveries.c.type == "email").values(type="slack"))
    return batch_id


def waves(ground: Ground, *, for_s: float) -> int:
    """How many waves the sweep rings for, coming every minute."""
    count = 0
    for _ in range(int(for_s // 60)):
        ground.clock.pass_s(60)
        ground.sweep()
        run_id = ground.ring()
        if run_id is not None:
            count += 1
            ground.wave(run_id, Service())
    return count


def test_what_nobody_can_send_lets_the_rest_go_and_waits(ground: Ground, uninstalled: str) -> None:
    assert ground.wave("w", Service()) == [f"{uninstalled}-0"]
    batch = ground.batch(uninstalled)
    assert batch.status is S.PROCESSING
    waits = batch.deliveries[1]
    assert (waits.state, waits.waits_for, waits.attempts) == (D.RETRYING, "integration", 0)
    assert waits.error is not None
    assert "'slack' is not installed" in waits.error["message"]
    assert ground.ring() is None, "no wave follows on it"


def test_it_asks_for_a_wave_less_and_less_and_is_given_up_as_what_may_pass(
    ground: Ground, uninstalled: str, settings: Settings
) -> None:
    ground.wave("w", Service())
    assert waves(ground, for_s=settings.give_up_after_s + 2 * 3600) <= 12
    batch = ground.batch(uninstalled)
    assert (batch.status, [item.state for item in batch.deliveries]) == (S.PARTIAL, [D.DELIVERED, D.FAILED])
    error = batch.deliveries[1].error
    assert error is not None
    assert (error["code"], error["may_pass"]) == ("not_installed", True)
    assert waves(ground, for_s=3600) == 0


def test_installed_again_it_is_sent(ground: Ground, uninstalled: str) -> None:
    ground.wave("w", Service())
    with ground.store.begin() as connection:
        connection.execute(update(deliveries).where(deliveries.c.type == "slack").values(type="email"))
    assert waves(ground, for_s=120) == 1
    assert ground.status(uninstalled) is S.COMPLETED


def test_a_batch_of_which_nobody_can_send_anything_makes_no_waves(ground: Ground) -> None:
    batch_id = ground.accept("email").batch_id
    with ground.store.begin() as connection:
        connection.execute(update(deliveries).values(type="slack"))
    assert ground.wave("w", Service()) == []
    assert ground.status(batch_id) is S.PENDING
    assert waves(ground, for_s=3600) <= 8


# --- deliveries that wait


def test_what_waits_is_rung_for_when_it_is_due_and_not_before(ground: Ground, store: Store) -> None:
    batch_id = ground.planned("w", state="success")
    with store.begin() as connection:
        values = {
            "state": D.RETRYING,
            "waits_for": "service",
            "round_at": ground.clock(),
            "next_attempt_at": ground.clock() + timedelta(seconds=600),
        }
        connection.execute(update(deliveries).values(**values))
    assert waves(ground, for_s=540) == 0
    assert waves(ground, for_s=120) == 1
    assert ground.status(batch_id) is S.COMPLETED
    with store.begin() as connection:
        assert bell.waiting_run(connection) is None
        assert len(connection.execute(select(attempts.c.id)).all()) == 1
