"""What every task process loads stays light. (Who may import whom: `make lint`.)"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAVY = {"requests", "telegram", "fastapi", "aiohttp", "httpx", "urllib3", "uvicorn", "starlette", "alembic"}


AFTER_AIRFLOWS_SDK = """
import json, os, sys, airflow.sdk
from airflow.sdk import DAG, BaseOperator, Param
before = set(sys.modules)
for line in sys.stdin:
    if not os.fork():
        exec(json.loads(line))
        print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})), flush=True)
        os._exit(0)
    if os.wait()[1]:
        sys.exit("it ended with an error")
"""
"""A process each, from one that has loaded Airflow's SDK once, which takes seconds."""
Loaded = Callable[[str], set[str]]


@pytest.fixture(scope="module")
def loaded_by() -> Iterator[Loaded]:
    """The modules that this code loads on top of what Airflow's SDK has loaded."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "include"), str(ROOT / "plugins")])}
    command = [sys.executable, "-c", AFTER_AIRFLOWS_SDK]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, answers = process.stdin, process.stdout

        def loaded_by(code: str) -> set[str]:
            asked.write(f"{json.dumps(code)}\n")
            asked.flush()
            answer = answers.readline()
            assert answer, f"{code} ended with an error"
            return set(json.loads(answer))

        yield loaded_by


@pytest.mark.parametrize("name", ["prune", "retry_leads", "send_lead", "sweep"])
def test_a_dag_file_loads_nothing_heavy(loaded_by: Loaded, name: str) -> None:
    loaded = loaded_by(f"exec(open({str(ROOT / 'dags' / f'{name}.py')!r}).read())")
    assert "leadcast" in loaded
    assert loaded & (HEAVY | {"sqlalchemy"}) == set()


def test_the_plugin_loads_nothing_heavy_in_a_task_process(loaded_by: Loaded) -> None:
    loaded = loaded_by("import leadcast_plugin; leadcast_plugin.LeadcastPlugin.on_load()")
    assert "leadcast_plugin" in loaded
    # on_load listens to SQLAlchemy's mappers; every task is forked from a process that has it loaded
    assert loaded & HEAVY == set()


def test_the_entry_point_that_every_airflow_process_loads_is_light(loaded_by: Loaded) -> None:
    assert loaded_by("import leadcast.engine.seal.command_line") & (HEAVY | {"sqlalchemy"}) == set()


def test_the_package_itself_loads_nothing(loaded_by: Loaded) -> None:
    assert loaded_by("import leadcast") <= {"leadcast"}


def test_the_public_face_is_small() -> None:
    import leadcast

    assert leadcast.__all__ == ["send_batch"]
    assert callable(leadcast.send_batch)


def test_the_face_for_integrations_loads_nothing_until_it_is_used(loaded_by: Loaded) -> None:
    assert loaded_by("import leadcast.integration") <= {"leadcast"}


def test_what_an_integration_is_made_of_is_light(loaded_by: Loaded) -> None:
    from leadcast import integration

    # what it is called with is loaded by who calls it; nobody makes one where the DAG is parsed
    given = {"BatchView", "DeliveryView", "Egress"}
    names = ", ".join(sorted(set(integration.__all__) - given))
    assert loaded_by(f"from leadcast.integration import {names}") & (HEAVY | {"sqlalchemy"}) == set()


@pytest.mark.parametrize("is_scheduler", [True, False])
def test_only_a_scheduler_imports_ahead_for_the_tasks_that_it_forks(loaded_by: Loaded, is_scheduler: bool) -> None:
    scheduler = "import types; sys.modules['airflow.jobs.scheduler_job_runner'] = types.ModuleType('scheduler'); "
    ahead = "from leadcast.engine.processes import preload; preload.for_forked_tasks(); "
    loaded_by(
        (scheduler if is_scheduler else "")
        + ahead
        + f"assert ('leadcast.flow.deliver.deliverer' in sys.modules) is {is_scheduler}"
    )


def test_what_was_written_against_earlier_paths_still_finds_its_names() -> None:
    from leadcast.engine.bundle import LeadcastDags
    from leadcast.engine.setup import bundle
    from leadcast.integrations import mapping
    from leadcast.integrations.text import mapping as home

    assert LeadcastDags is bundle.LeadcastDags
    assert (mapping.Fields, mapping.filled) == (home.Fields, home.filled)
