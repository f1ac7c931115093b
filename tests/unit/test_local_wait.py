"""Waiting for a part of the stack: as long as it gets on, and not for what is dead or stands still."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from leadcast.client.api import ApiError
from leadcast.client.errors import StackError
from leadcast.local import signs
from leadcast.local.home import Home
from leadcast.local.progress import Progress, Step
from leadcast.local.signs import Signs
from leadcast.local.supervisor import Program, ProgramState, log_file
from leadcast.local.wait import Watch, watch_of

API = Program.API_SERVER
DAY_S = 86400.0


class Machine:
    """A process table and a clock. Between two looks, `step_s` go by."""

    def __init__(self, step_s: float = 60.0) -> None:
        self.now = 0.0
        self.step_s = step_s
        self.cpu_s: Iterator[float] = iter(())
        self.log_bytes: Iterator[int] = iter(())
        self.pids: Iterator[int] = iter(())
        self.state = "RUNNING"
        self._last = {"cpu_s": 1.0, "log_bytes": 1, "pid": 100}

    def states(self) -> list[ProgramState]:
        self._last["pid"] = next(self.pids, int(self._last["pid"]))
        return [ProgramState(program=API, state=self.state, pid=int(self._last["pid"]), description="")]

    def look(self, pids: Iterable[int], *, log: Path) -> Signs:
        self._last["cpu_s"] = next(self.cpu_s, self._last["cpu_s"])
        self._last["log_bytes"] = next(self.log_bytes, int(self._last["log_bytes"]))
        return Signs(pids=frozenset(pids), cpu_s=self._last["cpu_s"], log_bytes=int(self._last["log_bytes"]))

    def sleep(self, seconds: float) -> None:
        self.now += self.step_s


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(root=tmp_path, project=tmp_path)
    home.logs.mkdir()
    log_file(home, API).write_text("the reason stands here\n")
    return home


@pytest.fixture
def step() -> Step:
    return Step("Something", Console(file=io.StringIO()), lambda text: None)


def watch(home: Home, machine: Machine, **bounds: float) -> Watch:
    return Watch(
        home, states=machine.states, look=machine.look, clock=lambda: machine.now, sleep=machine.sleep, **bounds
    )


def after(count: int) -> Callable[[], bool]:
    """False so many times, then true."""
    answers = iter([False] * count)
    return lambda: next(answers, True)


@pytest.mark.parametrize("sign", ["cpu_s", "log_bytes"])
def test_what_gets_on_is_waited_for(home: Home, machine: Machine, step: Step, sign: str) -> None:
    machine.step_s = 100
    setattr(machine, sign, iter(range(2, 100)))

    watch(home, machine).until(after(10), program=API, what="it answers", step=step)

    assert machine.now == 1000


def test_what_stands_still_is_given_up_with_what_was_waited_for(home: Home, machine: Machine, step: Step) -> None:
    with pytest.raises(StackError, match=r"Nothing has moved for 180 s, and still not: it answers\.") as caught:
        watch(home, machine).until(lambda: False, program=API, what="it answers", step=step)

    assert 180 < machine.now <= 300
    assert caught.value.log_tail == ["the reason stands here"]
    assert "LEADCAST_TIMEOUT_S" in caught.value.mend


def test_a_standstill_that_ends_is_none(home: Home, machine: Machine, step: Step) -> None:
    machine.cpu_s = iter([1, 1, 1, 2, 2, 2, 3, 3, 3, 4])

    watch(home, machine).until(after(12), program=API, what="it answers", step=step)


def test_what_gets_on_for_ever_is_given_up_in_the_end(home: Home, machine: Machine, step: Step) -> None:
    machine.cpu_s = iter(range(1, 1000))

    with pytest.raises(StackError, match="20 minutes have passed"):
        watch(home, machine).until(lambda: False, program=API, what="it answers", step=step)

    assert machine.now <= 1300


def test_all_waits_together_have_one_bound_and_each_its_own_standstill(
    home: Home, machine: Machine, step: Step
) -> None:
    patient = watch(home, machine, longest_s=DAY_S)
    for _ in range(10):
        patient.until(after(2), program=API, what="it answers", step=step)
    assert machine.now == 1200


def test_one_that_is_given_up_by_the_supervisor_ends_the_wait_at_once(home: Home, machine: Machine, step: Step) -> None:
    machine.state = "FATAL"

    with pytest.raises(StackError, match=r"api-server keeps ending\.") as caught:
        watch(home, machine).until(lambda: False, program=Program.SANDBOX, what="it answers", step=step)

    assert machine.now == 0
    assert caught.value.log_tail == ["the reason stands here"]


def test_one_that_dies_again_and_again_ends_the_wait_at_once(home: Home, machine: Machine, step: Step) -> None:
    machine.pids = iter([100, 0, 101, 0, 102])
    machine.cpu_s = iter(range(1, 1000))

    with pytest.raises(StackError, match="keeps ending"):
        watch(home, machine).until(lambda: False, program=API, what="it answers", step=step)

    assert machine.now == 4 * machine.step_s


@pytest.mark.parametrize(
    "silence",
    [
        ApiError("slow", is_slow=True),
        ApiError("refused"),
        ApiError("a proxy got nothing", status=504),
        ApiError("busy", status=503),
    ],
    ids=str,
)
def test_what_is_not_answered_is_asked_again(home: Home, machine: Machine, step: Step, silence: ApiError) -> None:
    answers: Iterator[ApiError | str] = iter([silence, silence, "at last"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    assert watch(home, machine).answer(ask, what="it answers", step=step) == "at last"


def test_what_is_refused_is_not_asked_again(home: Home, machine: Machine, step: Step) -> None:
    def ask() -> str:
        raise ApiError("no such batch", status=404)

    with pytest.raises(ApiError, match="no such batch"):
        watch(home, machine).answer(ask, what="it answers", step=step)


def test_a_batch_is_waited_for_while_something_of_it_changes(home: Home, machine: Machine, step: Step) -> None:
    machine.step_s = 100
    states = iter([{"status": "processing", "progress": n} for n in range(8)] + [{"status": "completed"}])
    body = watch(home, machine).change(lambda: next(states), _is_over, what="it has ended", step=step)
    assert (body["status"], machine.now) == ("completed", 800)


def test_a_batch_of_which_nothing_changes_is_given_up(home: Home, machine: Machine, step: Step) -> None:
    machine.cpu_s = iter(range(1, 1000))
    with pytest.raises(StackError, match="Nothing has moved"):
        watch(home, machine).change(lambda: {"status": "processing"}, _is_over, what="it has ended", step=step)


def _is_over(batch: dict[str, Any]) -> bool:
    return bool(batch["status"] == "completed")


def test_a_command_that_ends_well_is_waited_for_and_one_that_fails_shows_its_log(home: Home, step: Step) -> None:
    log = home.logs / "migrate.log"
    for code in (0, 3):
        with log.open("wb") as output:
            words = [sys.executable, "-c", f"print('at work', flush=True); raise SystemExit({code})"]
            process = subprocess.Popen(words, stdout=output)
        waiting = Watch(home, states=list)
        if code == 0:
            waiting.run(process, name="migrate", log=log, step=step)
            continue
        with pytest.raises(StackError, match=r"`migrate` failed with exit code 3\.") as caught:
            waiting.run(process, name="migrate", log=log, step=step)
        assert caught.value.log_tail == ["at work"]


def test_a_command_that_stands_still_is_killed(home: Home, machine: Machine, step: Step) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(StackError, match="`init` has ended"):
        watch(home, machine).run(process, name="init", log=home.logs / "init.log", step=step)
    assert process.returncode is not None


def test_a_process_that_works_is_seen_to_and_one_that_sleeps_is_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x")
    work = "import sys, time\nfor _ in range(3):\n    sys.stdin.readline()\n    end = time.process_time() + .3\n"
    work += "    while time.process_time() < end: pass\n    print(flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            seen = []
            for _ in range(2):
                process.stdin.write("\n")
                process.stdin.flush()
                process.stdout.readline()
                seen += [signs.look([process.pid], log=log), signs.look([process.pid], log=log)]
        finally:
            process.kill()
    assert seen[0] == seen[1] != seen[2] == seen[3]
    assert signs.look([process.pid], log=tmp_path / "none") == Signs()


def test_where_lines_stay_a_plain_one_is_said_now_and_then() -> None:
    out, now = io.StringIO(), [0.0]
    step = Step("Airflow's scheduler", Console(file=out, width=200), lambda text: None, lambda: now[0])
    for now[0] in (0, 10, 29, 31, 40, 60, 62):
        step.waits("until its heart beats; it has used 7 s of processor time")
    assert out.getvalue().splitlines() == [
        "    Airflow's scheduler … 31 s, waits until its heart beats; it has used 7 s of processor time",
        "    Airflow's scheduler … 62 s, waits until its heart beats; it has used 7 s of processor time",
    ]


def test_on_a_terminal_one_line_changes() -> None:
    shown: list[str] = []
    console = Console(file=io.StringIO(), force_terminal=True)
    Step("Airflow's scheduler", console, shown.append, lambda: 0.0).waits("until its heart beats")
    assert shown == ["Airflow's scheduler … 0 s, waits until its heart beats"]
    with Progress(console).step("Another") as step:
        step.waits("until it is done")


def test_a_patience_that_is_no_number_is_an_error_in_the_settings(home: Home) -> None:
    with pytest.raises(StackError, match="LEADCAST_TIMEOUT_S is 'long'"):
        watch_of(home, {"LEADCAST_TIMEOUT_S": "long"})
