"""Waiting for a program to be of use: as long as it gets on, and over at once when any program keeps dying."""

from __future__ import annotations

import json
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from leadcast.client.api import ApiError
from leadcast.client.errors import StackError
from leadcast.local import signs
from leadcast.local.home import Home
from leadcast.local.patience import LONGEST_S, STANDSTILL_S, Patience
from leadcast.local.progress import Step
from leadcast.local.supervisor import Program, ProgramState, Supervisor, log_file

_POLL_S = 0.25
_MAX_LIVES = 2
T = TypeVar("T")


class Watch:
    """Waits for one thing after the other, with an eye on all programs.

    standstill_s: how long a wait may go on without progress. longest_s: how long all waits may take together.
    states, look, clock, sleep: how the programs are, what is seen of a process's family, and time; a test's own.
    """

    def __init__(
        self,
        home: Home,
        *,
        standstill_s: float = STANDSTILL_S,
        longest_s: float = LONGEST_S,
        states: Callable[[], list[ProgramState]] | None = None,
        look: Callable[..., signs.Signs] = signs.look,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._home = home
        self._states = states or Supervisor(home).states
        self._look = look
        self._sleep = sleep
        self._patience = Patience(standstill_s=standstill_s, longest_s=longest_s, clock=clock)
        self._lives: dict[Program, set[int]] = defaultdict(set)
        self._pids: dict[Program, int] = {}

    def until(self, check: Callable[[], bool], *, program: Program, what: str, step: Step) -> None:
        """Returns when `check` holds. `what` is that in words, as in "the api-server answers".

        Raises:
            StackError: a program died twice or was given up, or there is no progress any more.
        """
        log = log_file(self._home, program)

        def seen() -> signs.Signs:
            return self._look([self._pids.get(program, 0)], log=log)

        self._wait(check, seen=seen, what=what, log=log, step=step)

    def answer(self, ask: Callable[[], T], *, what: str, step: Step) -> T:
        """What the api-server answers. Asks again after a time-out or a refused connection, so it must be harmless to.

        Raises:
            StackError: as `until`.
            ApiError: it refuses.
        """
        found: list[T] = []

        def is_answered() -> bool:
            with _unanswered_is_not_yet():
                found.append(ask())
            return bool(found)

        self.until(is_answered, program=Program.API_SERVER, what=what, step=step)
        return found[0]

    def change(
        self, ask: Callable[[], dict[str, Any]], is_over: Callable[[dict[str, Any]], bool], *, what: str, step: Step
    ) -> dict[str, Any]:
        """What the api-server says of something once that is over. It gets on while what is said changes.

        Raises:
            StackError, ApiError: as `answer`.
        """
        said: dict[str, Any] = {}
        is_silent = False

        def seen() -> object:
            if is_silent:  # then whether the api-server is at work says more
                api_server = Program.API_SERVER
                return self._look([self._pids.get(api_server, 0)], log=log_file(self._home, api_server))
            return json.dumps(said, sort_keys=True)

        def check() -> bool:
            nonlocal is_silent
            is_silent = True
            with _unanswered_is_not_yet():
                said.update(ask())
                is_silent = False
            return bool(said) and is_over(said)

        self._wait(check, seen=seen, what=what, log=log_file(self._home, Program.SCHEDULER), step=step)
        return said

    def run(self, process: subprocess.Popen[bytes], *, name: str, log: Path, step: Step) -> None:
        """Waits for a command to end well. One that waits for the database's work gets on by that.

        Raises:
            StackError: it failed, or there is no progress any more; then it is killed.
        """

        def seen() -> signs.Signs:
            return self._look([process.pid, self._pids.get(Program.POSTGRES, 0)], log=log)

        try:
            self._wait(lambda: process.poll() is not None, seen=seen, what=f"`{name}` has ended", log=log, step=step)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            raise StackError(f"`{name}` failed with exit code {process.returncode}.", log=log)

    def _wait(self, check: Callable[[], bool], *, seen: Callable[[], object], what: str, log: Path, step: Step) -> None:
        self._patience.begin()
        while not check():
            self._look_after_all()
            now = seen()
            self._patience.sees(now)
            if end := self._patience.end:
                raise StackError(
                    f"{end}, and still not: {what}.",
                    mend="Its log says why. A machine that stands still for longer: set LEADCAST_TIMEOUT_S.",
                    log=log,
                )
            step.waits(f"until {what}" + (f"; {now}" if isinstance(now, signs.Signs) else ""))
            self._sleep(_POLL_S)

    def _look_after_all(self) -> None:
        for state in self._states():
            self._pids[state.program] = state.pid
            lives = self._lives[state.program]
            lives |= {state.pid} - {0}
            if state.state == "FATAL" or len(lives) > _MAX_LIVES:
                raise StackError(f"{state.program} keeps ending.", log=log_file(self._home, state.program))


def watch_of(home: Home, environ: Mapping[str, str]) -> Watch:
    """A watch that is as patient as LEADCAST_TIMEOUT_S says.

    Raises:
        StackError: that is no number of seconds.
    """
    text = environ.get("LEADCAST_TIMEOUT_S") or str(STANDSTILL_S)
    try:
        return Watch(home, standstill_s=float(text))
    except ValueError:
        raise StackError(f"LEADCAST_TIMEOUT_S is {text!r}; it must be seconds.", mend="Unset it.") from None


@contextmanager
def _unanswered_is_not_yet() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        if not error.is_passing:
            raise
