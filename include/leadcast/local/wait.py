"""Waiting for a program to be of use: bounded, and over at once when any program keeps dying."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from leadcast.local.errors import StackError
from leadcast.local.home import Home
from leadcast.local.supervisor import Program, Supervisor, log_file

_POLL_S = 0.25
_MAX_LIVES = 2


class Watch:
    """Waits for one program after the other, with an eye on all of them.

    timeout_s: the longest wait for one thing.
    """

    def __init__(self, home: Home, *, timeout_s: float) -> None:
        self._home = home
        self._timeout_s = timeout_s
        self._pids: dict[Program, set[int]] = defaultdict(set)

    def until(self, check: Callable[[], bool], *, program: Program, what: str) -> None:
        """Returns when `check` holds. `what` is that in words, as in "the api-server answers".

        Raises:
            StackError: a program died twice or was given up, or the time is over.
        """
        deadline = time.monotonic() + self._timeout_s
        while not check():
            self._look_after_all()
            if time.monotonic() > deadline:
                raise StackError(
                    f"After {self._timeout_s:.0f} s still not: {what}.",
                    mend="A slow machine may need longer: set LEADCAST_TIMEOUT_S.",
                    log=log_file(self._home, program),
                )
            time.sleep(_POLL_S)

    def _look_after_all(self) -> None:
        for state in Supervisor(self._home).states():
            lives = self._pids[state.program]
            lives |= {state.pid} - {0}
            if state.state == "FATAL" or len(lives) > _MAX_LIVES:
                raise StackError(f"{state.program} keeps ending.", log=log_file(self._home, state.program))
