"""The world around the ledger: services that keep what they received, Airflow's runs, who is told, and a clock.

Whatever it sees that must not be goes into `violations`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

from sqlalchemy import select

from leadcast.core.errors import (
    DeliveryError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import BatchStatus, DeliveryState, Lead, Receipt
from leadcast.core.setting_choices import OnUnknown
from leadcast.core.settings import Settings
from leadcast.flow.notify import Sender, Story
from leadcast.integrations.base import Account, Call, Integration
from leadcast.store.batches.lanes import Ref
from leadcast.store.database import Store
from leadcast.store.lease import Lease
from leadcast.store.paces import Channel
from leadcast.store.schema import batches, deliveries
from tests.store.conftest import AnySettings, OneSecret, StoppedClock
from tests.store.mortal_store import Died, Place, Process
from tests.support.leases import age

from .scripts import ERRORS, EXECUTED, Answer, Question, Script

ASKABLE, REPEATABLE, NEITHER = "amocrm", "webhook", "telegram"
KINDS = (ASKABLE, REPEATABLE, NEITHER)
ABSENT_AFTER_S = 75.0
SIGN_OF_LIFE_S = 10.0


@dataclass
class Run:
    """A run as Airflow knows it. `state` None: it is deleted.

    work: deliveries that have a task each; done: of that, the ids of those whose tasks have ended.
    takers: integrations that have tasks besides, which take what is due.
    """

    id: str
    state: str | None = "queued"
    settle_state: str | None = None
    has_timed_out: bool = False
    is_planned: bool = False
    work: list[Ref] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    takers: list[str] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether Airflow does nothing more for it by itself."""
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class Trip:
    """One call of `deliver`, for a run. `number`: its place among all events."""

    number: int
    run_id: str


InFlight = tuple[float, str]
"""When a service will have executed a call, and of which delivery."""
Wish = tuple[int, datetime | None]
"""How often a batch was retried by a person, and when one of its deliveries was last wanted."""


@dataclass
class World:
    """Everything but the ledger.

    sent: what a service may have executed, with what a person had wanted by then; cancelled: the same of batches, and
        at which event.
    """

    store: Store
    settings: Settings
    clock: StoppedClock = field(default_factory=StoppedClock)
    runs: dict[str, Run] = field(default_factory=dict)
    clears: Counter[tuple[str, str]] = field(default_factory=Counter)
    keys: dict[str, tuple[object, str]] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    executed: Counter[str] = field(default_factory=Counter)
    late: list[InFlight] = field(default_factory=list)
    sent: dict[str, Wish] = field(default_factory=dict)
    cancelled: dict[str, tuple[int, dict[str, Wish]]] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    died_telling: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0
    events: Any = field(default_factory=lambda: count(1))

    def pass_s(self, seconds: float) -> None:
        """Time goes on for all, and nobody gives a sign of life; or the clock alone is set back."""
        self.clock.pass_s(seconds)
        if seconds > 0:
            self.elapsed_s += seconds
            age(self.store, seconds)
        for item in [item for item in self.late if item[0] <= self.elapsed_s]:
            self.late.remove(item)
            self.executed[item[1]] += 1

    def ring(self, run_id: str | None, *, is_heard: bool = True) -> None:
        """Somebody creates a run, or fails to."""
        if run_id is not None and is_heard:
            self.runs.setdefault(run_id, Run(run_id))

    def went_out(self, trip: Trip, call: Call, kind: str) -> Wish:
        """A call leaves for its service: was it allowed? Says what people had wanted by then."""
        key = call.key
        with self.store.begin() as connection:
            row = connection.execute(
                select(deliveries.c.state, deliveries.c.attempts, batches.c.status)
                .join(batches, batches.c.id == deliveries.c.batch_id)
                .where(deliveries.c.id == key)
            ).one()
        if (row.state, row.attempts) != (DeliveryState.SENDING, call.attempt):
            self.violations.append(f"{key} goes out, and the ledger says {row.state}, attempt {row.attempts}")
        if row.status != BatchStatus.PROCESSING:
            self.violations.append(f"{key} goes out for {trip.run_id}, and of its batch the ledger says {row}")
        wish = self.wishes(call.batch_id)[key]
        cancelled_at, by_then = self.cancelled.get(call.batch_id, (trip.number, {}))
        if trip.number > cancelled_at and by_then[key] == wish:
            self.violations.append(f"{key} goes out after it was cancelled")
        may_resend = self.settings.on_unknown is OnUnknown.RESEND
        if kind == NEITHER and self.sent.get(key) == wish and not may_resend:
            self.violations.append(f"{key} goes out again, and nobody has decided that")
        return wish

    def wishes(self, batch_id: str) -> dict[str, Wish]:
        """What people have wanted so far of each delivery of a batch: it changes with each retry and each clear."""
        wanted = select(deliveries.c.id, batches.c.asks, deliveries.c.asked_at)
        with self.store.begin() as connection:
            rows = connection.execute(
                wanted.join(batches, batches.c.id == deliveries.c.batch_id).where(batches.c.id == batch_id)
            ).all()
        return {row.id: (row.asks, row.asked_at) for row in rows}

    def works_s(self, seconds: float, lease: Lease) -> None:
        """Time goes on while a process works, and gives signs of life."""
        while seconds > 0:
            self.pass_s(min(seconds, SIGN_OF_LIFE_S))
            seconds -= SIGN_OF_LIFE_S
            lease.renew()

    def takes_up(self, call: Call, answer: Answer) -> InFlight:
        """The service has the call, and executes it soon, whatever becomes of the caller."""
        item = (self.elapsed_s + ABSENT_AFTER_S - 1, call.key)
        if answer in EXECUTED:
            self.late.append(item)
        return item

    def drops(self, item: InFlight) -> None:
        """The service has lost the call, if it has not executed it by now."""
        if item in self.late:
            self.late.remove(item)

    def executes(self, call: Call, answer: Answer, wish: Wish, item: InFlight) -> None:
        """The service does as it is told, unless it has done so already."""
        if item in self.late:
            self.late.remove(item)
            self.executed[call.key] += 1
        elif answer is Answer.LATE:
            self.late.append((self.elapsed_s + ABSENT_AFTER_S - 1, call.key))
        if answer in EXECUTED or answer in (Answer.LATE, Answer.LOST):
            self.sent[call.key] = wish

    def senders(self, process: Process, *, fails: bool) -> Mapping[Channel, Sender]:
        """Who tells people, as one process has them."""

        def send(story: Story, *, timeout_s: float) -> None:
            process.reach(Place.TELLING)
            if fails:
                raise TransientError("the mail server is away", code="421")
            self.told[story.key] += 1
            process.last_told = story.key
            process.reach(Place.TOLD)

        return dict.fromkeys(Channel, send)


class ScriptedService(Integration[AnySettings, OneSecret]):
    """A service for one attempt: does what its script says, and what it has executed stays so."""

    type = "scripted"

    def __init__(
        self, kind: str, world: World, trip: Trip, script: Script, process: Process, leases: list[Lease]
    ) -> None:
        self.type = kind  # type: ignore[misc]
        self.can_find = kind == ASKABLE  # type: ignore[misc]
        self.repeatable = kind == REPEATABLE  # type: ignore[misc]
        self.absent_after_s = ABSENT_AFTER_S if kind == ASKABLE else 0.0  # type: ignore[misc]
        self.world, self.trip, self.script, self.process, self.leases = world, trip, script, process, leases

    def deliver(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt:
        """Executes it, or not, and answers, or not."""
        answer = self.script.answer
        self.world.works_s(self.script.slow_s, self.leases[-1])
        if answer is Answer.POSTPONED:
            raise ERRORS[answer]()
        call.pace()
        wish = self.world.went_out(self.trip, call, self.type)
        in_flight = self.world.takes_up(call, answer)
        try:
            self.process.reach(Place.CALLED)
        except Died:
            self.world.drops(in_flight)
            raise
        self.world.executes(call, answer, wish, in_flight)
        self.process.reach(Place.EXECUTED)
        if answer is Answer.DELIVERED:
            return Receipt(external_id=call.key)
        raise ERRORS[answer]()

    def find(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt | None:
        """Says whether it has executed it."""
        problem: DeliveryError | None = None
        if self.script.question is Question.DOWN:
            problem = TransientError("down", code="503")
        elif self.script.question is Question.SILENCE:
            problem = UnknownOutcome("no answer", code="timeout")
        if problem is not None:
            raise problem
        return Receipt(external_id=call.key) if self.world.executed[call.key] else None

    def may_resend(self, settings: AnySettings, leadcast: Settings) -> bool:
        """As Telegram: where it cannot be asked, the installation decides."""
        return super().may_resend(settings, leadcast) or leadcast.on_unknown is OnUnknown.RESEND
