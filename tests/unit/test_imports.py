"""What every task process loads stays light. (Who may import whom: `make lint`.)"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

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


def test_the_face_for_integrations_loads_nothing_until_it_is_used() -> None:
    assert loaded_by("import leadcast.integration") <= {"leadcast"}


def test_what_an_integration_is_made_of_is_light() -> None:
    from leadcast import integration

    # what it is called with is loaded by who calls it; nobody makes one where the DAG is parsed
    given = {"BatchView", "DeliveryView", "Egress"}
    names = ", ".join(sorted(set(integration.__all__) - given))
    assert loaded_by(f"from leadcast.integration import {names}") & (HEAVY | {"sqlalchemy"}) == set()


@pytest.mark.parametrize("is_scheduler", [True, False])
def test_only_a_scheduler_imports_ahead_for_the_tasks_that_it_forks(is_scheduler: bool) -> None:
    scheduler = "import types; sys.modules['airflow.jobs.scheduler_job_runner'] = types.ModuleType('scheduler'); "
    ahead = "from leadcast.engine.processes import preload; preload.for_forked_tasks(); "
    loaded_by(
        (scheduler if is_scheduler else "")
        + ahead
        + f"assert ('leadcast.flow.deliver.deliverer' in sys.modules) is {is_scheduler}"
    )
