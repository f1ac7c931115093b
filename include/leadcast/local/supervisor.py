"""The supervisor (package `supervisor`): what it keeps running, its configuration, and how we talk to it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPException
from pathlib import Path
from typing import Any

from leadcast.client.errors import StackError
from leadcast.local import postgres
from leadcast.local.environment import MARK
from leadcast.local.home import Home
from leadcast.local.ports import Ports

_START_TIMEOUT_S = 180


class Program(StrEnum):
    """What the stack consists of, in the order of starting."""

    POSTGRES = "postgres"
    SANDBOX = "sandbox"
    API_SERVER = "api-server"
    SCHEDULER = "scheduler"
    DAG_PROCESSOR = "dag-processor"
    TRIGGERER = "triggerer"

    @property
    def health_name(self) -> str:
        """What Airflow's health calls it; empty for those it does not watch."""
        if self is Program.POSTGRES:
            return "metadatabase"
        return "" if self in (Program.SANDBOX, Program.API_SERVER) else self.replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class ProgramState:
    """What the supervisor says of one program. `state` is its word: RUNNING, STARTING, BACKOFF, FATAL, …"""

    program: Program
    state: str
    pid: int
    description: str

    @property
    def is_up(self) -> bool:
        """Whether its process lives."""
        return self.state in ("STARTING", "RUNNING")


def commands(home: Home, ports: Ports) -> dict[Program, list[str]]:
    """The command line of every program."""
    python = [sys.executable, "-m"]
    # Without its log server, which listens on all addresses: the api-server reads the same files itself.
    no_log_server = "--skip-serve-logs"
    return {
        Program.POSTGRES: postgres.command(home, ports),
        Program.SANDBOX: [
            *(*python, "leadcast", "sandbox", "--host=127.0.0.1", f"--base-port={ports.sandbox.control}"),
            f"--token-file={home.sandbox_token_file}",
        ],
        Program.API_SERVER: [*python, "airflow", "api-server", "--host=127.0.0.1", f"--port={ports.api}"],
        Program.SCHEDULER: [*python, "airflow", "scheduler", no_log_server],
        Program.DAG_PROCESSOR: [*python, "airflow", "dag-processor"],
        Program.TRIGGERER: [*python, "airflow", "triggerer", no_log_server],
    }


def log_file(home: Home, program: Program) -> Path:
    """The log of one program."""
    return home.logs / f"{program}.log"


def render(home: Home, command_lines: Mapping[Program, Sequence[str]]) -> str:
    """The configuration file. It holds no secret: those are in the environment that the supervisor passes on."""
    sections: list[tuple[str, dict[str, object]]] = [
        ("unix_http_server", {"file": home.supervisor_socket, "chmod": "0600"}),
        ("rpcinterface:supervisor", {"supervisor.rpcinterface_factory": _RPC_FACTORY}),
        (
            "supervisord",
            {
                "logfile": home.logs / "supervisord.log",
                "logfile_maxbytes": "5MB",
                "logfile_backups": "2",
                "pidfile": home.run / "supervisord.pid",
                "childlogdir": home.logs,
                "directory": home.work,
                "nodaemon": "true",
                "umask": "077",
                # Said plainly, or it warns on every start by root.
                **({"user": "root"} if os.getuid() == 0 else {}),
            },
        ),
        *((f"program:{program}", _program(home, program, words)) for program, words in command_lines.items()),
    ]
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={str(value).replace('%', '%%')}\n" for key, value in options.items())
        for name, options in sections
    )


_RPC_FACTORY = "supervisor.rpcinterface:make_main_rpcinterface"


def _program(home: Home, program: Program, words: Sequence[str]) -> dict[str, object]:
    return {
        "command": shlex.join(words),
        "directory": home.work,
        # We start them ourselves, in order.
        "autostart": "false",
        "autorestart": "true",
        "startsecs": "5",
        # With the growing pause between them, about three minutes of trying.
        "startretries": "20",
        # PostgreSQL: fast shutdown. Waiting for clients is SIGTERM's.
        "stopsignal": "INT" if program is Program.POSTGRES else "TERM",
        "stopwaitsecs": "15",
        "stopasgroup": "true" if program is not Program.POSTGRES else "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": log_file(home, program),
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": "3",
    }


class Supervisor:
    """The supervisor of one home, started or not."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def launch(self, *, ports: Ports, environment: Mapping[str, str]) -> None:
        """Starts the supervisor, none of its programs yet.

        Raises:
            StackError: it did not come up.
        """
        from leadcast.local.home import write_private

        home = self._home
        write_private(home.supervisor_conf, render(home, commands(home, ports)))
        home.supervisor_socket.unlink(missing_ok=True)
        errors = home.logs / "supervisord.out"
        with errors.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(home.supervisor_conf)],
                env={**environment, MARK: str(home.root)},
                cwd=home.work,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.is_reachable():
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError("The supervisor did not start.", log=errors)
            time.sleep(0.05)

    def is_reachable(self) -> bool:
        """Whether it lives and answers."""
        try:
            return bool(self._call("getState")["statecode"] == 1)
        except StackError:
            return False

    def start(self, *programs: Program) -> None:
        """Starts programs without waiting for them."""
        for program in programs:
            self._call("startProcess", str(program), False)

    def stop(self, *programs: Program) -> None:
        """Asks programs to end, without waiting for it. Those that are not running are left out."""
        up = {state.program for state in self.states() if state.state != "STOPPED"}
        for program in programs:
            if program in up:
                try:
                    self._call("stopProcess", str(program), False)
                except xmlrpc.client.Fault:
                    continue  # ended in between

    def shutdown(self) -> None:
        """Asks the supervisor itself to end."""
        self._call("shutdown")

    def states(self) -> list[ProgramState]:
        """Every program with its state.

        Raises:
            StackError: the supervisor does not answer.
        """
        return [
            ProgramState(
                program=Program(info["name"]), state=info["statename"], pid=info["pid"], description=info["description"]
            )
            for info in sorted(self._call("getAllProcessInfo"), key=lambda info: list(Program).index(info["name"]))
        ]

    def state(self, program: Program) -> ProgramState:
        """One program's state."""
        return next(state for state in self.states() if state.program is program)

    def _call(self, method: str, *arguments: object) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._home.supervisor_socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            try:
                return getattr(server.supervisor, method)(*arguments)
            except (OSError, HTTPException, xmlrpc.client.ProtocolError) as error:
                raise StackError(f"The supervisor of {self._home.root} does not answer.") from error
