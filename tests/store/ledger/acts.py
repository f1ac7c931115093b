"""What happens around the waves, each as one act of one process: requests, people, sweeps, dispatchers, time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from leadcast.control.cancel import Canceller
from leadcast.control.retry import Retrier
from leadcast.core.request_errors import IdempotencyConflict, RequestRejected
from leadcast.engine.dags.sweep_steps import free_lanes, pick_up, ring
from leadcast.flow.inbox import Inbox
from leadcast.flow.notify import Dispatcher
from leadcast.flow.settle import Settler
from tests.store.mortal_store import Died, Process

from .waves import one_of
from .world import World


@dataclass(frozen=True)
class Accept:
    """A request comes in. `key`: its Idempotency-Key; `is_heard`: the run that it rings for is created."""

    kinds: tuple[str, ...]
    key: str | None = None
    has_callback: bool = False
    is_heard: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Accepts it, and rings."""
        body: dict[str, object] = {
            "lead_id": 1,
            "lead": {"name": "Анна"},
            "integrations": [{"type": kind} for kind in self.kinds],
        }
        if self.has_callback:
            body["callback_url"] = "https://crm.example/done"
        world.pass_s(1)
        inbox = Inbox(process.store, world.settings, clock=world.clock, new_id=lambda: f"b{next(world.events):03}")
        try:
            accepted = inbox.accept(body, idempotency_key=self.key)
        except IdempotencyConflict:
            known = world.keys.get(self.key or "")
            if known is not None and known[0] == body:
                world.violations.append(f"key {self.key} came with the same body, and was refused")
            return
        world.accepted.add(accepted.batch_id)
        if self.key is not None:
            first = world.keys.setdefault(self.key, (body, accepted.batch_id))
            if first != (body, accepted.batch_id):
                world.violations.append(f"key {self.key} gave {accepted.batch_id} after {first}")
        if accepted.must_ring:
            world.ring(accepted.run_id, is_heard=self.is_heard)


@dataclass(frozen=True)
class Sweep:
    """The sweep, but for the outbox."""

    is_heard: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Takes over from the dead, forgets tasks that will never begin, and rings for what is due."""

        def run_state(run_id: str) -> str | None:
            return world.runs[run_id].state if run_id in world.runs else None

        pick_up(Settler(store=process.store, settings=world.settings, clock=world.clock))
        free_lanes(process.store, will_begin=lambda run_id, kind: run_state(run_id) in ("queued", "running"))
        run_id = ring(process.store, world.settings, run_state=run_state, clock=world.clock)
        world.ring(run_id, is_heard=self.is_heard)


@dataclass(frozen=True)
class Retry:
    """A person retries a batch."""

    pick: int = 0
    is_heard: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Puts it back, and rings."""
        batch_id = one_of(sorted(world.accepted), self.pick)
        if batch_id is None:
            return
        with suppress(RequestRejected):
            put_back = Retrier(store=process.store, settings=world.settings, clock=world.clock).batch(batch_id)
            if put_back.must_ring:
                world.ring(put_back.run_id, is_heard=self.is_heard)


@dataclass(frozen=True)
class RetryWindow:
    """The schedule retries what may pass."""

    is_heard: bool = True

    def perform(self, world: World, process: Process) -> None:
        """Puts it back, and rings."""
        day, now = timedelta(days=30), world.clock()
        retrier = Retrier(store=process.store, settings=world.settings, clock=world.clock)
        put_back = retrier.window(since=now - day, until=now + day)
        if put_back.must_ring:
            world.ring(put_back.run_id, is_heard=self.is_heard)


@dataclass(frozen=True)
class Cancel:
    """A person cancels a batch."""

    pick: int = 0

    def perform(self, world: World, process: Process) -> None:
        """Cancels it. What was on its way by then may still arrive."""
        batch_id = one_of(sorted(world.accepted), self.pick)
        if batch_id is not None:
            with suppress(RequestRejected):
                # before: somebody may retry it between the cancel and our note of it
                wishes = world.wishes(batch_id)
                Canceller(store=process.store, settings=world.settings, clock=world.clock).batch(batch_id)
                world.cancelled[batch_id] = (next(world.events), wishes)


@dataclass(frozen=True)
class Flush:
    """A dispatcher empties the outbox, or fails to."""

    fails: bool = False

    def perform(self, world: World, process: Process) -> None:
        """Sends what is due."""
        senders = world.senders(process, fails=self.fails)
        # one thing after the other, so that the same script is always the same story
        dispatcher = Dispatcher(store=process.store, senders=senders, clock=world.clock, chance=lambda: 0.0, most=1)
        try:
            dispatcher.flush(bound_s=60)
        except Died:  # what went out last may not be marked as sent
            world.died_telling[process.last_told] += 1
            raise


@dataclass(frozen=True)
class Wait:
    """Time goes on; negative: the clock is set back."""

    seconds: int

    def perform(self, world: World, process: Process) -> None:
        """Lets it."""
        world.pass_s(self.seconds)
