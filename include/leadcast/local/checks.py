"""What must hold before a stack is started, each with a plain line and the mend."""

from __future__ import annotations

import shutil
import sys

from leadcast.client.errors import StackError
from leadcast.local import processes
from leadcast.local.home import Home
from leadcast.local.ports import Ports, is_free

_NEEDED_DISK_BYTES = 1 << 30
_MIN_PYTHON = (3, 11)


def check(home: Home, ports: Ports) -> None:
    """Checks Python, the disk and the ports.

    Raises:
        StackError: the first thing that is in the way.
    """
    check_python(sys.version_info[:2])
    check_disk(home, free_bytes=shutil.disk_usage(home.root).free)
    check_ports(ports)


def check_python(version: tuple[int, int]) -> None:
    """Airflow 3.3 and our own code need this Python."""
    if version < _MIN_PYTHON:
        raise StackError(
            f"This is Python {version[0]}.{version[1]}; Leadcast needs 3.11 or newer.",
            mend="Remove .venv, then: make up PYTHON=/path/to/python3.11",
        )


def check_disk(home: Home, *, free_bytes: int) -> None:
    """Room for the databases and the logs."""
    if free_bytes < _NEEDED_DISK_BYTES:
        raise StackError(
            f"{free_bytes / 2**20:.0f} MiB are free at {home.root}; the stack needs {_NEEDED_DISK_BYTES >> 20} MiB.",
            mend="Free some, or set LEADCAST_HOME to a folder on another disk.",
        )


def check_ports(ports: Ports) -> None:
    """All our ports are free. All that are not are named at once."""
    taken = [(port, what) for port, what in ports.all.items() if not is_free(port)]
    if not taken:
        return
    owners = {port: processes.who_listens(port) for port, _ in taken}
    lines = [f"{port} (for {what})" + (f" by {owners[port]}" if owners[port] else "") for port, what in taken]
    raise StackError(
        f"Taken on 127.0.0.1: port {', '.join(lines)}.",
        mend=f"Set LEADCAST_PORT to another number (now {ports.api}), or end what listens there.",
    )
