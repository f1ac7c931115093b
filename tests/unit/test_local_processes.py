"""Finding and ending the processes of one stack and of no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from leadcast.local import processes
from leadcast.local.environment import MARK
from leadcast.local.home import Home

SLEEP = "import time; print('ready', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP


def start(code: str, *, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    env = {**os.environ, **variables}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, cwd=cwd, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def at_exit() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(root=tmp_path.resolve() / "mine", project=tmp_path)
    home.prepare()
    yield home
    home.forget_state()


def begin(at_exit: ExitStack, code: str, *, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    process = at_exit.enter_context(start(code, cwd=cwd, **variables))
    at_exit.callback(process.kill)
    return process


def test_they_are_known_by_their_environment_and_by_their_folder(
    home: Home, at_exit: ExitStack, tmp_path: Path
) -> None:
    marked = begin(at_exit, SLEEP, cwd=tmp_path, **{MARK: str(home.root)})
    unmarked = begin(at_exit, SLEEP, cwd=home.work)

    assert {process.pid for process in processes.of_stack(home)} == {marked.pid, unmarked.pid}


def test_another_stacks_processes_and_the_users_shell_are_not_ours(
    home: Home, at_exit: ExitStack, tmp_path: Path
) -> None:
    begin(at_exit, SLEEP, cwd=tmp_path, **{MARK: str(home.root) + "2"})
    begin(at_exit, SLEEP, cwd=home.root, LEADCAST_HOME=str(home.root))

    assert processes.of_stack(home) == []


def test_one_that_does_not_listen_is_killed_in_the_end(
    home: Home, at_exit: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_TERM_TIMEOUT_S", 0.3)
    polite = begin(at_exit, SLEEP, cwd=home.work)
    stubborn = begin(at_exit, STUBBORN, cwd=home.work)

    processes.end(processes.of_stack(home))

    assert not psutil.pid_exists(polite.pid)
    assert not psutil.pid_exists(stubborn.pid)
    assert processes.of_stack(home) == []


def test_they_are_found_after_their_home_was_removed(home: Home, at_exit: ExitStack, tmp_path: Path) -> None:
    process = begin(at_exit, SLEEP, cwd=home.work, **{MARK: str(home.root)})
    for folder in (home.work, home.run, home.airflow, home.logs):
        folder.rmdir()
    home.root.rmdir()

    assert [found.pid for found in processes.of_stack(home)] == [process.pid]


def test_whoever_listens_is_told_from_whoever_does_not(at_exit: ExitStack, tmp_path: Path) -> None:
    code = (
        "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
        "open('port', 'w').write(str(s.getsockname()[1])); print('ready', flush=True); time.sleep(60)"
    )
    process = begin(at_exit, code, cwd=tmp_path)
    port = int((tmp_path / "port").read_text())

    assert processes.listens(process.pid, port=port)
    assert not processes.listens(process.pid, port=port - 1)
    assert processes.who_listens(port) == f"{psutil.Process(process.pid).name()} (pid {process.pid})"
