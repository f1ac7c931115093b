"""The soak: mixed traffic with random faults for a long while. Does the memory of any program grow?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
from rich.console import Console
from rich.table import Table

from chaos.matrix import After, Scenario, Who, everything
from chaos.orphans import workers
from chaos.people import TYPES, People
from chaos.stack import Stage
from leadcast.client.api import ApiError
from leadcast.client.errors import StackError
from leadcast.local.supervisor import Program

SAMPLE_EVERY_S = 15.0
LEAD_EVERY_S = 3.0
FAULT_EVERY_S = 20.0
WARM_UP_S = 300.0
MAX_GROWTH = 0.05
_MIB = 2**20


@dataclass(kw_only=True)
class Memory:
    """Resident memory of one program over time: (seconds since the start, bytes), one process id's worth.

    A program that was started again begins anew: what it had before was given back.
    """

    program: str
    pid: int
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def warm(self) -> list[int]:
        """What was seen after the warm-up of this process."""
        began = self.samples[0][0]
        return [size for at, size in self.samples if at - began >= WARM_UP_S]

    @property
    def first(self) -> int:
        """The mean of the first three samples after warm-up."""
        return sum(self.warm[:3]) // len(self.warm[:3])

    @property
    def last(self) -> int:
        """The mean of the last three."""
        return sum(self.warm[-3:]) // len(self.warm[-3:])

    @property
    def growth(self) -> float:
        """By how much it grew since warm-up, as a part of what it was."""
        return self.last / self.first - 1

    @property
    def is_long_enough(self) -> bool:
        """Whether this process lived long enough to say anything."""
        return len(self.warm) >= 6


class Soak:
    """Traffic and faults for `minutes`; then everything is left to calm down."""

    def __init__(self, stage: Stage, people: People, *, seed: int, say: Callable[[str], None]) -> None:
        self.stage, self.people, self.say = stage, people, say
        self.memories: dict[tuple[str, int], Memory] = {}
        self.faults = 0
        self._chance = random.Random(seed)
        self._scenarios = [item for item in everything([After.NOTHING]) if not item.who.is_big]

    def run(self, *, minutes: float) -> None:
        """Runs it. Programs are not killed, tasks and their workers are: memory is watched of what lives on."""
        began = time.monotonic()
        next_lead = next_fault = next_sample = 0.0
        number = 0
        while (now := time.monotonic() - began) < minutes * 60:
            if now >= next_sample:
                self._sample(now)
                next_sample = now + SAMPLE_EVERY_S
            if now >= next_fault and now < minutes * 60 - 120:
                number += 1
                self._fault(number)
                next_fault = now + FAULT_EVERY_S
            if now >= next_lead:
                self._lead()
                next_lead = now + LEAD_EVERY_S
            time.sleep(0.2)
        for path in (self.stage.armoury.root / "armed").iterdir():
            path.unlink(missing_ok=True)
        self.stage.world.clear_faults()

    def sample_once_more(self, *, at: float) -> None:
        """After the calm."""
        self._sample(at)

    def _lead(self) -> None:
        for item in self.people.make(1, kind=self._chance.choice(TYPES), scenario="soak"):
            try:
                self.people.send(item)
            except (ApiError, StackError) as error:
                self.say(f"  {item.lead_id} was not accepted: {error}")

    def _fault(self, number: int) -> None:
        item: Scenario = self._chance.choice(self._scenarios)
        for fault in item.service:
            self.stage.world.fault(**fault)
        if item.who is not Who.SERVICE:
            action = "die_with_parent" if item.who is Who.WORKER else "die"
            self.stage.armoury.arm(f"soak-{number:04d}", item.point, kind=item.kind, action=action)
        self.faults += 1

    def _sample(self, at: float) -> None:
        for name, process in self._programs():
            try:
                size = process.memory_info().rss
            except psutil.Error:
                continue
            memory = self.memories.setdefault((name, process.pid), Memory(program=name, pid=process.pid))
            memory.samples.append((at, size))

    def _programs(self) -> Iterator[tuple[str, psutil.Process]]:
        for program in Program:
            if (pid := self.stage.pid(program)) and psutil.pid_exists(pid):
                yield str(program), psutil.Process(pid)
        for worker in workers(self.stage):
            yield "executor's worker", worker


def show(console: Console, memories: list[Memory]) -> bool:
    """Prints first, last and growth of each process that lived long enough. Returns whether all stayed flat."""
    table = Table(title="Resident memory after warm-up", title_justify="left")
    for name in ("program", "pid", "samples", "first", "last", "highest", "growth"):
        table.add_column(name, justify="left" if name == "program" else "right")
    flat = True
    for memory in sorted(memories, key=lambda item: (item.program, item.pid)):
        if not memory.is_long_enough:
            continue
        flat &= memory.growth <= MAX_GROWTH
        table.add_row(
            *(memory.program, str(memory.pid), str(len(memory.samples))),
            *(f"{size / _MIB:.1f} MiB" for size in (memory.first, memory.last, max(memory.warm))),
            f"{memory.growth:+.1%}",
        )
    console.print(table)
    return flat


def samples(memories: list[Memory]) -> list[dict[str, object]]:
    """Every sample, for the file."""
    return [{"program": item.program, "pid": item.pid, "samples": item.samples} for item in memories]
