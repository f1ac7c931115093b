"""The sweep: what no wave is going to do any more is picked up, whatever else of it cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from leadcast.core.ending import Ending
from leadcast.core.errors import LeadcastError, StoreError
from leadcast.core.model import BatchStatus, DeliveryState, Receipt
from leadcast.core.settings import Settings
from leadcast.engine.dags import sweep_steps as sweep
from leadcast.engine.runs import ended
from leadcast.engine.runs.trouble import SILENT_AFTER, Trouble, UnsweptError
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted
from leadcast.flow.plan import plan
from leadcast.flow.settle import Settler
from leadcast.flow.told import Moment
from leadcast.store.batches import bell, claims, views
from leadcast.store.database import Store
from leadcast.store.schema import attempts, batches, deliveries, notifications
from tests.support.leases import held

from .conftest import Service, StoppedClock
from .test_deliver import die_in_mid_air

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
S = BatchStatus


class Airflow:
    """Knows its runs: id → state. `clears`: how often each was cleared; `silent`: it does not answer."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.clears: Counter[str] = Counter()
        self.settles: dict[str, str | None] = {}
        self.timed_out: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[str] = []

    def run_state(self, run_id: str) -> str | None:
        self.asked.append(run_id)
        if "*" in self.silent or run_id in self.silent:
            raise ConnectionError("the API is away")
        return self.runs.get(run_id)

    def settle_state(self, run_id: str) -> str | None:
        return self.settles.get(run_id, "skipped")

    def has_timed_out(self, run_id: str) -> bool:
        return run_id in self.timed_out

    def told_as(self, run_id: str) -> str:
        return f"{run_id} made at nine {self.clears[run_id]}"


class Ground:
    """The store with its sweep, and waves that end as a test wants them to."""

    def __init__(
        self, store: Store, settings: Settings, clock: StoppedClock, deliverer: Deliverer, accept: Accept
    ) -> None:
        self.store, self.settings, self.clock, self.deliverer, self.accept = store, settings, clock, deliverer, accept
        self.airflow = Airflow()

    def settle(self, *, hooks: Collection[str] = ()) -> int:
        settler = Settler(store=self.store, settings=self.settings, clock=self.clock, hooks=hooks)
        return sweep.settle_dead_waves(settler, runs=self.airflow)

    def ring(self) -> str | None:
        """The run that the sweep has to create."""
        return sweep.ring(self.store, self.settings, run_state=self.airflow.run_state, clock=self.clock)

    def claimed(self, run_id: str, *types: str, state: str | None = None, **more: int) -> str:
        """A batch that this run has claimed and left; returns its id."""
        batch_id = self.accept(*types or ("telegram",), **more).batch_id
        plan(self.store, self.settings, run_id=run_id, own_batch_id=batch_id, clock=self.clock)
        if state is not None:
            self.airflow.runs[run_id] = state
        return batch_id

    def wave(self, run_id: str, service: Service) -> list[str]:
        """A run from its plan to its settle. Returns the ids of the deliveries that it had."""
        work = plan(self.store, self.settings, run_id=run_id, clock=self.clock).work
        sent = [ref.delivery_id for refs in work.values() for ref in refs]
        for delivery_id in sent:
            self.deliverer.deliver(delivery_id, integration=service, last_in_run=True, run_id=run_id)
        Settler(store=self.store, settings=self.settings, clock=self.clock).wave(run_id, Ending(requeue_begun=True))
        return sent

    def batch(self, batch_id: str) -> views.BatchView:
        with self.store.begin() as connection:
            found = views.batch(connection, batch_id)
        assert found is not None
        return found

    def letters(self) -> list[str]:
        """What operators are told, and why."""
        with self.store.begin() as connection:
            rows = connection.execute(
                select(notifications.c.payload).where(notifications.c.channel == "email").order_by(notifications.c.id)
            )
            return [row.payload["reason"] for row in rows]

    def status(self, batch_id: str) -> S:
        return self.batch(batch_id).status


@pytest.fixture
def ground(store: Store, settings: Settings, clock: StoppedClock, deliverer: Deliverer, accept: Accept) -> Ground:
    return Ground(store, settings, clock, deliverer, accept)


# --- accepted and never claimed


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


# --- claimed by a run that is gone


ENDINGS = [
    ("failed", "failed", False, S.PENDING, ""),  # it came to its end and could not settle, the store being away say
    ("success", "success", False, S.PENDING, ""),  # it has settled, but for what a process still held
    ("failed", "skipped", True, S.PENDING, ended.TIMED_OUT),
    ("failed", None, False, S.PENDING, ended.ENDED_EARLY),  # none of its tasks could go on
    (None, None, False, S.PENDING, ended.GONE),
    ("failed", "skipped", False, S.FAILED, ended.STOPPED),  # a person has marked it
    ("success", "skipped", False, S.FAILED, ended.STOPPED),
    ("running", None, False, S.PROCESSING, ""),
    ("queued", None, False, S.PROCESSING, ""),  # cleared by a person: it begins anew
]
"""How a run and its settle stand, whether it has timed out; what becomes of what it has begun, and what is told."""


@pytest.mark.parametrize(("run", "settle", "timed_out", "becomes", "reason"), ENDINGS)
def test_what_a_run_has_begun_goes_where_its_end_says(
    ground: Ground, run: str | None, settle: str | None, timed_out: bool, becomes: S, reason: str
) -> None:
    batch_id = ground.claimed("w", state=run)
    ground.airflow.settles["w"] = settle
    ground.airflow.timed_out = {"w"} if timed_out else set()
    die_in_mid_air(ground.store, f"{batch_id}-0", ground.clock)
    ground.clock.pass_s(3600)
    ground.settle()
    assert ground.status(batch_id) is becomes
    assert ground.letters() == ([reason] if reason else [])


@pytest.mark.parametrize(("run", "settle", "timed_out", "becomes", "reason"), ENDINGS)
def test_what_a_run_has_not_begun_goes_back_whatever_its_end_was(
    ground: Ground, run: str | None, settle: str | None, timed_out: bool, becomes: S, reason: str
) -> None:
    ids = [ground.claimed("w", state=run) for _ in range(3)]
    ground.airflow.settles["w"] = settle
    ground.airflow.timed_out = {"w"} if timed_out else set()
    ground.clock.pass_s(3600)
    ground.settle()
    is_over = becomes is not S.PROCESSING
    assert [ground.status(each) for each in ids] == [S.PENDING if is_over else S.PROCESSING] * 3
    not_begun = f"{reason}. Deliveries that it had not begun: 3. A later run sends them."
    assert ground.letters() == ([not_begun] if reason else [])


def test_what_a_vanished_run_held_is_delivered_once_by_the_next(ground: Ground) -> None:
    batch_id = ground.claimed("w", "telegram", "email")
    first = Service(answers=[Receipt(external_id="1")])
    ground.deliverer.deliver(f"{batch_id}-0", integration=first, last_in_run=True, run_id="w")
    ground.clock.pass_s(61)
    assert ground.settle() == 1
    run_id = ground.ring()
    assert run_id is not None
    service = Service()
    assert ground.wave(run_id, service) == [f"{batch_id}-1"]
    assert (ground.status(batch_id), len(first.got), len(service.got)) == (S.COMPLETED, 1, 1)


def hooks_told(store: Store) -> list[str]:
    with store.begin() as connection:
        told = select(notifications.c.occasion).where(notifications.c.channel == "hook").order_by(notifications.c.id)
        return list(connection.execute(told).scalars())


@pytest.mark.parametrize("hooks", [(), (Moment.CATCH, Moment.FINALLY)])
def test_the_sweep_calls_the_hooks_that_there_are(ground: Ground, store: Store, hooks: Collection[Moment]) -> None:
    batch_id = ground.claimed("w", state="failed")
    die_in_mid_air(store, f"{batch_id}-0", ground.clock)
    ground.settle(hooks=hooks)
    assert ground.status(batch_id) is S.FAILED
    assert hooks_told(store) == list(hooks)


# --- a run that was cleared


@pytest.mark.parametrize(("run", "settle", "timed_out", "becomes", "reason"), ENDINGS[2:4] + ENDINGS[5:6])
def test_a_run_that_is_cleared_and_ends_so_again_is_told_again(
    ground: Ground, run: str, settle: str | None, timed_out: bool, becomes: S, reason: str
) -> None:
    ground.airflow.settles["w"] = settle
    ground.airflow.timed_out = {"w"} if timed_out else set()
    batch_id = ground.claimed("w", state=run)

    for clears in range(2):
        ground.airflow.clears["w"] = clears
        with ground.store.begin() as connection:  # it takes the batch up, and dies in the middle of it
            claims.ensure_claim(connection, batch_id=batch_id, run_id="w")
        die_in_mid_air(ground.store, f"{batch_id}-0", ground.clock)
        assert [ground.settle(), ground.settle()] == [1, 0]
        assert ground.status(batch_id) is becomes
        assert ground.letters() == [reason] * (clears + 1)


def test_what_the_runs_own_callback_has_told_the_sweep_does_not_tell_again(ground: Ground) -> None:
    batch_id = ground.claimed("w", state="failed")
    ground.airflow.timed_out = {"w"}
    settler = Settler(store=ground.store, settings=ground.settings, clock=ground.clock)
    die_in_mid_air(ground.store, f"{batch_id}-0", ground.clock)
    with held(ground.store, f"{batch_id}-0"):  # its process still sends
        told_as = ground.airflow.told_as("w")
        settler.wave("w", Ending(critical=ended.TIMED_OUT, requeue_begun=True, told_as=told_as))
    assert ground.settle() == 1
    assert (ground.status(batch_id), ground.letters()) == (S.PENDING, [ended.TIMED_OUT])


def test_a_run_that_vanishes_is_told_again_when_its_id_is_used_again(ground: Ground) -> None:
    for _ in range(2):
        ground.claimed("order-5")
        ground.clock.pass_s(61)
        assert [ground.settle(), ground.settle()] == [1, 0]
    assert [letter.split(".")[0] for letter in ground.letters()] == [ended.GONE] * 2


# --- it survives


def test_a_dead_wave_behind_as_many_living_ones_as_may_run_is_seen(ground: Ground) -> None:
    living = [f"run-{number}" for number in range(256)]
    ground.airflow.runs |= dict.fromkeys(living, "running")
    with ground.store.begin() as connection:
        batch = {"lead_id": "1", "lead": {}, "status": S.PROCESSING, "priority": 1, "body_sha256": ""}
        held = [{"id": run_id, "wave_id": run_id, "started_at": ground.clock(), **batch} for run_id in living]
        connection.execute(insert(batches), held)
    ground.clock.pass_s(1)
    dead = ground.claimed("dead", state="failed")
    assert ground.settle() == 1
    assert ground.status(dead) is S.PENDING


def test_what_was_given_back_is_not_taken_for_what_has_been_held_all_the_time(ground: Ground) -> None:
    """A run that has just claimed it again may be unknown to Airflow for a moment."""
    batch_id = ground.claimed("dead", state="failed")
    ground.settle()
    ground.clock.pass_s(3600)
    plan(ground.store, ground.settings, run_id="new", clock=ground.clock)
    assert ground.settle() == 0
    assert ground.status(batch_id) is S.PROCESSING


def test_a_run_that_airflow_does_not_tell_of_keeps_no_other_waiting(ground: Ground) -> None:
    stuck, others = ground.claimed("w0", state="failed"), [ground.claimed(f"w{n}", state="failed") for n in (1, 2)]
    ground.airflow.silent = {"w0"}
    with pytest.raises(UnsweptError, match="1 of 3 open waves not settled: asking for w0"):
        ground.settle()
    assert [ground.status(batch_id) for batch_id in (stuck, *others)] == [S.PROCESSING, S.PENDING, S.PENDING]


def test_an_airflow_that_does_not_answer_is_not_asked_for_every_wave(ground: Ground) -> None:
    for number in range(6):
        ground.claimed(f"w{number}")
    ground.airflow.silent = {"*"}
    with pytest.raises(UnsweptError):
        ground.settle()
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


def test_a_batch_that_cannot_be_settled_keeps_no_other_from_it(ground: Ground, poisonous: set[str]) -> None:
    first, sound = ground.claimed("w", state="failed"), ground.claimed("w", state="failed")
    other = ground.claimed("v", state="failed")
    for batch_id in (first, sound, other):
        die_in_mid_air(ground.store, f"{batch_id}-0", ground.clock)
    poisonous.add(first)
    with pytest.raises(UnsweptError, match="1 of 2 open waves not settled: settling w"):
        ground.settle()
    assert [ground.status(each) for each in (first, sound, other)] == [S.PROCESSING, S.FAILED, S.FAILED]
    poisonous.clear()
    ground.settle()
    assert ground.status(first) is S.FAILED


def test_a_wave_whose_store_is_away_is_not_tried_batch_by_batch(
    ground: Ground, store: Store, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def away(self: Settler, batch_id: str, **_: object) -> None:
        tried.append(batch_id)
        raise StoreError("away")

    def no_answer() -> None:
        raise StoreError("still away")

    for _ in range(3):
        ground.claimed("w")
    monkeypatch.setattr(Settler, "batch", away)
    monkeypatch.setattr(store, "ping", no_answer)
    with pytest.raises(StoreError, match="still away"):
        settler.wave("w", Ending())
    assert len(tried) == 1


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


def test_two_sweeps_at_once_settle_once_and_ring_once(ground: Ground) -> None:
    ids = [ground.claimed(f"w{number}") for number in range(4)]
    ground.clock.pass_s(61)

    def swept(_: int) -> str | None:
        ground.settle()
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
    assert ground.status(batch_id) is S.PROCESSING
    assert waves(ground, for_s=3600) <= 8


# --- deliveries that wait


def test_what_waits_is_rung_for_when_it_is_due_and_not_before(ground: Ground, store: Store) -> None:
    batch_id = ground.claimed("w")
    with store.begin() as connection:
        values = {
            "state": D.RETRYING,
            "waits_for": "service",
            "round_at": ground.clock(),
            "next_attempt_at": ground.clock() + timedelta(seconds=600),
        }
        connection.execute(update(deliveries).values(**values))
    ground.airflow.runs["w"] = "success"
    ground.settle()
    assert waves(ground, for_s=540) == 0
    assert waves(ground, for_s=120) == 1
    assert ground.status(batch_id) is S.COMPLETED
    with store.begin() as connection:
        assert bell.waiting_run(connection) is None
        assert len(connection.execute(select(attempts.c.id)).all()) == 1
