"""The stack that is staged on: `leadcast up` with a home and ports of its own, and the kill points in its processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from chaos.faults import Armoury
from chaos.world import World, free_ports, world
from leadcast.client.api import Api, ApiError
from leadcast.client.errors import StackError
from leadcast.local import processes, stack
from leadcast.local.environment import stack_environment
from leadcast.local.home import Home, find_project
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from leadcast.local.progress import Progress
from leadcast.local.supervisor import Program, Supervisor

FIRST_PORT = 21_000
BACK_TIMEOUT_S = 400.0
_OUTSIDE = ("AIRFLOW_CONN_", "AIRFLOW__LEADCAST__AMOCRM_BASE_URL", "AIRFLOW__LEADCAST__BITRIX24_BASE_URL")
_ALSO_OUTSIDE = ("AIRFLOW__LEADCAST__TELEGRAM_BASE_URL",)
_HOOKS = '''"""Hooks that leave a line for each call."""

def _note(moment, batch):
    with open({path!r}, "a") as file:
        file.write(f"{{moment}} {{batch.id}}\\n")

def then(batch):
    _note("then", batch)

def catch(batch, reason):
    _note("catch", batch)

def finally_(batch):
    _note("finally", batch)
'''


@dataclass(kw_only=True)
class Stage:
    """A running stack with what is needed to torment and to question it."""

    home: Home
    ports: Ports
    inherited: Mapping[str, str]
    armoury: Armoury
    world: World
    store: Engine
    supervisor: Supervisor

    def api(self, user: str = "admin") -> Api:
        """Airflow's API and ours. Raises StackError while it is away."""
        return stack.log_in(self.home, user=user)

    def rows(self, statement: str, **parameters: Any) -> list[Any]:
        """Reads the store. It may just be dead, so it is asked for a while."""
        until = time.monotonic() + BACK_TIMEOUT_S
        while True:
            try:
                with self.store.begin() as connection:
                    result = connection.execute(text(statement), parameters)
                    return list(result) if result.returns_rows else []
            except (OperationalError, InterfaceError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def pid(self, program: Program) -> int:
        """The program's process; 0 while it has none."""
        try:
            return self.supervisor.state(program).pid
        except StackError:
            return 0

    def kill(self, program: Program, *, with_children: bool = False, how: signal.Signals = signal.SIGKILL) -> None:
        """Kills a program, at once and without a word to the supervisor, which starts it again."""
        pid = self.pid(program)
        with suppress(psutil.NoSuchProcess):
            main = psutil.Process(pid) if pid else None
            family = [main, *main.children(recursive=True)] if main and with_children else [main]
            for process in family:
                if process is not None:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(how)

    def kill_all(self) -> None:
        """Every process of the stack dies, its supervisor first; the world outside lives on."""
        supervisor_pid = _pid_in(self.home.run / "supervisord.pid")
        victims = processes.of_stack(self.home)
        for process in sorted(victims, key=lambda item: item.pid != supervisor_pid):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(victims, timeout=10)

    def up(self) -> None:
        """`leadcast up`, as a person does it after a crash."""
        done = subprocess.run(
            [sys.executable, "-m", "leadcast", "up"],
            cwd=self.home.project,
            env={**os.environ, **self.inherited},
            capture_output=True,
            text=True,
            timeout=3 * BACK_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise StackError(f"`leadcast up` failed after a crash: {done.stdout[-600:]} {done.stderr[-600:]}")

    def await_back(self, *, since: float) -> None:
        """Waits until every part of Airflow has given a sign of life after `since`, and the doors answer."""
        until = time.monotonic() + BACK_TIMEOUT_S
        while time.monotonic() < until:
            if self._is_back(since):
                return
            time.sleep(0.5)
        raise StackError(f"The stack is not back after {BACK_TIMEOUT_S:.0f} s.", mend="Look into its logs.")

    def _is_back(self, since: float) -> bool:
        try:
            api = self.api()
            api.call("GET", "/api/integrations/batches?limit=1", timeout_s=5)
        except (ApiError, StackError):
            return False
        health = api.health()
        watched = [health.get(program.health_name) for program in Program if program.health_name]
        return all(part is not None and part.is_healthy for part in watched) and all(
            part.beat_at is None or part.beat_at.timestamp() >= since for part in watched if part is not None
        )


def _pid_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def root() -> Path:
    """Where the stack of a chaos run lives: LEADCAST_HOME, else .leadcast-chaos in the project."""
    return Path(
        os.environ.get("LEADCAST_HOME") or find_project(Path.cwd(), environ=os.environ) / ".leadcast-chaos"
    ).resolve()


@contextmanager
def stage(console: Console, *, keep: bool, more: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Starts the stack and the world outside it, freshly made; ends both, whatever happens.

    Args:
        keep: leave them running, for looking.
        more: further variables of the stack's environment.
    """
    project = find_project(Path.cwd(), environ=os.environ)
    home, progress = Home(root=root(), project=project), Progress(console)
    stack.down(home, progress=progress)
    shutil.rmtree(home.root, ignore_errors=True)
    home.prepare()
    ports = free_ports(beside=int(os.environ.get("LEADCAST_PORT") or FIRST_PORT))
    outside = free_ports(beside=ports.api + 100)
    armoury = Armoury(home.root / "faults")
    hooks = home.root / "hooks.py"
    hooks.write_text(_HOOKS.format(path=str(home.root / "hooks.log")))
    clean = _clean_environment()
    inherited = clean | _told(home, ports, outside, armoury=armoury, hooks=hooks) | dict(more or {})
    with world(outside, project=project, log=home.logs / "outside.log", environment=clean) as made:
        try:
            stack.up(home, progress=progress, inherited=inherited)
            yield Stage(
                home=home,
                ports=ports,
                inherited=inherited,
                armoury=armoury,
                world=made,
                store=create_engine(
                    stack.environment(home, inherited=inherited)["AIRFLOW__LEADCAST__STORE_URL"], pool_pre_ping=True
                ),
                supervisor=Supervisor(home),
            )
            if keep:
                page = f"{made.control.url}/#token={made.control.token}"
                console.print(f"It runs on: {ports.api_url} (admin), sandbox {page} Enter ends it.")
                input()
        finally:
            stack.down(home, progress=progress)


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LEADCAST", "CHAOS"))}


def _told(home: Home, ports: Ports, outside: Ports, *, armoury: Armoury, hooks: Path) -> dict[str, str]:
    """What the stack is told besides what `make up` tells it: where the world is, and where its faults lie."""
    there = stack_environment({}, home=home, ports=outside, keys=Keys.ensure(home))
    return {name: value for name, value in there.items() if name.startswith((*_OUTSIDE, *_ALSO_OUTSIDE))} | {
        "LEADCAST_HOME": str(home.root),
        "LEADCAST_PORT": str(ports.api),
        "LEADCAST_TIMEOUT_S": os.environ.get("LEADCAST_TIMEOUT_S", f"{BACK_TIMEOUT_S:.0f}"),
        "PYTHONPATH": str(home.project / "chaos" / "inside"),
        "CHAOS_FAULTS": str(armoury.root),
        "AIRFLOW__LEADCAST__RETRY_DELAY_S": "2",
        "AIRFLOW__LEADCAST__WORKER_LEASE_S": "9",
        "AIRFLOW__LEADCAST__HOOKS_FILE": str(hooks),
    }
