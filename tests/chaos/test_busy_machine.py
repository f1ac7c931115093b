"""A stack that is started on a machine with other things to do: slow, and not unwell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from leadcast.local import processes
from leadcast.local.home import Home
from tests.support.stack import ROOT, free_port, leadcast, stack_env

pytestmark = pytest.mark.system
LOOPS_PER_CORE = 2


@pytest.fixture
def busy() -> Iterator[None]:
    """Two loops a core, beside whatever else this machine does."""
    with ExitStack() as loops:
        for _ in range(LOOPS_PER_CORE * (os.cpu_count() or 1)):
            loop = loops.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            loops.callback(loop.kill)
        yield


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    """A home and ports of its own; nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="leadcast-busy-"))
    env = stack_env(folder, free_port())
    yield env
    leadcast(env, "down", check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("busy")
def test_make_up_ends_well_beside_other_work_and_so_does_down(env: dict[str, str]) -> None:
    up = leadcast(env, "up", "--demo")  # what `make up` runs; it ends with 0
    assert "Lead 123: completed" in up.stdout

    status = leadcast(env, "status", check=False)
    assert status.returncode in (0, 4), status.stdout  # well, or too slow just now to say so

    leadcast(env, "down")
    assert processes.of_stack(Home.find(env, cwd=ROOT)) == []
