"""The executor of the local stack: what its workers do when it is killed. Its processes are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.stack import until

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died"),
]
EXECUTOR = """
import os, signal, sys, time
from pathlib import Path
from airflow.executors import local_executor
from leadcast.engine.processes.local_executor import RevokingLocalExecutor

def work(*, input, **_):
    (folder / f"waits-{os.getpid()}").touch()
    try:
        input.get()
    except EOFError:
        return
    (folder / f"works-{os.getpid()}").touch()
    while not (folder / "may end").exists():
        time.sleep(0.02)
    (folder / "has ended").touch()
    try:
        input.get()
    except EOFError:
        (folder / "has heard").touch()

folder = Path(sys.argv[1])
local_executor._run_worker = work
executor = RevokingLocalExecutor(parallelism=2)
executor.start()
if sys.argv[2] == "busy":
    executor.activity_queue.put("a task")
(folder / "started").touch()
signal.pause()
"""
Start = Callable[[str], tuple["subprocess.Popen[bytes]", list[psutil.Process]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an executor with two workers. Gives its process and theirs."""
    started: list[subprocess.Popen[bytes]] = []
    workers: list[psutil.Process] = []

    def start(how: str) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
        command = [sys.executable, "-c", EXECUTOR, str(tmp_path), how]
        executor = subprocess.Popen(command, env={**os.environ, "HOME": str(tmp_path)})
        started.append(executor)
        until(lambda: len(list(tmp_path.glob("waits-*"))) == 2 and (tmp_path / "started").exists())
        workers.extend(psutil.Process(int(path.name.partition("-")[2])) for path in tmp_path.glob("waits-*"))
        return executor, workers

    yield start
    for kill in [each.kill for each in started] + [each.kill for each in workers]:
        try:
            kill()
        except psutil.NoSuchProcess:
            continue
    for each in started:
        each.wait(timeout=10)


def test_idle_workers_of_a_killed_executor_end(start: Start) -> None:
    executor, workers = start("idle")
    assert len(workers) == 2
    executor.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def test_one_that_works_finishes_its_task_first(start: Start, tmp_path: Path) -> None:
    executor, workers = start("busy")
    until(lambda: list(tmp_path.glob("works-*")))
    executor.send_signal(signal.SIGKILL)
    executor.wait(timeout=10)
    idle = [worker for worker in workers if not (tmp_path / f"works-{worker.pid}").exists()]
    assert psutil.wait_procs(idle, timeout=20)[1] == []
    assert len(psutil.wait_procs(workers, timeout=0)[1]) == 1, "one has a task"
    (tmp_path / "may end").touch()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert (tmp_path / "has ended").exists()
    assert (tmp_path / "has heard").exists()
