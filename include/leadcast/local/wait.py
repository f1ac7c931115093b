"""Waiting for a program to be of use: bounded, and over at once when the program keeps dying."""

from __future__ import annotations

import time
from collections.abc import Callable

from leadcast.local.errors import StackError
from leadcast.local.home import Home
from leadcast.local.supervisor import Program, Supervisor, log_file

_POLL_S = 0.2
_MAX_DEATHS = 2


def until(check: Callable[[], bool], *, program: Program, what: str, home: Home, timeout_s: float) -> None:
    """Returns when `check` holds.

    what: what is waited for, as in "the api-server answers".

    Raises:
        StackError: the program died twice, was given up, or `timeout_s` have passed.
    """
    supervisor = Supervisor(home)
    deadline = time.monotonic() + timeout_s
    pids: set[int] = set()
    while not check():
        state = supervisor.state(program)
        pids |= {state.pid} - {0}
        if state.state == "FATAL" or len(pids) > _MAX_DEATHS:
            raise StackError(f"{program} keeps ending: {state.description}.", log=log_file(home, program))
        if time.monotonic() > deadline:
            raise StackError(
                f"After {timeout_s:.0f} s still not: {what} ({program} is {state.state}).",
                mend="A slow machine may need longer: set LEADCAST_TIMEOUT_S.",
                log=log_file(home, program),
            )
        time.sleep(_POLL_S)
