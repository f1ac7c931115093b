"""The world outside: a sandbox of its own, which no death of the stack touches, and what it has of each delivery."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadcast.client.api import Api, ApiError
from leadcast.client.errors import StackError
from leadcast.client.loopback import loopback_url
from leadcast.local.ports import Ports, is_free
from leadcast.sandbox import control_token

START_TIMEOUT_S = 60.0
CHAT_PREFIX = 7_000_000
_OFFSET = 10  # of a sandbox's ports from its stack's


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the services hold, counted by delivery key, message id or webhook id.

    leads: amoCRM and Bitrix24, and chats of Telegram, by (type, key). letters: by Message-ID, how often each came.
    events: by webhook-id, how often each came.
    """

    leads: Counter[tuple[str, str]]
    letters: Counter[str]
    events: Counter[str]

    def count(self, kind: str, key: str, *, chat: str = "") -> int:
        """How often a delivery has had its effect."""
        if kind == "email":
            return sum(1 for letter in self.letters if letter.startswith(f"<{key}@"))
        if kind == "webhook":
            return int(key in self.events)
        return self.leads[kind, chat if kind == "telegram" else key]

    def repeats(self) -> int:
        """Letters and events that came again under the same id, which their receivers recognise."""
        return sum(count - 1 for counts in (self.letters, self.events) for count in counts.values())


class World:
    """The sandbox of a chaos run. token: of its control service."""

    def __init__(self, ports: Ports, *, token: str) -> None:
        self.ports = ports
        self.control = Api(loopback_url(ports.sandbox.control), token)

    def fault(self, **fault: Any) -> int:
        """Makes a service fail; returns the fault's id."""
        return int(self.control.call("POST", "/faults", json=fault)["id"])

    def clear_faults(self) -> None:
        """All services are well again."""
        self._call("DELETE", "/faults")

    def _call(self, method: str, path: str) -> Any:
        try:
            return self.control.call(method, path)
        except ApiError as error:
            if error.status != 204:  # no content is a success that the client takes for none
                raise
            return None

    def seen(self) -> Seen:
        """What has arrived so far."""
        leads: Counter[tuple[str, str]] = Counter()
        for lead in self._stored("amocrm", "leads"):
            tags = [tag["name"] for tag in lead["tags"]]
            leads.update(("amocrm", tag.removeprefix("ext:")) for tag in tags if tag.startswith("ext:"))
        leads.update(("bitrix24", str(lead["originId"])) for lead in self._stored("bitrix24", "leads"))
        leads.update(("telegram", str(message["chat"]["id"])) for message in self._stored("telegram", "messages"))
        letters = Counter(str(letter["message_id"]) for letter in self._stored("smtp", "letters"))
        events = Counter({item["webhook_id"]: item["times"] for item in self._stored("webhook", "events")})
        return Seen(leads=leads, letters=letters, events=events)

    def _stored(self, service: str, what: str) -> list[dict[str, Any]]:
        found: Mapping[str, list[dict[str, Any]]] = self.control.call("GET", f"/stored/{service}", timeout_s=60)
        return list(found[what])


@contextmanager
def world(ports: Ports, *, project: Path, log: Path, environment: Mapping[str, str]) -> Iterator[World]:
    """Starts it, and ends it in the end.

    Args:
        ports: as a stack's; only those of its sandbox are used.

    Raises:
        StackError: it does not answer.
    """
    token = control_token.new_token()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "leadcast", "sandbox", "--host=127.0.0.1"),
                f"--base-port={ports.sandbox.control}",
            ],
            env={**environment, "PYTHONPATH": str(project / "include"), control_token.VARIABLE: token},
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        made = World(ports, token=token)
        _await(made, process, log)
        yield made
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await(made: World, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            made.control.call("GET", "/health", timeout_s=2)
        except ApiError:
            time.sleep(0.1)
        else:
            return
    raise StackError("The sandbox outside the stack does not answer.", log=log)


def free_ports(*, beside: int) -> Ports:
    """Ports for a sandbox that no stack has, from there on."""
    for api in range(beside, beside + 2000, 100):
        ports = Ports(api=api)
        if all(is_free(port) for port in ports.all):
            return ports
    raise StackError(f"No free ports from {beside} on.", mend="Set LEADCAST_PORT to another number.")
