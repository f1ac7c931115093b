"""What a run does, each as one act of one process: it plans, makes attempts, settles, ends early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.plan import plan, ring_for_rest
from leadcast.flow.settle import Settler, all_failed
from leadcast.integrations.base import Account
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.batches.batches import of_wave
from leadcast.store.batches.claims import Ref
from leadcast.store.database import Store
from leadcast.store.lease import Lease
from tests.store.conftest import OneSecret
from tests.store.mortal_store import Process
from tests.support.by_hand import by_hand

from .scripts import Script
from .world import Run, ScriptedService, Trip, World

T = TypeVar("T")
GOOD = Script()


class Act(Protocol):
    """Something that one process does."""

    def perform(self, world: World, process: Process) -> None:
        """Does it, as the engine would."""


def one_of(candidates: Sequence[T], pick: int) -> T | None:
    """The one that is picked, whatever the number; None of none."""
    return candidates[pick % len(candidates)] if candidates else None


@dataclass(frozen=True)
class Plan:
    """A run plans its wave: one that was rung for, one that a person has triggered, or one that has planned before."""

    pick: int = 0
    is_manual: bool = False
    again: bool = False
    is_heard: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Plans it, and rings for the rest."""
        if self.is_manual:
            run_id = f"manual-{next(world.events):03}"
            run = world.runs[run_id] = Run(run_id)
        else:
            state = {"queued", "running", "failed", "success"} if self.again else {"queued"}
            found = one_of([run for run in list(world.runs.values()) if run.state in state], self.pick)
            if found is None:
                return
            run = found
        run.state, run.settle_state = "running", None
        made = plan(process.store, world.settings, run_id=run.id, clock=world.clock)
        run.is_planned = True
        run.work, run.done = [ref for listed in made.work.values() for ref in listed], set()
        world.ring(made.next_run_id, is_heard=self.is_heard)


@dataclass(frozen=True)
class Attempt:
    """A task of a run makes an attempt.

    is_cleared: a person has cleared the task.
    is_ghost: the engine starts it though it, or its run, has ended: a worker that is taken for dead lives.
    settles: it comes to settle the batch after it.
    """

    pick: int = 0
    script: Script = GOOD
    is_last_in_run: bool = False
    is_cleared: bool = False
    is_ghost: bool = False
    settles: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Makes it."""
        if not any(self._tasks(world)):
            Plan().perform(world, process)
        found = one_of(self._tasks(world), self.pick)
        if found is None:
            return
        run, ref = found
        if self.is_cleared:
            world.pass_s(1)  # no two wishes come at the same moment
            world.clears[run.id, ref.delivery_id] += 1
            run.state, run.settle_state = "running", None
        self.of(world, process, run, ref)

    def _tasks(self, world: World) -> list[tuple[Run, Ref]]:
        """Whose turn it may be: anything's where a person, or an engine that has lost sight of it, starts it again."""
        is_again = self.is_cleared or self.is_ghost
        return [
            (run, ref)
            for run in list(world.runs.values())
            if run.state is not None and (is_again or not run.is_over)
            for ref in run.work
            if is_again or ref.delivery_id not in run.done
        ]

    def of(self, world: World, process: Process, run: Run, ref: Ref) -> bool:
        """Makes it for this task of this run. Says whether the run tries it again."""
        clears = world.clears[run.id, ref.delivery_id]
        trip = Trip(next(world.events), run.id)
        leases: list[Lease] = []

        def new_lease(store: Store, **kwargs: Any) -> Lease:
            # its signs of life come between the points at which something happens to the process
            leases.append(Lease(world.store, **kwargs, clock=lambda: world.elapsed_s))
            return leases[-1]

        deliverer = Deliverer(
            store=process.store,
            settings=world.settings,
            accounts=lambda integration, inline: Account(credentials=OneSecret()),
            tokens=StoredTokens(process.store),
            hide=lambda secret: None,
            clock=world.clock,
            chance=lambda: 0.5,
            sleep=lambda seconds: None,
            new_lease=new_lease,
        )
        tries_again = False
        try:
            deliverer.deliver(
                ref.delivery_id,
                integration=ScriptedService(ref.type, world, trip, self.script, process, leases),
                last_in_run=self.is_last_in_run,
                action=by_hand(deliverer, which=f"{run.id}:{clears}") if clears > 0 else None,
                run_id=run.id,
            )
        except AttemptFailed as failed:
            tries_again = failed.retry_in_s is not None and not failed.waits
        if not tries_again:
            run.done.add(ref.delivery_id)
        if self.settles:
            settler = Settler(store=process.store, settings=world.settings, clock=world.clock)
            settler.so_far([ref.batch_id])
        return tries_again


@dataclass(frozen=True)
class Settle:
    """The settle task of a run. `are_marked`: a person has marked the tasks of what is open as done."""

    pick: int = 0
    are_marked: bool = False
    is_heard: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Settles, and the run is over."""
        run = one_of([run for run in list(world.runs.values()) if run.state == "running"], self.pick)
        if run is None:
            return
        marked = {ref.delivery_id for ref in run.work} if self.are_marked else set()
        with world.store.begin() as connection:
            world.chances.update(of_wave(connection, run_id=run.id))
        settled = Settler(store=process.store, settings=world.settings, clock=world.clock).wave(
            run.id,
            Ending(
                critical="" if run.is_planned else "the plan of the wave failed",
                requeue_begun=True,
                had_its_chance=not run.is_planned,
                given_up=lambda: marked,
                failed_with=lambda: {ref.delivery_id for ref in run.work} - run.done,
            ),
        )
        world.ring(ring_for_rest(process.store, world.settings, clock=world.clock), is_heard=self.is_heard)
        is_failed = not run.is_planned or all_failed(settled)
        run.state = run.settle_state = "failed" if is_failed else "success"


@dataclass(frozen=True)
class RunEnds:
    """A run ends without its settle task. `state` None: it is deleted."""

    pick: int = 0
    state: str | None = "failed"
    settle_state: str | None = None
    has_timed_out: bool = False

    def perform(self, world: World, process: Process) -> None:
        """Only Airflow knows."""
        run = one_of([run for run in list(world.runs.values()) if not run.is_over], self.pick)
        if run is not None:
            run.state, run.settle_state, run.has_timed_out = self.state, self.settle_state, self.has_timed_out


@dataclass(frozen=True)
class Callback:
    """The callback of a run that is over."""

    pick: int = 0
    is_task_failure: bool = False

    def perform(self, world: World, process: Process) -> None:
        """Settles what is left."""
        run = one_of([run for run in list(world.runs.values()) if run.is_over], self.pick)
        if run is None:
            return
        settler = Settler(store=process.store, settings=world.settings, clock=world.clock)
        critical = "" if self.is_task_failure else "the run timed out"
        settler.wave(run.id, Ending(critical=critical, requeue_begun=True))


@dataclass(frozen=True)
class Wave:
    """A whole run as it goes when nothing happens to it. `script`: how every service behaves in it."""

    script: Script = GOOD
    settles: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Plans a run that was rung for, or carries on one that runs; tries each of its deliveries; settles."""
        Plan().perform(world, process)
        runs = list(world.runs.values())
        for index, run in enumerate(run for run in runs if run.state == "running"):
            for ref in run.work:
                attempt = Attempt(script=self.script)
                for number in range(4):
                    again = replace(attempt, is_last_in_run=number == 3)
                    if not again.of(world, process, run, ref):
                        break
                    world.pass_s(30)
            if self.settles:
                Settle(index).perform(world, process)
                return
