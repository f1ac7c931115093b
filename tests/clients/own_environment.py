"""A virtual environment of its own for a client whose requirements do not fit beside Airflow's.

It is made once and lies beside the packages it does not fit to, so that `make clean` takes it away with them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

INSTALL_TIMEOUT_S = 300


def python_with(requirements: Path) -> Path:
    """The Python of an environment in which exactly the pinned packages of that file are."""
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = Path(sys.prefix) / "clients" / f"{requirements.stem}-{digest}"
    python, is_made = folder / "bin" / "python", folder / ".made"
    if not is_made.exists():
        uv = Path(sys.prefix) / "bin" / "uv"
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder)
        _run(uv, "pip", "install", "--quiet", "--python", python, "--requirements", requirements)
        is_made.touch()
    return python


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"
