"""The director: stages scenarios, the small ones side by side, the big ones one after the other."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from chaos import after, signs
from chaos.faults import Fired
from chaos.matrix import After, Scenario, Who
from chaos.people import People, Sent
from chaos.stack import Stage
from leadcast.client.api import ApiError
from leadcast.client.errors import StackError
from leadcast.local.supervisor import Program

AT_ONCE = 6
MEET_TIMEOUT_S = 40.0
AGAIN_TIMEOUT_S = 100.0
_PROGRAMS = {
    Who.SCHEDULER: Program.SCHEDULER,
    Who.SCHEDULER_TREE: Program.SCHEDULER,
    Who.API_SERVER: Program.API_SERVER,
    Who.TRIGGERER: Program.TRIGGERER,
    Who.DAG_PROCESSOR: Program.DAG_PROCESSOR,
    Who.POSTGRES_IMMEDIATE: Program.POSTGRES,
    Who.POSTGRES_KILLED: Program.POSTGRES,
}
_AWAY = (ApiError, StackError, OSError)


@dataclass(kw_only=True)
class Staged:
    """A scenario and what came of it. `fired` None: nobody passed the point in time."""

    scenario: Scenario
    fired: Fired | None = None
    times: int = 0
    sent: list[Sent] = field(default_factory=list)
    batch_ids: list[str] = field(default_factory=list)
    after: str = ""
    trouble: str = ""
    recovered_s: float | None = None


class Director:
    """Runs the scenarios of one run.

    Args:
        leads: how many are sent in all, spread over the scenarios.
        together: stage the big ones while the small ones go on, which is quicker and mixes up their recovery times.
        until: when to begin no further one, on `time.monotonic`'s clock.
    """

    def __init__(
        self,
        stage: Stage,
        people: People,
        *,
        leads: int,
        say: Callable[[str], None],
        until: float,
        together: bool = False,
    ) -> None:
        self.stage, self.people, self.say, self.until, self.together = stage, people, say, until, together
        self.leads_left = leads
        self.to_backfill: list[str] = []
        self._lock = threading.Lock()
        self._ended = 0

    def run(self, scenarios: Sequence[Scenario]) -> list[Staged]:
        """Stages all of them; those for which no time is left are left out."""
        self._total, self._waiting = len(scenarios), len(scenarios)
        small = [item for item in scenarios if not item.who.is_big]
        big = [item for item in scenarios if item.who.is_big]
        with ThreadPoolExecutor(AT_ONCE) as pool, ThreadPoolExecutor(1) as alone:
            ending = pool.map(self._guarded, small)
            if not self.together:
                pool.shutdown()
            staged = [*alone.map(self._guarded, big)]
            staged = [*ending, *staged]
        self._backfill(staged)
        return staged

    def _guarded(self, scenario: Scenario) -> Staged:
        staged = Staged(scenario=scenario)
        if time.monotonic() > self.until:
            staged.trouble = "no time was left"
            return staged
        try:
            self._stage(staged)
        except Exception as error:
            staged.trouble = f"{type(error).__name__}: {error}"[:200]
        with self._lock:
            self._ended += 1
            met = f"hit {staged.fired.at:.0f}" if staged.fired else "not met"
            name = f"{scenario.words} · {scenario.kind} · {scenario.who} · {scenario.after}"
            self.say(f"  {self._ended:3}/{self._total} {name}: {staged.trouble or staged.after or met}")
        return staged

    def _stage(self, staged: Staged) -> None:
        scenario = staged.scenario
        for fault in scenario.service:
            self.stage.world.fault(**fault)
        meets = scenario.who is not Who.SERVICE
        if scenario.point.startswith("find."):  # who asks the service has died once before
            self.stage.armoury.arm(f"{scenario.id}-first", "call.sent", kind=scenario.kind, action="die")
        if meets:
            self._arm(scenario, scenario.id)
        began = time.time()
        self._send(staged)
        if meets:
            self._meet(staged)
        else:
            facts = {"batch_id": staged.batch_ids[0]} if staged.batch_ids else {}
            staged.fired, staged.times = Fired(id=scenario.id, at=began, pid=0, facts=facts), 1
        self._do_after(staged)

    def _arm(self, scenario: Scenario, fault_id: str, *, only: str = "") -> None:
        action = {Who.WORKER: "die_with_parent", Who.TASK: "die", Who.SLOW_TASK: "die"}.get(scenario.who, "wait")
        self.stage.armoury.arm(fault_id, scenario.point, kind=scenario.kind, action=action, only=only)

    def _send(self, staged: Staged) -> None:
        with self._lock:
            count = -(-self.leads_left // self._waiting) if self._waiting else 0
            self.leads_left -= count
            self._waiting -= 1
        staged.sent = self.people.make(count, kind=staged.scenario.kind, scenario=staged.scenario.id)
        if staged.scenario.who.is_big:  # the door may be the point, and whoever stands in it waits for us
            self._poster = threading.Thread(target=self._post, args=[staged, tuple(staged.sent)], daemon=True)
            self._poster.start()
        else:
            self._post(staged, staged.sent)

    def _post(self, staged: Staged, leads: Sequence[Sent]) -> None:
        for item in leads:
            try:
                staged.batch_ids.append(self.people.send(item))
            except _AWAY as error:
                staged.trouble = f"not accepted: {error}"

    def _meet(self, staged: Staged) -> None:
        scenario = staged.scenario
        staged.fired = self._await_victim(staged)
        if staged.fired is None:
            if scenario.who.is_big:
                self._poster.join()
            return
        staged.times = 1
        if scenario.who.is_big:
            self._strike(scenario)
            self._poster.join()
        if not staged.fired.batch_id and staged.fired.run_id:
            staged.batch_ids = signs.of_run(self.stage, staged.fired.run_id) or staged.batch_ids
        for number in range(1, scenario.times):
            again = f"{scenario.id}-{number}"
            only = staged.fired.delivery_id or staged.fired.run_id
            self._arm(scenario, again, only=only)
            if self.stage.armoury.await_fired(again, timeout_s=AGAIN_TIMEOUT_S) is None:
                break
            staged.times += 1

    def _await_victim(self, staged: Staged) -> Fired | None:
        """Waits until somebody passes the point. Where nobody does, say since no bell needed to be rung, one more lead
        is sent now and then."""
        armoury, fault_id = self.stage.armoury, staged.scenario.id
        for patience_s in (MEET_TIMEOUT_S, MEET_TIMEOUT_S, MEET_TIMEOUT_S):
            until = time.monotonic() + patience_s
            while time.monotonic() < until:
                if (fired := armoury.fired(fault_id)) is not None:
                    return fired
                time.sleep(0.05)
            more = self.people.make(1, kind=staged.scenario.kind, scenario=fault_id)
            staged.sent += more
            threading.Thread(target=self._post, args=[staged, more], daemon=True).start()
        return armoury.await_fired(fault_id, timeout_s=MEET_TIMEOUT_S)

    def _strike(self, scenario: Scenario) -> None:
        """Somebody waits at the point; who is to die dies now."""
        struck = time.time()
        match scenario.who:
            case Who.STACK:
                self.stage.kill_all()
                self.stage.armoury.done(scenario.id)
                self.stage.up()
                return
            case Who.POSTGRES_IMMEDIATE:
                self.stage.kill(Program.POSTGRES, how=signal.SIGQUIT)
            case who:
                self.stage.kill(_PROGRAMS[who], with_children=who in (Who.SCHEDULER_TREE, Who.API_SERVER))
        time.sleep(0.3)
        self.stage.armoury.done(scenario.id)
        self.stage.await_back(since=struck)

    def _do_after(self, staged: Staged) -> None:
        if staged.fired is None or not staged.batch_ids:
            return
        batch_id = staged.fired.batch_id or staged.batch_ids[0]
        match staged.scenario.after:
            case After.CLEAR:
                staged.after = after.clear(self.stage, batch_id)
            case After.RETRY:
                staged.after = after.retry(self.stage, batch_id)
            case After.BACKFILL:
                with self._lock:
                    self.to_backfill.append(batch_id)

    def _backfill(self, staged: Sequence[Staged]) -> None:
        """All that are to be backfilled at once: Airflow takes one backfill of a DAG at a time."""
        if not self.to_backfill:
            return
        try:
            done = after.backfill(self.stage, self.to_backfill)
        except _AWAY as error:
            done = f"refused: {error}"
        self.say(f"  {done}")
        for item in staged:
            if item.scenario.after is After.BACKFILL and not item.after:
                item.after = done
        self.to_backfill = []
