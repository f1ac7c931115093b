"""The services of docker-compose.yaml as processes of this machine, where there is no Docker engine.

Each runs its own command with its own environment, started in the order that the file asks for, under a host name of
its own, and is stopped by the signal that `docker stop` sends. What stands for the containers' network and file system
is listed in `tests/support/place.py`; nothing else is changed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

from tests.support.compose import Service
from tests.support.place import Place

T = TypeVar("T")

MACHINE = ("postgres", "redis", "rabbitmq")
"""Services that the machine itself runs."""
# Long: with other work on two cores, seven workers that start at once and their first task took 160 s.
_LONGEST_WAIT_S, _CHECK_S, _LONGEST_GRACE_S = 240, 60, 60
_LOG_LINES = 25
# As Docker does; a name needs either root or a user namespace.
_OWN_HOST_NAME = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), "--uts"]
_SET_HOST_NAME = ["sh", "-c", 'hostname "$0" && exec "$@"']


def has_own_host_names() -> bool:
    """Whether this machine lets us give a process a host name of its own."""
    with suppress(OSError):
        return subprocess.run([*_OWN_HOST_NAME, *_SET_HOST_NAME, "a-name", "true"], check=False).returncode == 0
    return False


def _processes_of(sessions: set[int]) -> list[psutil.Process]:
    """What lives in these sessions; each container is one."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Containers:
    """Starts, checks and stops services. A context manager that ends every process, whatever happens.

    services: by name; may be exchanged, as when .env is changed, and counts for what is started after that.
    """

    def __init__(self, services: Mapping[str, Service], place: Place) -> None:
        self.services = services
        self.place = place
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._done: set[str] = set()
        self._sessions: set[int] = set()

    def __enter__(self) -> Containers:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop(*self.running)
        finally:
            left = _processes_of(self._sessions)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        assert not left, f"these were left behind: {left}"

    def up(self, *names: str) -> None:
        """Starts these, each after what it depends on, as Compose does."""
        for name in names:
            service = self.services[name]
            for other, condition in service.depends_on.items():
                self._await(other, condition)
            if name not in self.running:
                self.running[name] = self._start(service)

    def stop(self, *names: str) -> dict[str, int]:
        """`docker stop` for several at once: SIGTERM, and after the time of grace SIGKILL. Exit code by name."""
        stopped = {name: self.running.pop(name) for name in names}
        for name, process in stopped.items():
            # dumb-init passes the signal on to the whole group, or to its child only
            only_one = self.services[name].environment.get("DUMB_INIT_SETSID") == "0"
            with suppress(ProcessLookupError):
                (os.kill if only_one else os.killpg)(process.pid, signal.SIGTERM)
        return {name: self._wait(name, process) for name, process in stopped.items()}

    def kill(self, name: str) -> None:
        """`docker kill`: every process of it gets SIGKILL. It may be started again by `up`."""
        process = self.running.pop(name)
        while alive := _processes_of({process.pid}):
            for one in alive:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        process.wait()

    def health(self, *names: str) -> dict[str, bool]:
        """Runs the health checks of these, two at a time as there are cores; whether each passes."""
        results: dict[str, bool] = {}
        for at in range(0, len(names), 2):
            two = {name: self._popen(name, self.services[name].health_check, "health") for name in names[at : at + 2]}
            results |= {name: check.wait(_CHECK_S) == 0 for name, check in two.items()}
        return results

    def until(self, probe: Callable[[], T | None]) -> T:
        """Asks again until there is an answer, as long as all that was started lives."""
        deadline = time.monotonic() + _LONGEST_WAIT_S
        while not (found := probe()):
            dead = [name for name, process in self.running.items() if process.poll() is not None]
            assert not dead, f"ended by themselves: {dead}\n{self._logs(dead)}"
            assert time.monotonic() < deadline, f"nothing after {_LONGEST_WAIT_S} s\n{self._logs(self.running)}"
            time.sleep(0.3)
        return found

    def _await(self, name: str, condition: str) -> None:
        if name in MACHINE:
            return
        if condition == "service_completed_successfully":
            self._complete(name)
        else:
            self.up(name)
            self.until(lambda: self.health(name)[name])

    def _complete(self, name: str) -> None:
        if name in self._done:
            return
        self.up(name)
        code = self.running.pop(name).wait(_LONGEST_WAIT_S)
        assert code == 0, f"{name} ended with {code}\n{self._logs([name])}"
        self._done.add(name)

    def _start(self, service: Service) -> subprocess.Popen[bytes]:
        self.place.make_home(service.name)
        command = [*service.command, *self.place.arguments(service.name)]
        return self._popen(service.name, command, "service")

    def _popen(self, name: str, command: list[str], log: str) -> subprocess.Popen[bytes]:
        service = self.services[name]
        workers = [other.name for other in self.services.values() if other.queues]
        environment = {key: self._here(name, value) for key, value in service.environment.items()}
        with self._log(name, log).open("ab") as output:
            process = subprocess.Popen(
                [*_OWN_HOST_NAME, *_SET_HOST_NAME, name, *(self._here(name, word) for word in command)],
                env=environment | self.place.environment(name, workers=workers),
                cwd=self.place.home(name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.add(process.pid)
        return process

    def _here(self, name: str, text: str) -> str:
        password = self.services["redis"].environment["REDISCLI_AUTH"]
        for written, here in self.place.stands_for(name, broker_password=password).items():
            text = text.replace(written, here)
        return text

    def _wait(self, name: str, process: subprocess.Popen[bytes]) -> int:
        grace_s = min(self.services[name].stop_grace_s, _LONGEST_GRACE_S)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        # what the container's end would end, too
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait(grace_s)

    def _log(self, name: str, kind: str) -> Path:
        return self.place.folder / f"{name}.{kind}.log"

    def _logs(self, names: Mapping[str, object] | list[str]) -> str:
        tails = []
        for name in names:
            for kind in ("service", "health"):
                if (log := self._log(name, kind)).exists():
                    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
                    tails.append("\n".join([f"--- {log.name}", *lines]))
        return "\n".join(tails)
