"""What importing the DAG file and the plugin costs: every task process does both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.leads import BenchError
from bench.stack import Place, clean_environment
from leadcast.local import stack

DAG_FILE = Path("dags") / "send_lead.py"
PLUGIN_FILE = Path("plugins") / "leadcast_plugin.py"
_TIMEOUT_S = 120


@dataclass(frozen=True, kw_only=True)
class Import:
    """One file imported in fresh interpreters.

    heavy: heavy packages that came with it and that Airflow had not loaded.
    """

    times_s: tuple[float, ...]
    modules: int
    heavy: tuple[str, ...]


def measure(file: Path, *, place: Place, repeats: int) -> Import:
    """Imports one file of the project on top of what Airflow has loaded, with the settings of our stack.

    Raises:
        BenchError: it cannot be imported.
    """
    # the first one may compile
    answers = [_probe(file, place) for _ in range(1 + repeats)][1:]
    return Import(
        times_s=tuple(answer["took_s"] for answer in answers),
        modules=answers[-1]["modules"],
        heavy=tuple(answers[-1]["heavy"]),
    )


def _probe(file: Path, place: Place) -> dict[str, Any]:
    inherited = clean_environment() | {"LEADCAST_PORT": str(place.ports.api)}
    environment = stack.environment(place.home("ours"), inherited=inherited)
    environment["PYTHONPATH"] += os.pathsep + str(place.project)
    done = subprocess.run(
        [sys.executable, "-m", "bench.import_probe", str(place.project / file)],
        env=environment,
        cwd=place.root,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"{file} cannot be imported: {done.stderr.strip().splitlines()[-1:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
