"""One direction: a stage imports only what stands to its left. And what every task process loads stays light."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "include" / "leadcast"
DELIVER = ("admit", "outcome", "reconcile", "attempt", "deliver")
STAGES = ("request", "inbox", "plan", *DELIVER, "settle", "retry", "cancel", "erase", "in_flight", "notify")
"""In the order of the flow."""
FOUNDATIONS = ("core", "integrations", "store", "templates")
"""What stages stand on; they know no stage."""
SURFACES = ("shown", "monitor", "engine", "api", "sandbox", "local", "cli", "__main__", "__init__")
"""What stands on the stages."""


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_used(path: Path) -> set[str]:
    """Which parts of the package a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("leadcast.")}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_belongs_to_a_part_that_we_know(path: Path) -> None:
    assert part_of(path) in {*STAGES, *FOUNDATIONS, *SURFACES}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_later_stage_and_nothing_that_stands_on_it(stage: str) -> None:
    later = set(STAGES[STAGES.index(stage) + 1 :])
    assert parts_used(PACKAGE / f"{stage}.py") & (later | set(SURFACES)) == set()


@pytest.mark.parametrize("path", [path for path in FILES if part_of(path) in FOUNDATIONS], ids=str)
def test_what_the_stages_stand_on_knows_no_stage(path: Path) -> None:
    assert parts_used(path) & {*STAGES, *SURFACES} == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_domain_imports_no_airflow_no_http_and_no_sql(path: Path) -> None:
    roots = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
    assert roots <= {"leadcast", "pydantic"}
    assert parts_used(path) <= {"core"}


@pytest.mark.parametrize("path", [path for path in FILES if part_of(path) == "integrations"], ids=lambda p: p.name)
def test_an_integration_knows_its_service_and_nothing_of_airflow_or_the_store(path: Path) -> None:
    assert parts_used(path) <= {"core", "integrations"}
    assert "airflow" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", [path for path in FILES if part_of(path) not in ("engine", "api", "local")], ids=str)
def test_only_the_engine_and_what_serves_inside_airflow_knows_airflow(path: Path) -> None:
    assert "airflow" not in {name.split(".")[0] for name in imports(path)}


HEAVY = {"requests", "telegram", "fastapi", "aiohttp", "httpx", "urllib3", "uvicorn", "starlette", "alembic"}


def loaded_by(code: str) -> set[str]:
    """The modules that this code loads on top of what Airflow's SDK has loaded, in a fresh interpreter."""
    script = (
        "import json, sys, airflow.sdk\n"
        "from airflow.sdk import DAG, BaseOperator, Param\n"
        "before = set(sys.modules)\n"
        f"{code}\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "include"), str(ROOT / "plugins")])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", ["prune", "retry_leads", "send_lead", "sweep"])
def test_a_dag_file_loads_nothing_heavy(name: str) -> None:
    loaded = loaded_by(f"exec(open({str(ROOT / 'dags' / f'{name}.py')!r}).read())")
    assert "leadcast" in loaded
    assert loaded & (HEAVY | {"sqlalchemy"}) == set()


def test_the_plugin_loads_nothing_heavy_in_a_task_process() -> None:
    loaded = loaded_by("import leadcast_plugin; leadcast_plugin.LeadcastPlugin.on_load()")
    assert "leadcast_plugin" in loaded
    # on_load listens to SQLAlchemy's mappers; every task is forked from a process that has it loaded
    assert loaded & HEAVY == set()


def test_the_entry_point_that_every_airflow_process_loads_is_light() -> None:
    assert loaded_by("import leadcast.engine.seal.command_line") & (HEAVY | {"sqlalchemy"}) == set()


def test_the_package_itself_loads_nothing() -> None:
    assert loaded_by("import leadcast") <= {"leadcast"}


def test_the_public_face_is_small() -> None:
    import leadcast

    assert leadcast.__all__ == ["send_batch"]
    assert callable(leadcast.send_batch)


@pytest.mark.parametrize("is_scheduler", [True, False])
def test_only_a_scheduler_imports_ahead_for_the_tasks_that_it_forks(is_scheduler: bool) -> None:
    scheduler = "import types; sys.modules['airflow.jobs.scheduler_job_runner'] = types.ModuleType('scheduler'); "
    ahead = "from leadcast.engine.processes import preload; preload.for_forked_tasks(); "
    loaded_by(
        (scheduler if is_scheduler else "")
        + ahead
        + f"assert ('leadcast.flow.deliver.courier' in sys.modules) is {is_scheduler}"
    )
