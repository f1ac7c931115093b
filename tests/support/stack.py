"""The whole stack, started once by the command that people use, in a home and on ports of its own.

A pytest plugin (tests/conftest.py names it), so that all tests which need the stack share one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from sqlalchemy import Connection, create_engine, text

from leadcast.client.api import Api
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports, is_free
from leadcast.local.stack import environment
from tests.support.lanes import lane_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FINAL = {"completed", "partial", "failed", "cancelled"}
LONGEST_WAIT_S = 150
LONGEST_UP_S = 1500
"""More than `leadcast up` waits itself."""
T = TypeVar("T")
_LANES, _PORTS_OF_LANE = 5, 4_000

SECRETS: dict[str, dict[str, Any]] = {
    "amocrm": {
        "subdomain": "example",
        "client_id": "client-id-of-the-tests",
        "client_secret": "S3CRET-amocrm-client",
        "access_token": "S3CRET-amocrm-access",
        "refresh_token": "S3CRET-amocrm-refresh",
    },
    "telegram": {"bot_token": "700:S3CRET-telegram-token-of-the-tests", "chat_id": "@sales"},
    "bitrix24": {"webhook_url": "https://example.bitrix24.ru/rest/1/S3CRETbitrixcode/"},
    "email": {"emails": ["admin@example.com"], "subject": "New Lead: {lead_name}"},
    "webhook": {"secret": "whsec_UzNDUkVULXdlYmhvb2sta2V5LW9mLXRoZS10ZXN0cw==", "headers": {"X-Key": "S3CRET-header"}},
}
"""Inline credentials for all five; every secret among them holds one of `NEEDLES`."""
NEEDLES = ("S3CRET", "UzNDUkVU")


def free_port() -> int:
    """A port with room for the stack's others above it.

    Below those that the system gives to outgoing connections: any of these may take one between looking and listening.
    Each lane looks among its own, since those of another are taken a while after they were found free.
    """
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _LANES
    first, width = 12_000 + lane * _PORTS_OF_LANE, _PORTS_OF_LANE - 200
    for _ in range(100):
        port = first + random.SystemRandom().randrange(width)
        if all(is_free(port + offset) for offset in range(21)):
            return port
    raise AssertionError("no 21 ports in a row are free")


def leadcast(env: dict[str, str], *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a person would."""
    done = subprocess.run(
        [sys.executable, "-m", "leadcast", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=LONGEST_UP_S,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"leadcast {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@dataclass
class Stack:
    """A running stack, as a test uses it."""

    home: Home
    ports: Ports
    env: dict[str, str] = field(repr=False)

    def api(self, user: str = "user") -> Api:
        """Airflow's API and ours, as this user."""
        passwords = json.loads(self.home.passwords_file.read_text())
        return Api.log_in(self.ports.api_url, user=user, password=passwords[user])

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The command line against this stack."""
        return leadcast(self.env, *arguments, check=check)

    def sandbox(self, method: str, path: str, **kwargs: Any) -> Any:
        """The sandbox's control service."""
        url = f"http://127.0.0.1:{self.ports.sandbox.control}{path}"
        shown = {"Authorization": f"Bearer {self.keys().sandbox.get_secret_value()}"}
        answer = requests.request(method, url, timeout=10, headers=shown, **kwargs)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def received(self, service: str) -> list[dict[str, Any]]:
        """What a service has received and executed."""
        return [item for item in self.sandbox("GET", f"/received/{service}") if item["executed"]]

    def fault(self, **fault: Any) -> None:
        """Makes a service fail."""
        self.sandbox("POST", "/faults", json=fault)

    def settled(self, batch_id: str) -> dict[str, Any]:
        """The batch, once it has a final status and its run is over."""
        api = self.api()
        batch = until(lambda: final(api.call("GET", f"/api/integrations/batches/{batch_id}")))
        until(lambda: self.run_state(batch["run_id"]) in ("success", "failed"))
        return batch

    def run_state(self, run_id: str) -> str:
        """How a run of send_lead stands."""
        return str(self.api().call("GET", f"/api/v2/dags/send_lead/dagRuns/{run_id}")["state"])

    def task_instances(self, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        path = f"/api/v2/dags/send_lead/dagRuns/{run_id}/taskInstances?limit=100"
        found: list[dict[str, Any]] = self.api().call("GET", path)["task_instances"]
        return found

    def clear(self, run_id: str, *task_ids: str) -> None:
        """Clears tasks of a run with what comes after them, as a person does in Airflow's UI."""
        self.api("admin").call(
            "POST",
            "/api/v2/dags/send_lead/clearTaskInstances",
            json={
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": list(task_ids),
                "include_downstream": True,
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )

    def sql(self, database: str, statement: str) -> list[Any]:
        """Reads one of the stack's databases, `airflow` or `leadcast`."""
        with self._connection(database) as connection:
            return list(connection.execute(text(statement)))

    def leave_alone(self) -> None:
        """Keeps the schedule, which comes at every full hour, from sending again what earlier tests have left."""
        with self._connection("leadcast") as connection:
            connection.execute(text("UPDATE batches SET rounds = 1000 WHERE finished_at IS NOT NULL"))

    def forget_batches(self) -> None:
        """Empties the store, as on the first day. Only when nothing is on its way."""
        with self._connection("leadcast") as connection:
            connection.execute(text("TRUNCATE leads, batches, deliveries, attempts, events, notifications"))

    @contextmanager
    def _connection(self, database: str) -> Iterator[Connection]:
        url = environment(self.home, inherited=self.env)["AIRFLOW__LEADCAST__STORE_URL"]
        engine = create_engine(url.rsplit("/", 1)[0] + f"/{database}")
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def mails(self, subject: str) -> list[dict[str, Any]]:
        """Letters whose subject holds this."""
        return [letter for letter in self.received("smtp") if subject in letter["subject"]]

    def keys(self) -> Keys:
        """The stack's generated secrets."""
        return Keys.model_validate_json(self.home.keys_file.read_text())


def final(batch: dict[str, Any]) -> dict[str, Any] | None:
    """The batch if it has ended."""
    return batch if batch["status"] in FINAL else None


def until(probe: Callable[[], T | None]) -> T:
    """Asks again until there is an answer; a test that waits longer than any wave takes has failed."""
    deadline = time.monotonic() + LONGEST_WAIT_S
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"nothing after {LONGEST_WAIT_S} s"
        time.sleep(0.1)


def stack_env(home: Path, port: int, **more: str) -> dict[str, str]:
    """The environment of a person who starts a stack of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LEADCAST"))}
    return kept | {"LEADCAST_HOME": str(home), "LEADCAST_PORT": str(port)} | more


@pytest.fixture(scope="session")
def running() -> Iterator[Stack]:
    """The stack, started once; ended whatever happened, and checked to have left nothing."""
    folder = Path(tempfile.mkdtemp(prefix="leadcast-system-"))
    env = stack_env(folder, free_port(), AIRFLOW__LEADCAST__RETRY_DELAY_S="0.4")
    leadcast(env, "up")
    with _RUNNING:
        _RUNNING.callback(shutil.rmtree, folder, ignore_errors=True)
        _RUNNING.callback(leadcast, env, "down")
        yield Stack(home=Home.find(env, cwd=ROOT), ports=Ports.from_environment(env), env=env)


_RUNNING = ExitStack()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Ends the stack after the last test that shares it: idle, it takes a fifth of a core until the session ends."""
    if nextitem is not None and lane_of(nextitem.nodeid) != lane_of(item.nodeid):
        _RUNNING.close()


@pytest.fixture
def stack(running: Stack) -> Stack:
    """The stack, with an empty sandbox that does what it is asked to."""
    running.leave_alone()
    running.sandbox("POST", "/reset")
    return running
