"""The local stack: several side by side, and nothing left behind whatever happened to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from leadcast.local import processes
from leadcast.local.home import Home
from leadcast.local.ports import Ports
from tests.support.stack import ROOT, Stack, free_port, leadcast, stack_env

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def second() -> Iterator[Stack]:
    """A second stack beside the first, with a home and ports of its own. Ended by its tests, or else here."""
    folder = Path(tempfile.mkdtemp(prefix="leadcast-second-"))
    env = stack_env(folder, free_port())
    leadcast(env, "up")
    yield Stack(home=Home.find(env, cwd=ROOT), ports=Ports.from_environment(env), env=env)
    leadcast(env, "down")
    shutil.rmtree(folder, ignore_errors=True)


def test_two_stacks_side_by_side_know_nothing_of_each_other(stack: Stack, second: Stack) -> None:
    body = {"lead_id": "second-1", "lead": {"name": "Second"}, "integrations": [{"type": "webhook"}]}
    batch_id = second.api().call("POST", "/api/integrations/send-batch", json=body)["batch_id"]
    assert second.settled(batch_id)["status"] == "completed"
    assert len(second.received("webhook")) == 1
    assert stack.received("webhook") == []
    assert stack.sql("leadcast", "SELECT 1 FROM batches WHERE lead_id = 'second-1'") == []
    for one in (stack, second):
        assert one.run("status").returncode == 0


def test_up_again_is_harmless(second: Stack) -> None:
    before = {process.pid for process in processes.of_stack(second.home)}
    assert "already" in second.run("up").stdout
    assert before <= {process.pid for process in processes.of_stack(second.home)} | _tasks_that_ended(before)


def _tasks_that_ended(pids: set[int]) -> set[int]:
    return {pid for pid in pids if not psutil.pid_exists(pid)}


def test_it_listens_on_loopback_only(second: Stack) -> None:
    pids = {process.pid for process in processes.of_stack(second.home)}
    listening = [item for item in psutil.net_connections("inet") if item.pid in pids and item.status == "LISTEN"]
    assert listening
    assert {item.laddr.ip for item in listening if item.laddr} == {"127.0.0.1"}


def test_after_its_supervisor_was_killed_down_leaves_no_process(stack: Stack, second: Stack) -> None:
    supervisor = next(process for process in processes.of_stack(second.home) if "supervisord" in _command(process))
    os.kill(supervisor.pid, signal.SIGKILL)
    assert second.run("down").returncode == 0
    assert processes.of_stack(second.home) == []
    assert [port for port in second.ports.all if _answers(port)] == []
    assert stack.run("status").returncode == 0, "the other stack goes on"


def test_down_again_is_harmless(second: Stack) -> None:
    assert second.run("down").returncode == 0


def test_a_port_that_is_taken_is_named_with_the_mend(tmp_path: Path) -> None:
    port = free_port()
    env = stack_env(tmp_path, port)
    with socket.create_server(("127.0.0.1", port)):
        done = leadcast(env, "up", check=False)
    assert done.returncode == 1
    assert str(port) in done.stdout + done.stderr
    assert "LEADCAST_PORT" in done.stdout + done.stderr


def _command(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
