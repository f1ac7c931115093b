"""What a run does, each as one act of one process: it plans, sends, settles, ends early."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed, NotBegun, StoreError
from leadcast.core.model import ManualAction
from leadcast.flow.deliver.chunk import Part
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.deliver.worker import Worker
from leadcast.flow.plan import plan, ring_for_rest
from leadcast.flow.settle import Settler, all_failed
from leadcast.flow.take_over import blame
from leadcast.integrations.base import Account
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.batches import lanes
from leadcast.store.batches.lanes import Ref
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

    def perform(self, world: World, process: Process) -> None:
        """Plans it."""
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
        run.takers = [kind for kind, takers in made.takers.items() for _ in range(takers.count)]


@dataclass(frozen=True)
class Attempt:
    """A task of a run sends: its own delivery, and then what else is due in its lane.

    is_cleared: a person has cleared the task.
    is_ghost: the engine starts it though it, or its run, has ended: a worker that is taken for dead lives.
    takes: how many of the others it takes at once, and sends.
    settles: it comes to settle the batch after it.
    """

    pick: int = 0
    script: Script = GOOD
    is_last_in_run: bool = False
    is_cleared: bool = False
    is_ghost: bool = False
    takes: int = 0
    settles: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Makes it."""
        if not any(self._tasks(world)):
            Plan().perform(world, process)
        found = one_of(self._tasks(world), self.pick)
        if found is None:
            return
        run, kind, ref = found
        if self.is_cleared and ref is not None:
            world.pass_s(1)  # no two wishes come at the same moment
            world.clears[run.id, ref.delivery_id] += 1
            run.state, run.settle_state = "running", None
        self.of(world, process, run, kind, ref)

    def _tasks(self, world: World) -> list[tuple[Run, str, Ref | None]]:
        """Whose turn it may be: anything's where a person, or an engine that has lost sight of it, starts it again."""
        is_again = self.is_cleared or self.is_ghost
        runs = [run for run in list(world.runs.values()) if run.state is not None and (is_again or not run.is_over)]
        own: list[tuple[Run, str, Ref | None]] = [
            (run, ref.type, ref) for run in runs for ref in run.work if is_again or ref.delivery_id not in run.done
        ]
        return [*own, *((run, kind, None) for run in runs for kind in run.takers)]

    def of(self, world: World, process: Process, run: Run, kind: str, ref: Ref | None) -> bool:
        """Makes it for this task of this run. Says whether the run tries its own delivery again."""
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
        with process.store.begin() as connection:
            lanes.begin(connection, kind, run_id=run.id)
        worker = deliverer.new_worker()
        tries_again = False
        with worker.lease.of_process():
            if ref is not None:
                part = Part(ref.delivery_id, ref.batch_id)
                clears = world.clears[run.id, ref.delivery_id]
                action = by_hand(deliverer, which=f"{run.id}:{clears}") if clears > 0 else None
                tries_again = self._send(world, process, run, kind, part, deliverer, worker, leases, action=action)
                if not tries_again:
                    run.done.add(ref.delivery_id)
            with suppress(StoreError):  # its lease is over: it takes nothing more
                for _ in range(2):
                    lane = worker.lane(kind)
                    for part in lane.take(self.takes) or (lane.take_doubtful() if self.takes else []):
                        self._send(world, process, run, kind, part, deliverer, worker, leases)
        return tries_again

    def _send(
        self,
        world: World,
        process: Process,
        run: Run,
        kind: str,
        part: Part,
        deliverer: Deliverer,
        worker: Worker,
        leases: list[Lease],
        *,
        action: ManualAction | None = None,
    ) -> bool:
        trip = Trip(next(world.events), run.id)
        tries_again = False
        try:
            deliverer.deliver(
                part.delivery_id,
                integration=ScriptedService(kind, world, trip, self.script, process, leases),
                last_in_run=self.is_last_in_run,
                action=action,
                run_id=run.id,
                by=worker,
            )
        except AttemptFailed as failed:
            tries_again = failed.retry_in_s is not None and not failed.waits
        except NotBegun:  # its lease is over
            pass
        if self.settles:
            Settler(store=process.store, settings=world.settings, clock=world.clock).so_far([part.batch_id])
        return tries_again


@dataclass(frozen=True)
class Settle:
    """The settle task of a run.

    are_marked: a person has marked the tasks of what is open as done.
    are_failed: its tasks have failed, whatever they had sent by then.
    """

    pick: int = 0
    are_marked: bool = False
    are_failed: bool = False
    is_heard: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Settles, and the run is over."""
        run = one_of([run for run in list(world.runs.values()) if run.state == "running"], self.pick)
        if run is None:
            return
        marked = {ref.delivery_id for ref in run.work} if self.are_marked else set()
        settler = Settler(store=process.store, settings=world.settings, clock=world.clock)
        if self.are_failed:
            blame(settler, [ref.delivery_id for ref in run.work])
        settled = settler.wave(
            run.id, Ending(critical="" if run.is_planned else "the plan of the wave failed", given_up=lambda: marked)
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
        settler.wave(run.id, Ending(critical=critical))


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
            tasks: list[tuple[str, Ref | None]] = [(ref.type, ref) for ref in run.work]
            for kind, own in (*tasks, *((kind, None) for kind in run.takers)):
                for number in range(4):
                    attempt = Attempt(script=self.script, takes=2, is_last_in_run=number == 3)
                    if not attempt.of(world, process, run, kind, own):
                        break
                    world.pass_s(30)
            if self.settles:
                Settle(index).perform(world, process)
                return
