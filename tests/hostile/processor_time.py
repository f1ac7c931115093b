"""Attacks that are bounded by processor time: each by a timer, and all by the limit of the process that makes them."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

MOST_CPU_S = 600
"""For all attacks of a module."""


class BurstError(Exception):
    """Its time is up."""


def _break_off(number: int, frame: object) -> None:
    raise BurstError


def is_burst(work: Callable[[], object], *, cpu_s: float) -> bool:
    """Whether it uses up its processor time, and so was broken off. What stays in C code cannot be."""
    signal.signal(signal.SIGVTALRM, _break_off)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        work()
    except BurstError:
        return True
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return False


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))


def outcome_of(module: str) -> dict[str, Any]:
    """What a module prints last, as JSON, run in a process of its own."""
    command = [sys.executable, "-m", module]
    run = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_bounded)
    assert run.returncode == 0, f"broken off in what was last: {run.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found
