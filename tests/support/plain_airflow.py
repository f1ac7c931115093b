"""A plain Airflow in a clean virtualenv, as somebody has it who has never heard of Leadcast.

A pytest plugin would start it for everybody; the tests that install into it import this instead.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, text

from leadcast.client.api import Api
from tests.support.stack import ROOT, free_port, until

AIRFLOW = "apache-airflow[postgres]==3.3.2"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CONSTRAINTS = f"https://raw.githubusercontent.com/apache/airflow/constraints-3.3.2/constraints-{PYTHON}.txt"
"""What Airflow 3.3.2 was published with."""
BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
BOTH_BUNDLES = [
    {"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {}},
    {"name": "leadcast", "classpath": "leadcast.engine.setup.bundle.LeadcastDags", "kwargs": {}},
]
"""Airflow's own DAG folder, and our DAG files."""
OWN_DAG = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("their_own", schedule=None):
    EmptyOperator(task_id="nothing")
"""
SNAPSHOT = """
import json
from airflow import plugins_manager
from airflow.configuration import conf
from airflow.models import DagModel, Pool
from airflow.models.errors import ParseImportError
from airflow.providers_manager import ProvidersManager
from airflow.utils.session import create_session
from sqlalchemy import func, inspect, select, table

grows_while_airflow_runs = {"job", "log"}
with create_session() as session:
    tables = set(inspect(session.get_bind()).get_table_names())
    database = {
        "pools": sorted((pool.pool, pool.slots) for pool in Pool.get_pools(session=session)),
        "dags": sorted(session.execute(select(DagModel.dag_id, DagModel.bundle_name, DagModel.is_stale)).tuples()),
        "import errors": session.scalars(select(ParseImportError.stacktrace)).all(),
        "rows": {name: session.scalar(select(func.count()).select_from(table(name))) for name in sorted(tables)},
    }
for name in grows_while_airflow_runs:
    del database["rows"][name]
plugins, plugin_errors = plugins_manager._get_plugins()
print(json.dumps(database | {
    "plugins": sorted(plugin.name for plugin in plugins), "plugin errors": plugin_errors,
    "providers": sorted(ProvidersManager().providers), "connection types": sorted(ProvidersManager().hooks),
    "settings": sorted(conf.as_dict()),
}, default=list))
"""


@dataclass
class PlainAirflow:
    """Airflow in a folder of its own: `venv`, `home` (AIRFLOW_HOME), `terminal` (where its person types)."""

    folder: Path
    env: dict[str, str] = field(repr=False)
    constraints: Path
    url: str

    @property
    def terminal(self) -> Path:
        """The folder in which commands are typed."""
        return self.folder / "terminal"

    @property
    def dags(self) -> Path:
        """Airflow's DAG folder."""
        return self.folder / "home" / "dags"

    def type(self, command: str, *, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a command line as a person types it, in bash."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.terminal,
            env=self.env | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def python(self, code: str, **more: Any) -> Any:
        """What the last line that this code prints holds, as JSON."""
        script = self.folder / "script.py"
        script.write_text(code, encoding="utf-8")
        return json.loads(self.type(f"python {script}", **more).stdout.splitlines()[-1])

    def snapshot(self) -> dict[str, Any]:
        """Airflow as it is, parsed just now."""
        self.type("airflow dags reserialize")
        found: dict[str, Any] = self.python(SNAPSHOT)
        return found

    def packages(self) -> set[str]:
        """Every installed package with its version."""
        return set(self.type("pip freeze").stdout.splitlines())

    def api(self, user: str = "admin", password: str = "") -> Api:
        """Its API."""
        generated = self.folder / "home" / "simple_auth_manager_passwords.json.generated"
        return Api.log_in(self.url, user=user, password=password or json.loads(generated.read_text())[user])

    @contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """Airflow while this command, typed in a terminal of its own, runs."""
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.terminal,
                env=self.env,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            until(lambda: self._answers(process))
            yield
        finally:
            _end(process)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, f"ended by itself:\n{(self.folder / 'log').read_text()[-4000:]}"
        with suppress(OSError):
            return bool(urllib.request.urlopen(f"{self.url}/api/v2/version", timeout=5).status == 200)
        time.sleep(0.5)
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    # not the whole group: Airflow 3.3.2's scheduler, told together with its LocalExecutor's workers, never ends
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def uv(*arguments: str) -> None:
    """Runs uv, which lies beside this Python."""
    program = Path(sys.executable).with_name("uv")
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert not done.returncode, f"uv {' '.join(arguments)}:\n{done.stderr}"


@contextmanager
def plain_airflow(database: URL, *packages: str, **settings: str) -> Iterator[PlainAirflow]:
    """Installs Airflow, with these packages besides, and migrates this empty database; removes all of it."""
    folder = Path(tempfile.mkdtemp(prefix="leadcast-plain-"))
    try:
        (folder / "terminal").mkdir()
        venv, port = folder / "venv", free_port()
        constraints = _constraints(folder)
        uv("venv", "--quiet", "--seed", "--python", sys.executable, str(venv))
        uv("pip", "install", "--quiet", "--python", str(venv), AIRFLOW, *packages, "--constraints", str(constraints))
        env = _environment(folder, venv, database=database, port=port) | settings
        plain = PlainAirflow(folder, env, constraints, f"http://127.0.0.1:{port}")
        plain.type("airflow db migrate")
        yield plain
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path, venv: Path, *, database: URL, port: int) -> dict[str, str]:
    """Airflow's own defaults, but for the database, addresses, and the examples, which would cost time."""
    strange = ("AIRFLOW", "LEADCAST", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return kept | {
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.render_as_string(hide_password=False),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # as many processes are forked at once
        "AIRFLOW__CORE__PARALLELISM": "4",
        # the default asks the DNS for a full name, which hangs on machines without one
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(port + 1),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(port + 2),
    }


def _constraints(folder: Path) -> Path:
    """The published constraints; where they cannot be had, the pins that the other tests run with."""
    file = folder / "constraints.txt"
    try:
        file.write_bytes(urllib.request.urlopen(CONSTRAINTS, timeout=5).read())
        print(f"constraints: {CONSTRAINTS}")  # noqa: T201  # the run's record says which
    except OSError as error:
        # without their hashes, which would be asked of everything else, too
        pins = re.findall(r"^(\w\S*==.*?)(?: \\)?$", (ROOT / "requirements.txt").read_text("utf-8"), flags=re.MULTILINE)
        # the FAB provider wants an older one
        file.write_text("\n".join(pin for pin in pins if not pin.startswith("python-dateutil==")), encoding="utf-8")
        print(f"constraints: requirements.txt; the published ones cannot be had ({error})")  # noqa: T201  # likewise
    return file


@contextmanager
def database_beside(database: URL, suffix: str) -> Iterator[URL]:
    """Another empty database on the same server."""
    name = f"{database.database}_{suffix}"
    admin = create_engine(database.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    try:
        yield database.set(database=name)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        admin.dispose()
