"""What the figures were measured on, and how busy it was."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

BUSY_LOAD_PER_CORE = 0.5


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine. `load` is the average of the last minute before anything was started."""

    measured_at: datetime
    cores: int
    cpu: str
    memory_bytes: int
    system: str
    python: str
    airflow: str
    load: float

    @property
    def is_busy(self) -> bool:
        """Whether others were at work, so that the figures are worse than they would be."""
        return self.load > BUSY_LOAD_PER_CORE * self.cores

    def lines(self) -> list[str]:
        """For people."""
        at = self.measured_at.strftime("%Y-%m-%d %H:%M UTC")
        return [
            f"{at} · {self.cores} cores, {self.cpu} · {self.memory_bytes / 2**30:.1f} GiB · {self.system}",
            f"Python {self.python} · Airflow {self.airflow} · load {self.load:.2f} before the start",
        ]

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return asdict(self) | {"measured_at": self.measured_at.isoformat(), "busy": self.is_busy}


def this_machine() -> Machine:
    """The machine we are on, now."""
    return Machine(
        measured_at=datetime.now(UTC),
        cores=os.cpu_count() or 1,
        cpu=_cpu(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        airflow=version("apache-airflow-core"),
        load=os.getloadavg()[0],
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
