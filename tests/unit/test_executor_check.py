"""What `leadcast doctor` says of the executor, and that what we ship is well by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.executors.executor_loader import ExecutorLoader
from airflow.executors.executor_utils import ExecutorName
from airflow.executors.local_executor import LocalExecutor

from leadcast.engine.setup.executor_check import OURS, judge
from leadcast.engine.setup.finding import Level
from leadcast.local.environment import stack_environment
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from tests.support import compose
from tests.unit.test_docs import blocks, section, text_of


@pytest.mark.parametrize(
    "executors",
    [
        "LocalExecutor",
        "CeleryExecutor,LocalExecutor",
        "CeleryExecutor, quick:LocalExecutor",
        "airflow.executors.local_executor.LocalExecutor",
        "CeleryExecutor;team_a=LocalExecutor",
    ],
)
def test_airflows_local_executor_is_named_with_what_to_set(executors: str) -> None:
    found = judge(executors)
    assert found.level is Level.WARN
    assert OURS in found.mend


@pytest.mark.parametrize("executors", ["CeleryExecutor", OURS, f"CeleryExecutor,quick:{OURS}", "theirs.LocalExecutor"])
def test_others_are_well(executors: str) -> None:
    assert judge(executors).level is Level.OK


def test_what_we_ship_is_well(tmp_path: Path) -> None:
    env = stack_environment({}, home=Home(root=tmp_path, project=tmp_path), ports=Ports(api=9100), keys=Keys())
    assert env["AIRFLOW__CORE__EXECUTOR"] == OURS
    services = compose.read(compose.read_env(compose.filled_in_example()))
    assert judge(services["worker"].environment["AIRFLOW__CORE__EXECUTOR"]).level is Level.OK


def test_airflow_loads_what_the_page_says_to_set() -> None:
    (line,) = blocks(section(text_of("running.md"), "The executor"), "bash")
    name = line.strip().removeprefix("export AIRFLOW__CORE__EXECUTOR=")
    assert name == OURS
    executor, _ = ExecutorLoader.import_executor_cls(ExecutorName(name))
    assert issubclass(executor, LocalExecutor)


def test_airflows_own_still_cannot_let_go_of_a_task() -> None:
    """Else ours, and what the pages say of it, has served its time."""
    with pytest.raises(NotImplementedError):
        LocalExecutor(parallelism=1).revoke_task(ti=object())  # type: ignore[arg-type, no-untyped-call]
