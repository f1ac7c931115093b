"""The two stacks that are compared. One at a time: the loops of the other would take part of the machine.

Both run the same PostgreSQL, the same sandbox and the same programs of Airflow. Ours is what `make up` starts. The
plain one has Airflow's defaults for everything that decides on speed (`ESSENTIAL` lists what it is told) and one DAG.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import requests

from leadcast.client.api import Api
from leadcast.client.errors import StackError
from leadcast.client.loopback import loopback_url
from leadcast.local import postgres, stack
from leadcast.local.environment import MARK, stack_environment
from leadcast.local.home import Home, State, find_project
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports, is_free
from leadcast.local.progress import Progress
from leadcast.local.supervisor import Program, Supervisor
from leadcast.local.wait import Watch

PLAIN_DAG_ID = "plain_lead"
USER = "admin"
START_TIMEOUT_S = 300.0
_PORT_STEP, _PORT_TRIES = 100, 50

# Of our own stack's settings, those without which Airflow does not run on this machine or not safely: where things are,
# who may log in, no examples, not paused. All others are Airflow's defaults.
ESSENTIAL = frozenset(
    f"AIRFLOW__{name}"
    for name in (
        "CORE__LOAD_EXAMPLES",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION",
        "CORE__FERNET_KEY",
        "CORE__HOSTNAME_CALLABLE",
        "CORE__EXECUTION_API_SERVER_URL",
        "CORE__SIMPLE_AUTH_MANAGER_USERS",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
        "API__BASE_URL",
        "API__HOST",
        "API__PORT",
        "API__SECRET_KEY",
        "API_AUTH__JWT_SECRET",
        "DATABASE__SQL_ALCHEMY_CONN",
        "LOGGING__BASE_LOG_FOLDER",
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY",
    )
)
# What `make up` tells Airflow so that it is quick. The plain DAG is measured with these, too: what is left is ours.
QUICK = frozenset(
    f"AIRFLOW__{name}"
    for name in (
        "CORE__PARALLELISM",
        "DATABASE__SQL_ALCHEMY_POOL_SIZE",
        "DATABASE__SQL_ALCHEMY_MAX_OVERFLOW",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME",
        "WORKERS__MIN_HEARTBEAT_INTERVAL",
    )
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the stacks of this measurement live.

    root: their folder; LEADCAST_HOME, else .leadcast-bench in the project.
    """

    root: Path
    project: Path
    ports: Ports

    @classmethod
    def find(cls) -> Place:
        """From LEADCAST_HOME and LEADCAST_PORT, beside whatever `make up` has started.

        Raises:
            StackError: no free ports.
        """
        project = find_project(Path.cwd(), environ=os.environ)
        root = Path(os.environ.get("LEADCAST_HOME") or project / ".leadcast-bench").resolve()
        return cls(root=root, project=project, ports=_free_ports())

    def home(self, name: str) -> Home:
        """The home of one of the two stacks."""
        return Home(root=self.root / f"bench-{name}", project=self.project)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A stack that runs. `http` keeps its connection open and carries the token."""

    ports: Ports
    home: Home
    http: requests.Session

    def url(self, path: str) -> str:
        """The address of a path of its api-server."""
        return self.ports.api_url + path

    @property
    def sandbox(self) -> Api:
        """The sandbox's control service."""
        token = Keys.read(self.home).sandbox.get_secret_value()
        return Api(loopback_url(self.ports.sandbox.control), token)


def clean_environment() -> dict[str, str]:
    """Ours without Airflow's and Leadcast's variables: what is measured are the shipped settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LEADCAST"))}


@contextmanager
def ours(place: Place, progress: Progress) -> Iterator[Running]:
    """Leadcast's stack, freshly made, as `make up` starts it."""
    home = place.home("ours")
    _remove(home, progress)
    inherited = clean_environment() | {"LEADCAST_PORT": str(place.ports.api)}
    with _ending(home, progress):
        stack.up(home, progress=progress, inherited=inherited)
        yield _log_in(home, place.ports)


@contextmanager
def plain(place: Place, progress: Progress, *, told: frozenset[str] = frozenset()) -> Iterator[Running]:
    """Airflow with its defaults and the one DAG of bench/plain_dag, freshly made.

    Args:
        told: settings that it takes from our stack all the same.
    """
    home = place.home("plain")
    _remove(home, progress)
    with _ending(home, progress):
        _start_plain(home, place, progress, told=told)
        yield _log_in(home, place.ports)


def plain_environment(home: Home, ports: Ports, keys: Keys, *, told: frozenset[str]) -> dict[str, str]:
    """The environment of the plain stack: Airflow's defaults but for what is essential and what it is told."""
    inherited = clean_environment()
    full = stack_environment(inherited, home=home, ports=ports, keys=keys)
    taken = ESSENTIAL | told
    kept = {name: value for name, value in full.items() if not name.startswith("AIRFLOW_") or name in taken}
    return kept | {
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home.project / "bench" / "plain_dag"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home.work),
    }


def _start_plain(home: Home, place: Place, progress: Progress, *, told: frozenset[str]) -> None:
    home.prepare()
    keys, ports, supervisor = Keys.ensure(home), place.ports, Supervisor(home)
    (home.airflow / "airflow.cfg").touch()
    environment = plain_environment(home, ports, keys, told=told)
    watch = Watch(home, standstill_s=START_TIMEOUT_S)
    with progress.step("Plain Airflow: PostgreSQL, sandbox") as step:
        postgres.ensure_cluster(home, keys)
        supervisor.launch(ports=ports, environment=environment)
        home.write_state(State(ports=ports))
        supervisor.start(Program.POSTGRES, Program.SANDBOX)
        watch.until(
            lambda: postgres.has_databases(ports, keys),
            program=Program.POSTGRES,
            what="the plain stack's database answers",
            step=step,
        )
    with progress.step("Plain Airflow: database"):
        _migrate(home, environment)
    supervisor.start(Program.API_SERVER, Program.SCHEDULER, Program.DAG_PROCESSOR, Program.TRIGGERER)
    with progress.step("Plain Airflow: its programs, its DAG") as step:
        started_at = datetime.now(UTC)
        for program in (Program.SCHEDULER, Program.DAG_PROCESSOR, Program.TRIGGERER):
            beats = partial(_beats, Api(ports.api_url), program.health_name, since=started_at)
            watch.until(beats, program=program, what=f"the plain {program}'s heart beats", step=step)
        api = Api.log_in(ports.api_url, user=USER, password=keys.users[USER].get_secret_value())
        is_there = partial(api.is_unpaused, PLAIN_DAG_ID)
        watch.until(is_there, program=Program.DAG_PROCESSOR, what="the plain DAG is there", step=step)
    home.write_state(State(ports=ports, ready=True))


def _beats(api: Api, part: str, *, since: datetime) -> bool:
    health = api.health().get(part)
    return health is not None and health.is_healthy and health.beat_at is not None and health.beat_at >= since


def _migrate(home: Home, environment: Mapping[str, str]) -> None:
    log = home.logs / "migrate.log"
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env={**environment, MARK: str(home.root)},
            cwd=home.work,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=START_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        raise StackError("The plain stack's database could not be made.", log=log)


def _log_in(home: Home, ports: Ports) -> Running:
    http = requests.Session()
    http.trust_env = False
    http.headers["Authorization"] = f"Bearer {stack.log_in(home, user=USER).token}"
    return Running(ports=ports, home=home, http=http)


@contextmanager
def _ending(home: Home, progress: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        stack.down(home, progress=progress)


def _remove(home: Home, progress: Progress) -> None:
    """What a measurement before has left: its database would make this one slower, or faster."""
    stack.down(home, progress=progress)
    shutil.rmtree(home.root, ignore_errors=True)


def _free_ports() -> Ports:
    """Those of LEADCAST_PORT, or the next ones where a stack of `make up` has them."""
    wanted = Ports.from_environment(os.environ).api
    for step in range(_PORT_TRIES):
        ports = Ports.from_environment({"LEADCAST_PORT": str(wanted + step * _PORT_STEP)})
        if all(is_free(port) for port in ports.all):
            return ports
    raise StackError(f"No free ports from {wanted} on.", mend="Set LEADCAST_PORT to another number.")
