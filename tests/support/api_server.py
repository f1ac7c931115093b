"""Starts a real api-server with the plugin in it, on a database of its own, and calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import URL, create_engine, make_url, text

from tests.support.stack import free_port

ROOT = Path(__file__).parents[2]
USERS = {"admin": "admin", "op": "op", "user": "user", "other": "user", "viewer": "viewer"}
"""User → role of the simple auth manager."""
TRIGGER = "/api/v2/dags/send_lead/dagRuns"
START_TIMEOUT_S = 300
COMMAND_TIMEOUT_S = 300
"""Bounds for a machine that many tests share."""


@dataclass
class ApiServer:
    """A running api-server, its environment, and its database."""

    url: str
    environment: dict[str, str]
    database_url: str
    tokens: dict[str, str]

    def call(self, method: str, path: str, *, user: str | None = "user", **more: Any) -> requests.Response:
        headers, timeout_s = dict(more.pop("headers", {})), more.pop("timeout_s", 30)
        if user:
            headers["Authorization"] = f"Bearer {self.tokens[user]}"
        return requests.request(method, self.url + path, headers=headers, timeout=timeout_s, **more)

    def trigger(self, conf: Any, *, user: str | None = "user", **more: Any) -> requests.Response:
        return self.call("POST", TRIGGER, user=user, json={"logical_date": None, "conf": conf}, **more)

    def runs(self) -> list[str]:
        return [run["dag_run_id"] for run in self.call("GET", f"{TRIGGER}?limit=100").json()["dag_runs"]]

    def triggered(self) -> list[str]:
        """The runs that somebody has triggered, without those that a bell has rung for: these come when they come."""
        return [run_id for run_id in self.runs() if run_id.startswith("manual__")]

    def everything_written(self) -> str:
        """All that Airflow's database holds of runs and in its audit log."""
        engine = create_engine(self.database_url)
        with engine.connect() as connection:
            rows = [
                *connection.execute(text("SELECT r::text FROM dag_run r")).scalars(),
                *connection.execute(text("SELECT l::text FROM log l")).scalars(),
            ]
        engine.dispose()
        return "\n".join(rows)

    def airflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs Airflow's command line, Leadcast's entry point in it as an installed Leadcast has it."""
        return airflow(self.environment, *arguments)


def airflow(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )


def installed(folder: Path) -> Path:
    """A folder that says what an installed Leadcast says: its entry points for Airflow's policies."""
    named = folder / "leadcast-0.1.0.dist-info"
    named.mkdir(parents=True)
    (named / "METADATA").write_text("Metadata-Version: 2.1\nName: leadcast\nVersion: 0.1.0\n")
    (named / "entry_points.txt").write_text("[airflow.policy]\nleadcast = leadcast.engine.seal.command_line\n")
    return folder


_MIGRATED: dict[URL, str] = {}


def _migrated(server: URL, environment: Mapping[str, str]) -> str:
    """A database with Airflow's tables and our DAGs in it, which takes seconds to make: once in each PostgreSQL."""
    if server not in _MIGRATED:
        name = f"airflow_template_{uuid.uuid4().hex[:8]}"
        admin = create_engine(server, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        there = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.set(database=name).render_as_string(hide_password=False)}
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            done = airflow({**environment, **there}, *command)
            assert done.returncode == 0, done.stderr
        _MIGRATED[server] = name
    return _MIGRATED[server]


@contextmanager
def api_server(
    home: Path, *, postgres_url: str, fernet_key: str, settings: Mapping[str, str] | None = None
) -> Iterator[ApiServer]:
    """Runs one until the block is left. `settings`: of Leadcast, besides the store."""
    url = make_url(postgres_url)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"airflow_{uuid.uuid4().hex[:8]}"
    database_url = url.set(database=name).render_as_string(hide_password=False)
    port = free_port()
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({user: user for user in USERS}))
    environment = os.environ | {
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "include"), str(installed(home / "site"))]),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": fernet_key,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": "made-up-for-the-tests",
        "AIRFLOW__API_AUTH__JWT_SECRET": fernet_key * 2,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url,
        "AIRFLOW__LEADCAST__STORE_URL": postgres_url,
        **{f"AIRFLOW__LEADCAST__{name.upper()}": value for name, value in (settings or {}).items()},
    }
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {_migrated(url, environment)}"))
    log = (home / "api-server.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow", "api-server"], env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        root = f"http://127.0.0.1:{port}"
        yield ApiServer(root, environment, database_url, {user: sign_in(root, user, process) for user in USERS})
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def sign_in(url: str, user: str, process: subprocess.Popen[bytes]) -> str:
    body = {"username": user, "password": user}
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        assert process.poll() is None, "the api-server ended"
        try:
            return str(requests.post(f"{url}/auth/token", json=body, timeout=10).json()["access_token"])
        except requests.ConnectionError:
            assert time.monotonic() < deadline, "the api-server does not answer"
            time.sleep(0.2)
