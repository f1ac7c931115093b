"""Ending a stack, whatever state it is in."""

from __future__ import annotations

import time

from leadcast.client.errors import StackError
from leadcast.local import processes
from leadcast.local.home import Home
from leadcast.local.supervisor import Program, Supervisor

_STOP_TIMEOUT_S = 20


def stop_programs(home: Home, *programs: Program) -> None:
    """Stops programs by the supervisor, where it lives, and waits until they have ended or the time is up."""
    supervisor = Supervisor(home)
    if not supervisor.is_reachable():
        return
    supervisor.stop(*programs)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline and any(state.pid for state in supervisor.states() if state.program in programs):
        time.sleep(0.1)


def end(home: Home) -> None:
    """Ends every process of this home, with the supervisor's help or without, and removes what they leave.

    Raises:
        StackError: processes that cannot be ended.
    """
    supervisor = Supervisor(home)
    if supervisor.is_reachable():
        # The database last: the others would wait for it, and fill their logs.
        stop_programs(home, *(program for program in Program if program is not Program.POSTGRES))
        stop_programs(home, Program.POSTGRES)
        supervisor.shutdown()
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while supervisor.is_reachable() and time.monotonic() < deadline:
        time.sleep(0.1)
    processes.end(processes.of_stack(home))
    if left := processes.of_stack(home):
        raise StackError(f"Cannot end: {', '.join(f'{process.name()} (pid {process.pid})' for process in left)}.")
    (home.postgres / "postmaster.pid").unlink(missing_ok=True)
    home.forget_state()
