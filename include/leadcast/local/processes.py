"""Finding and ending the processes of one stack, whatever has become of its supervisor.

They are known by a variable in their environment, or by their working folder where they have overwritten that
(setproctitle does). Both name the home, so another stack's processes are never taken for ours.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from leadcast.local.environment import MARK
from leadcast.local.home import Home

_TERM_TIMEOUT_S = 5
_KILL_TIMEOUT_S = 5


def of_stack(home: Home) -> list[psutil.Process]:
    """Every living process of the stack in this home, ourselves and those above us left out."""
    me = psutil.Process()
    ours = {me.pid, *(parent.pid for parent in me.parents())}
    return [process for process in psutil.process_iter() if process.pid not in ours and _belongs(process, home)]


def end(processes: Iterable[psutil.Process]) -> None:
    """Ends processes: asks, waits, then kills. PostgreSQL comes last, for the others would wait for it."""
    all_processes = list(processes)
    servers = [process for process in all_processes if _is_postgres(process)]
    _end([process for process in all_processes if process not in servers], ask=signal.SIGTERM)
    # The fast shutdown; SIGTERM would wait for clients.
    _end(servers, ask=signal.SIGINT)


def _end(processes: list[psutil.Process], *, ask: signal.Signals) -> None:
    for process in processes:
        _send(process, ask)
    _, alive = psutil.wait_procs(processes, timeout=_TERM_TIMEOUT_S)
    for process in alive:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=_KILL_TIMEOUT_S)


def listens(pid: int, *, port: int) -> bool:
    """Whether the process, or one below it, listens on this port: somebody else may be answering there."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return any(_has_listener(member, port) for member in family)
    except psutil.AccessDenied:
        return True  # the system does not let us look (macOS); the health check decides
    except psutil.NoSuchProcess:
        return False


def who_listens(port: int) -> str:
    """Who has a port, as far as the system tells us: `nginx (pid 812)`, or nothing."""
    try:
        for connection in psutil.net_connections("tcp"):
            if _listens(connection, port) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""


def _belongs(process: psutil.Process, home: Home) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(MARK) == str(home.root):
            return True
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        pass  # another user's, or it has overwritten its environment: the folder decides
    try:
        folder = Path(process.cwd())
    except (psutil.Error, OSError):
        return False
    return folder == home.work or folder == home.postgres or home.postgres in folder.parents


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("postgres")
    except psutil.Error:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)


def _has_listener(process: psutil.Process, port: int) -> bool:
    return any(_listens(connection, port) for connection in process.net_connections("tcp"))


def _listens(connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr.port == port)
