"""Starting a stack, step by step, each waited for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from leadcast.client.api import Api, ApiError
from leadcast.client.errors import StackError
from leadcast.client.loopback import loopback_url
from leadcast.engine.dag_ids import DAG_ID
from leadcast.local import postgres, processes
from leadcast.local.environment import MARK, stack_environment
from leadcast.local.home import Home, State
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from leadcast.local.progress import Progress, Step
from leadcast.local.supervisor import Program, Supervisor
from leadcast.local.wait import Watch


def start(home: Home, *, ports: Ports, progress: Progress, watch: Watch, inherited: Mapping[str, str]) -> None:
    """Starts everything and returns when all of it is of use.

    Raises:
        StackError: a part did not come up. What has been started is still there then.
    """
    started_at = datetime.now(UTC)
    keys = Keys.ensure(home)
    # Every setting comes from the environment. Without a file, each program would write one with all defaults.
    (home.airflow / "airflow.cfg").touch()
    env = stack_environment(inherited, home=home, ports=ports, keys=keys)
    supervisor = Supervisor(home)
    with progress.step("PostgreSQL") as step:
        postgres.ensure_cluster(home, keys)
        supervisor.launch(ports=ports, environment=env)
        home.write_state(State(ports=ports))
        supervisor.start(Program.POSTGRES)
        watch.until(
            lambda: postgres.has_databases(ports, keys),
            program=Program.POSTGRES,
            what="PostgreSQL answers",
            step=step,
        )
    # The api-server takes longest to start, and needs the tables only once it is asked.
    supervisor.start(Program.SANDBOX, Program.API_SERVER)
    with progress.step("Airflow's database") as step:
        _migrate(home, env, watch=watch, step=step)
    supervisor.start(Program.TRIGGERER)
    with progress.step("Leadcast's store, pools") as step:
        # Before the scheduler and the DAGs, which count on both.
        _run(home, "init", [sys.executable, "-m", "leadcast", "init"], env, watch=watch, step=step)
    supervisor.start(Program.SCHEDULER, Program.DAG_PROCESSOR)
    _await_all(home, ports=ports, started_at=started_at, progress=progress, watch=watch)
    home.write_state(State(ports=ports, ready=True))


def _await_all(home: Home, *, ports: Ports, started_at: datetime, progress: Progress, watch: Watch) -> None:
    supervisor = Supervisor(home)
    api = Api(ports.api_url)

    def ours_answers() -> bool:
        pid = supervisor.state(Program.API_SERVER).pid
        # Asked in this order: until it listens, anybody's answer on this port would do.
        return bool(pid) and processes.listens(pid, port=ports.api) and "metadatabase" in api.health()

    def is_healthy(program: Program) -> bool:
        # A part that was killed counts as healthy for half a minute more: only a beat of this start will do.
        health = api.health().get(program.health_name)
        return health is not None and health.is_healthy and health.beat_at is not None and health.beat_at >= started_at

    with progress.step("Airflow's api-server") as step:
        watch.until(
            ours_answers,
            program=Program.API_SERVER,
            what=f"the api-server answers on {ports.api_url}",
            step=step,
        )
    for program in (Program.SCHEDULER, Program.DAG_PROCESSOR, Program.TRIGGERER):
        with progress.step(f"Airflow's {program}") as step:
            watch.until(
                partial(is_healthy, program),
                program=program,
                what=f"the {program}'s heart beats",
                step=step,
            )
    with progress.step("Sandbox services") as step:
        watch.until(
            lambda: _answers(loopback_url(ports.sandbox.control)),
            program=Program.SANDBOX,
            what="the sandbox answers",
            step=step,
        )
    with progress.step(f"DAG {DAG_ID}") as step:
        _await_dag(home, ports=ports, started_at=started_at, watch=watch, step=step)


def _await_dag(home: Home, *, ports: Ports, started_at: datetime, watch: Watch, step: Step) -> None:
    password = Keys.read(home).users["viewer"].get_secret_value()
    api = watch.answer(
        lambda: Api.log_in(ports.api_url, user="viewer", password=password), what="a user is let in", step=step
    )

    def is_there() -> bool:
        if errors := api.import_errors(since=started_at):
            raise StackError(f"A DAG file cannot be imported: {'; '.join(errors)}")
        return api.has_dag(DAG_ID)

    watch.until(
        is_there,
        program=Program.DAG_PROCESSOR,
        what=f"the DAG {DAG_ID} is there",
        step=step,
    )


def _answers(url: str) -> bool:
    try:
        Api(url).call("GET", "/", timeout_s=10)
    except ApiError as error:
        return error.status != 0
    return True


def _migrate(home: Home, env: Mapping[str, str], *, watch: Watch, step: Step) -> None:
    from importlib.metadata import version

    wanted = version("apache-airflow-core")
    try:
        if home.migrated_file.read_text() == wanted:
            return
    except OSError:
        pass  # never migrated
    _run(home, "migrate", [sys.executable, "-m", "airflow", "db", "migrate"], env, watch=watch, step=step)
    home.migrated_file.write_text(wanted)


def _run(home: Home, name: str, words: list[str], env: Mapping[str, str], *, watch: Watch, step: Step) -> None:
    log = home.logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            env={**env, MARK: str(home.root)},
            cwd=home.work,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    watch.run(process, name=name, log=log, step=step)
