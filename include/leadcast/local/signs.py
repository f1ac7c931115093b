"""What shows that a program is at work, on a machine of any speed: its processes, their processor time, its log."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What is seen of a program. What differs from before is progress.

    cpu_s: seconds of processor time, of its processes and of those of theirs that have ended, in tenths.
    """

    pids: frozenset[int] = frozenset()
    cpu_s: float = 0.0
    log_bytes: int = 0

    def __str__(self) -> str:
        if not self.pids:
            return "it has no process"
        return f"it has used {self.cpu_s:.0f} s of processor time"


def look(pids: Iterable[int], *, log: Path) -> Signs:
    """What is seen of the processes with these ids and all below them, and of their log."""
    family: dict[int, float] = {}
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            for member in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    times = member.cpu_times()
                    family[member.pid] = sum(times[:4])
    with suppress(OSError):
        return Signs(pids=frozenset(family), cpu_s=round(sum(family.values()), 1), log_bytes=log.stat().st_size)
    return Signs(pids=frozenset(family), cpu_s=round(sum(family.values()), 1))
