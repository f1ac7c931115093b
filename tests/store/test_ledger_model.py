"""The ledger under everything that can happen to it, in any order: requests, waves at once, services that fail or fall
silent, processes that die anywhere, people who retry and cancel, clocks that are set back.

LEDGER_EXAMPLES=2000 makes so many examples instead of the few that are always the same, other ones each time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from structlog.testing import capture_logs

from leadcast.core.setting_choices import OnUnknown
from leadcast.core.settings import Settings
from leadcast.store.database import Store
from tests.support.examples import examples

from .ledger import rules as ledger_rules
from .ledger.acts import Accept, Cancel, Flush, Retry, RetryWindow, Sweep, Wait
from .ledger.scripts import Answer, Question, Script
from .ledger.waves import Act, Attempt, Callback, Plan, RunEnds, Settle, Wave
from .ledger.world import KINDS, World
from .mortal_store import Died, Place, Point, Process, dies

pytestmark = pytest.mark.store
EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "0"))
STEPS = 35
CALM_AFTER = 80
"""Rounds of half an hour in which all must have ended, once everything works."""

picks = st.integers(0, 5)
scripts = st.builds(
    Script,
    answer=st.sampled_from(Answer),
    question=st.sampled_from(Question),
    slow_s=st.sampled_from([0, 0, 100]),
)
often = st.sampled_from([True, True, True, False])
seldom = st.sampled_from([False, False, False, True])
accepts = st.builds(
    Accept,
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=2).map(tuple),
    key=st.sampled_from([None, None, "key-1", "key-2"]),
    has_callback=seldom,
    is_heard=often,
)
plans = st.builds(Plan, pick=picks, is_manual=seldom, again=seldom)
attempts = st.builds(
    Attempt,
    pick=picks,
    script=scripts,
    is_last_in_run=seldom,
    is_cleared=seldom,
    is_ghost=seldom,
    takes=st.sampled_from([0, 0, 1, 2]),
    settles=often,
)
settles = st.builds(Settle, pick=picks, are_marked=seldom, are_failed=seldom, is_heard=often)
run_ends = st.builds(
    RunEnds,
    pick=picks,
    state=st.sampled_from(["failed", "success", None]),
    settle_state=st.sampled_from([None, "failed", "skipped", "success"]),
    has_timed_out=st.booleans(),
)
callbacks = st.builds(Callback, pick=picks, is_task_failure=st.booleans())
sweeps = st.builds(Sweep, is_heard=often)
retries = st.builds(Retry, pick=picks, is_heard=often)
windows = st.builds(RetryWindow, is_heard=often)
cancels = st.builds(Cancel, pick=picks)
flushes = st.builds(Flush, fails=seldom)
waits = st.builds(Wait, st.sampled_from([20, 80, 400, 4_000, 15_000, 90_000, -400, -4_000]))
waves = st.builds(Wave, script=scripts, settles=often)
acts: st.SearchStrategy[Act] = st.one_of(
    accepts, plans, attempts, attempts, attempts, waves, settles, sweeps, retries, cancels, callbacks, windows, flushes
)
frozen = st.sampled_from([15, 25, 35, 60, 120])
calls = st.sampled_from([Point(Place.CALLED), Point(Place.EXECUTED)])
tellings = st.builds(Point, place=st.sampled_from([Place.TELLING, Place.TOLD]), number=st.integers(1, 3))
pauses = st.builds(Point, place=st.sampled_from([Place.BEFORE, Place.AFTER]), number=st.integers(1, 9))
commits = st.builds(Point, place=st.just(Place.UNCOMMITTED), number=st.integers(1, 9))


class Ledger(RuleBasedStateMachine):
    """The store, the world around it, and whatever happens."""

    store: Store
    is_sound = False

    @initialize(on_unknown=st.sampled_from(OnUnknown), first=accepts)
    def begin(self, on_unknown: OnUnknown, first: Accept) -> None:
        ledger_rules.empty(self.store)
        settings = Settings(
            notify_emails=("sales@example.com",),
            on_unknown=on_unknown,
            pool_slots=1,
            circuit_failures=2,
        )
        self.world = World(self.store, settings)
        self.do(first)

    def do(self, act: Act, process: Process | None = None) -> None:
        self.is_sound = False
        act.perform(self.world, process or Process(self.store))
        self.is_sound = True

    def kill(self, act: Act, point: Point) -> None:
        try:
            self.do(act, Process(self.store, point, dies))
        except Died:
            self.is_sound = True

    def hold_up(self, act: Act, point: Point, meanwhile: Act) -> None:
        self.do(act, Process(self.store, point, lambda: self.do(meanwhile)))

    @rule(act=st.one_of(accepts, plans, attempts, attempts, attempts, settles))
    def a_lead_goes_its_way(self, act: Act) -> None:
        self.do(act)

    @rule(act=waves)
    def a_wave_goes_its_way(self, act: Act) -> None:
        self.do(act)

    @rule(act=st.one_of(sweeps, callbacks, run_ends, flushes, windows))
    def the_engine_does(self, act: Act) -> None:
        self.do(act)

    @rule(act=st.one_of(retries, cancels))
    def a_person_does(self, act: Act) -> None:
        self.do(act)

    @rule(act=waits)
    def time_passes(self, act: Act) -> None:
        self.do(act)

    @rule(act=acts, point=st.one_of(pauses, commits))
    def a_process_dies(self, act: Act, point: Point) -> None:
        self.kill(act, point)

    @rule(act=attempts, point=st.one_of(calls, calls, pauses, commits))
    def an_attempt_dies(self, act: Attempt, point: Point) -> None:
        self.kill(act, point)

    @rule(act=attempts, point=st.one_of(calls, calls, pauses), meanwhile=st.one_of(acts, run_ends, waits))
    def meanwhile_in_an_attempt(self, act: Attempt, point: Point, meanwhile: Act) -> None:
        self.hold_up(act, point, meanwhile)

    @rule(act=attempts, point=st.one_of(calls, pauses), frozen_s=frozen, meanwhile=st.one_of(acts, run_ends, waits))
    def a_lease_runs_out(self, act: Attempt, point: Point, frozen_s: int, meanwhile: Act) -> None:
        def happens() -> None:
            self.do(Wait(frozen_s))
            self.do(meanwhile)

        self.do(act, Process(self.store, point, happens))

    @rule(act=acts, point=pauses, meanwhile=st.one_of(acts, run_ends, waits))
    def meanwhile(self, act: Act, point: Point, meanwhile: Act) -> None:
        self.hold_up(act, point, meanwhile)

    @rule(point=tellings, meanwhile=st.one_of(st.none(), flushes, acts))
    def in_a_flush(self, point: Point, meanwhile: Act | None) -> None:
        if meanwhile is None:
            self.kill(Flush(), point)
        else:
            self.hold_up(Flush(), point, meanwhile)

    @rule(together=st.lists(acts, min_size=2, max_size=4))
    def at_once(self, together: Sequence[Act]) -> None:
        barrier = threading.Barrier(len(together))

        def begin(act: Act) -> None:
            barrier.wait(30)
            self.do(act)

        with ThreadPoolExecutor(len(together)) as pool:
            for future in [pool.submit(begin, act) for act in together]:
                future.result()

    @invariant()
    def the_ledger_is_right(self) -> None:
        self.is_sound = False
        ledger_rules.check(self.world)
        self.is_sound = True

    def teardown(self) -> None:
        if not self.is_sound:  # what has gone wrong is said already
            return
        everything: list[Act] = [Wave(), Wave(), Wave(), Sweep(), Flush(), Wait(1800)]
        for _ in range(CALM_AFTER):
            if ledger_rules.is_calm(self.world):
                break
            for act in everything:
                self.do(act)
        ledger_rules.check_calm(self.world)


@pytest.mark.hypothesis
@pytest.mark.timeout(0 if EXAMPLES else 900)  # many examples take long
def test_nothing_is_lost_and_nothing_comes_twice(store: Store) -> None:
    with ledger_rules.watched(store), capture_logs():
        run_state_machine_as_test(
            type("OneLedger", (Ledger,), {"store": store}),
            settings=profile(
                max_examples=EXAMPLES or examples(0.1),
                stateful_step_count=STEPS,
                derandomize=not EXAMPLES,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=False,
            ),
        )
