"""docs/kubernetes/values.yaml: a worker for each queue, scaled by what it takes, and no secret.

That its paths are those of the chart was checked by hand; docs/kubernetes/README.md says how.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from leadcast.core.settings import Settings
from leadcast.integrations import registry
from tests.support import compose

ROOT = Path(__file__).parents[2]
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "kubernetes" / "values.yaml").read_text(encoding="utf-8"))
WORKERS = VALUES["workers"]["celery"]
SETS: list[dict[str, Any]] = WORKERS["sets"]
QUEUES = {*map(registry.queue_of, registry.SHIPPED), registry.NOTIFICATIONS_QUEUE}
COMPOSE = compose.read(compose.read_env(compose.filled_in_example()))


def concurrency(worker_set: dict[str, Any]) -> int:
    (variable,) = worker_set["env"]
    assert variable["name"] == "AIRFLOW__CELERY__WORKER_CONCURRENCY"
    return int(variable["value"])


def test_each_queue_has_workers_of_its_own_and_no_others_are_started() -> None:
    assert sorted(item["queue"] for item in SETS) == sorted(QUEUES)
    assert WORKERS["enableDefault"] is False
    assert len({item["name"] for item in SETS}) == len(SETS)


@pytest.mark.parametrize("worker_set", SETS, ids=lambda item: item["name"])
def test_a_queue_is_scaled_by_its_own_tasks_and_its_own_concurrency(worker_set: dict[str, Any]) -> None:
    query = worker_set["keda"]["query"]
    assert re.findall(r"queue = '([^']+)'", query) == [worker_set["queue"]]
    assert re.findall(r"decimal / (\d+)\)", query) == [str(concurrency(worker_set))]
    assert worker_set["keda"]["maxReplicaCount"] == math.ceil(Settings().pool_slots / concurrency(worker_set))


@pytest.mark.parametrize("worker_set", SETS, ids=lambda item: item["name"])
def test_a_worker_takes_as_much_as_the_one_of_docker_compose(worker_set: dict[str, Any]) -> None:
    command = COMPOSE[f"worker-{worker_set['name']}"].command
    assert command[3:] == ["--concurrency", str(concurrency(worker_set)), "--queues", worker_set["queue"]]


def test_only_the_queue_that_every_lead_goes_through_always_has_a_worker() -> None:
    fewest = {item["queue"]: item["keda"].get("minReplicaCount", WORKERS["keda"]["minReplicaCount"]) for item in SETS}
    assert {queue for queue, count in fewest.items() if count} == {registry.NOTIFICATIONS_QUEUE}


def test_a_worker_may_finish_what_it_sends_before_it_is_stopped() -> None:
    assert WORKERS["terminationGracePeriodSeconds"] >= Settings().timeout_s + 30


def test_airflow_knows_every_option_that_is_set() -> None:
    from airflow.configuration import conf

    described = conf.configuration_description
    for section, options in VALUES["config"].items():
        undescribed = options.keys() - described[section]["options"].keys()
        assert {(section, key) for key in undescribed} <= compose.NOT_DESCRIBED


def test_settings_are_those_of_docker_compose() -> None:
    environment = COMPOSE["scheduler"].environment
    # what differs from cluster to cluster, and what a pod has no name for
    own = {("core", "hostname_callable"), ("api", "base_url"), ("leadcast", "api_url"), ("api", "workers")}
    for section, options in VALUES["config"].items():
        for key, value in options.items():
            if (section, key) not in own:
                assert environment[f"AIRFLOW__{section.upper()}__{key.upper()}"] == str(value), key


def test_every_secret_comes_from_a_kubernetes_secret() -> None:
    named = {VALUES[f"{name}Name"] for name in ("fernetKeySecret", "apiSecretKeySecret", "jwtSecret")}
    assert named == {"leadcast"}
    assert VALUES["data"].keys() == {"metadataSecretName", "brokerUrlSecretName"}
    for variable in VALUES["apiServer"]["env"]:
        assert "value" not in variable or not re.search("PASSWORD|SECRET|KEY", variable["name"])
    assert [item["envName"] for item in VALUES["secret"]] == ["AIRFLOW__LEADCAST__STORE_URL"]


def test_airflow_and_image_are_the_versions_that_are_pinned() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"apache/airflow:slim-{VALUES['airflowVersion']}-" in dockerfile
    assert f"leadcast:{VALUES['images']['airflow']['tag']}" in compose.FILE.read_text(encoding="utf-8")
