"""What `leadcast doctor` says of pools beside what runs at once, and that what we ship is well by it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from leadcast.core.settings import Settings
from leadcast.engine.setup.finding import Level
from leadcast.engine.setup.slots import PER_WORKER, judge
from leadcast.integrations import registry
from leadcast.local.environment import stack_environment
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from tests.support import compose

ROOT = Path(__file__).parents[2]
PARALLELISM = "[core] parallelism"
QUEUES = {*map(registry.queue_of, registry.SHIPPED), registry.NOTIFICATIONS_QUEUE}


@pytest.mark.parametrize(
    ("slots", "places", "warned"),
    [
        (10, {PARALLELISM: 32}, []),
        (10, {PARALLELISM: 21, PER_WORKER: 21}, []),
        (10, {PARALLELISM: 20}, [PARALLELISM]),
        (10, {PARALLELISM: 6}, [PARALLELISM]),
        (10, {PARALLELISM: 32, PER_WORKER: 16}, [PER_WORKER]),
        (-1, {PARALLELISM: 32, PER_WORKER: 16}, [PARALLELISM, PER_WORKER]),  # a pool without a bound
        (10, {PARALLELISM: 0}, []),  # no bound on what runs at once
    ],
)
def test_a_pool_leaves_more_than_half_to_the_others(slots: int, places: dict[str, int], warned: list[str]) -> None:
    found = list(judge({"integration-email": slots, "integration-amocrm": 1}, places))
    warnings = [finding for finding in found if finding.level is Level.WARN]
    assert [[setting for setting in places if setting in finding.what] for finding in warnings] == [
        [setting] for setting in warned
    ]
    assert all("integration-email" in finding.what and finding.mend for finding in warnings)
    assert len(found) == max(len(warned), 1)


def test_pools_that_are_not_there_are_another_checks_matter() -> None:
    assert list(judge({}, {PARALLELISM: 1})) == []


def levels(slots: int, parallelism: int, per_worker: int | None = None) -> list[Level]:
    places = {PARALLELISM: parallelism} | ({} if per_worker is None else {PER_WORKER: per_worker})
    return [finding.level for finding in judge(dict.fromkeys(QUEUES, slots), places)]


def test_the_local_stack_is_well(tmp_path: Path) -> None:
    home = Home(root=tmp_path, project=tmp_path)
    env = stack_environment({}, home=home, ports=Ports(api=9100), keys=Keys())
    assert levels(int(env["AIRFLOW__LEADCAST__POOL_SLOTS"]), int(env["AIRFLOW__CORE__PARALLELISM"])) == [Level.OK]


def test_docker_compose_is_well() -> None:
    services = compose.read(compose.read_env(compose.filled_in_example()))
    env = services["worker"].environment
    slots, parallelism = int(env["AIRFLOW__LEADCAST__POOL_SLOTS"]), int(env["AIRFLOW__CORE__PARALLELISM"])
    assert levels(slots, parallelism, int(env["AIRFLOW__CELERY__WORKER_CONCURRENCY"])) == [Level.OK]
    command = services["worker"].command
    assert command[command.index("--concurrency") + 1] == env["AIRFLOW__CELERY__WORKER_CONCURRENCY"]
    assert slots * len(QUEUES) <= parallelism, "pools that are full of what nobody takes leave room to the others"


def test_the_values_for_kubernetes_are_well() -> None:
    config = yaml.safe_load((ROOT / "docs/kubernetes/values.yaml").read_text(encoding="utf-8"))["config"]
    slots = Settings().pool_slots
    parallelism = config["core"]["parallelism"]
    assert levels(slots, parallelism) == [Level.OK], "each queue has workers of its own"
    assert slots * len(QUEUES) <= parallelism
