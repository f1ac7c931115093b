"""The local stack as a whole: start it, end it, ask how it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from leadcast.client.api import Api, ApiError, Health
from leadcast.client.errors import StackError
from leadcast.local import checks, processes
from leadcast.local.environment import stack_environment
from leadcast.local.home import Home
from leadcast.local.keys import Keys, passwords
from leadcast.local.ports import Ports
from leadcast.local.progress import Progress
from leadcast.local.start import start
from leadcast.local.stop import end, stop_programs
from leadcast.local.supervisor import Program, ProgramState, Supervisor, log_file
from leadcast.local.wait import Watch, watch_of

_QUICK_S = 5.0
_PATIENT_S = 30.0
_LOOKS = 5
"""How often Leadcast's health is asked for before what it says is believed: on a busy machine its first look at the
store may take longer than it waits for."""
_PAUSE_S = 3.0
"""Longer than its answer is kept (`api.health`)."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a stack is. No programs: its supervisor does not run; `orphans` counts the processes that do all the same.

    hints: what Leadcast says is to be done, say a pool that is missing.
    is_slow: the api-server lives and has not answered in time, so nothing is known of the health.
    """

    home: Home
    ports: Ports
    programs: tuple[ProgramState, ...]
    health: Mapping[str, Health]
    hints: tuple[str, ...] = ()
    orphans: int = 0
    is_slow: bool = False

    @property
    def is_running(self) -> bool:
        """Whether its supervisor answers."""
        return bool(self.programs)

    @property
    def is_alive(self) -> bool:
        """Whether every program lives."""
        return self.is_running and all(state.is_up for state in self.programs)

    @property
    def is_well(self) -> bool:
        """Whether every program lives, and Airflow calls every part healthy."""
        watched = [self.health.get(program.health_name) for program in Program if program.health_name]
        return self.is_alive and all(health is not None and health.is_healthy for health in watched)

    @property
    def is_healthy(self) -> bool:
        """Whether it is well, and Leadcast wants nothing done."""
        return self.is_well and not self.hints


def status(home: Home, *, timeout_s: float = _QUICK_S) -> Status:
    """How the stack in this home is. The api-server has this long to answer."""
    state = home.read_state()
    if state is None or not Supervisor(home).is_reachable():
        ports = state.ports if state else Ports.from_environment(os.environ)
        return Status(home=home, ports=ports, programs=(), health={}, orphans=len(processes.of_stack(home)))
    api = Api(state.ports.api_url)
    programs = tuple(Supervisor(home).states())
    try:
        health, hints = api.parts(timeout_s=timeout_s), tuple(api.hints())
    except ApiError as error:
        return Status(home=home, ports=state.ports, programs=programs, health={}, is_slow=error.is_slow)
    return Status(home=home, ports=state.ports, programs=programs, health=health, hints=hints)


def await_health(
    home: Home, *, progress: Progress, watch: Watch, sleep: Callable[[float], None] = time.sleep
) -> Status:
    """How the stack is once it is well. A slow one is asked again, and so is one that wants something done: it may be
    none of that once it has begun.

    Raises:
        StackError: a program has been stopped or keeps ending, or there is no progress any more.
    """
    last: list[Status] = []

    def is_well() -> bool:
        last[:] = [status(home, timeout_s=_PATIENT_S)]
        if stopped := [state for state in last[0].programs if state.state in ("STOPPED", "EXITED")]:
            raise StackError(
                f"{stopped[0].program} does not run.",
                mend="leadcast down, then leadcast up",
                log=log_file(home, stopped[0].program),
            )
        return last[0].is_well

    with progress.step("Health of all parts") as step:
        for looks in range(_LOOKS):
            if looks:
                step.waits(f"until Leadcast finds nothing to be done; it says: {last[0].hints[0]}")
                sleep(_PAUSE_S)
            watch.until(is_well, program=Program.SCHEDULER, what="Airflow calls all of its parts healthy", step=step)
            if last[0].is_healthy:
                break
    return last[0]


def environment(home: Home, *, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of the stack in this home, for programs that belong to it.

    Raises:
        StackError: no stack was ever started there.
    """
    keys = Keys.read(home)
    state = home.read_state()
    ports = state.ports if state else Ports.from_environment(inherited)
    return stack_environment(inherited, home=home, ports=ports, keys=keys)


def log_in(home: Home, *, user: str) -> Api:
    """Leadcast's API as one of the stack's users.

    Raises:
        StackError: no such user, or the stack does not answer.
    """
    state = home.read_state()
    ours = {name: password.get_secret_value() for name, password in Keys.read(home).users.items()}
    known = passwords(home) | ours
    if state is None:
        raise StackError(f"No stack runs in {home.root}.", mend="Start one: leadcast up")
    if user not in known:
        raise StackError(f"The local stack has no user {user!r}.", mend=f"Take one of: {', '.join(known)}")
    try:
        return Api.log_in(state.ports.api_url, user=user, password=known[user])
    except ApiError as error:
        raise StackError(str(error), mend="See: leadcast status") from error


def up(home: Home, *, progress: Progress, inherited: Mapping[str, str]) -> bool:
    """Starts the stack and returns when all of it is of use. Returns False when it ran already.

    Raises:
        StackError: something is in the way, or a part did not come up; the stack is then stopped again.
    """
    watch = watch_of(home, inherited)
    with home.lock():
        state = home.read_state()
        if state is not None and state.ready and Supervisor(home).is_reachable():
            return False
        _clean(home, progress)
        ports = Ports.from_environment(inherited)
        checks.check(home, ports)
        try:
            start(home, ports=ports, progress=progress, watch=watch, inherited=inherited)
        except BaseException:
            with progress.step("Stopping again"):
                end(home)
            raise
        return True


def down(home: Home, *, progress: Progress) -> bool:
    """Ends every process of the stack. Returns False when there was none.

    Raises:
        StackError: processes that cannot be ended.
    """
    if not home.root.exists() and not processes.of_stack(home):
        return False
    with home.lock():
        if not Supervisor(home).is_reachable() and not processes.of_stack(home):
            home.forget_state()
            return False
        with progress.step("Airflow, sandbox"):
            stop_programs(home, *(program for program in Program if program is not Program.POSTGRES))
        with progress.step("PostgreSQL, supervisor"):
            stop_programs(home, Program.POSTGRES)
            end(home)
    return True


def _clean(home: Home, progress: Progress) -> None:
    """Ends what a stack that was killed, or stopped half-way, has left."""
    if Supervisor(home).is_reachable() or processes.of_stack(home):
        with progress.step("Ending what a stack before has left"):
            end(home)
    home.forget_state()
