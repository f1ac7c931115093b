"""docker-compose.yaml without a Docker engine: every Airflow service's own command, environment and health check, as
processes of this machine, on its real PostgreSQL, Redis and RabbitMQ.

What stands for the containers' network and file system is in tests/support/place.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine, text

from leadcast.client.api import Api
from leadcast.integrations import registry
from leadcast.sandbox.ports import ServiceName
from tests.support.compose import ROOT, Service, own_files, read, read_env, with_secrets
from tests.support.containers import Containers, has_own_host_names
from tests.support.place import Place, borrowed
from tests.support.servers import POSTGRES, missing, require
from tests.support.stack import final

pytestmark = pytest.mark.system

KUBERNETES = ROOT / "docs" / "kubernetes" / "values.yaml"
QUEUES = {*map(registry.queue_of, registry.SHIPPED), registry.NOTIFICATIONS_QUEUE}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, redis_server: str, rabbitmq_server: str) -> Iterator[Place]:
    """A corner of this machine's servers that nobody else uses."""
    require("PostgreSQL", port=5432)
    if not has_own_host_names():
        missing("`unshare --uts`, to give each worker a host name of its own")
    if not shutil.which("rabbitmqctl") or os.geteuid() != 0:
        missing("rabbitmqctl and root, to make a virtual host")
    with borrowed(tmp_path_factory.mktemp("compose"), redis_url=redis_server, rabbitmq_url=rabbitmq_server) as place:
        yield place


@pytest.fixture(scope="module")
def dotenv() -> str:
    """.env.example as a person fills it in."""
    return with_secrets()


@pytest.fixture(scope="module")
def on_redis(dotenv: str) -> dict[str, Service]:
    return read(read_env(dotenv), own_files(sandbox=True))


@pytest.fixture(scope="module")
def on_rabbitmq(dotenv: str) -> dict[str, Service]:
    """With the one line of .env that .env.example offers for it."""
    other_line = dotenv.replace("\nBROKER_URL", "\n# BROKER_URL").replace("# BROKER_URL=amqp", "BROKER_URL=amqp")
    return read(read_env(other_line), own_files(sandbox=True))


@pytest.fixture(scope="module")
def containers(on_redis: dict[str, Service], place: Place) -> Iterator[Containers]:
    """What is there whatever the workers are: the databases, the API, the DAGs, the stand-ins of the services."""
    with Containers(on_redis, place) as running:
        running.up("api-server", "sandbox", "dag-processor", "triggerer")
        yield running


@pytest.fixture(scope="module")
def api(containers: Containers, dotenv: str, place: Place) -> Api:
    """Airflow's API as the user `sender`."""
    containers.until(lambda: containers.health("api-server")["api-server"])
    return Api.log_in(place.api_url, user="sender", password=read_env(dotenv)["SENDER_PASSWORD"])


@pytest.fixture
def queues(containers: Containers, on_redis: dict[str, Service], api: Api) -> dict[str, str]:
    """The profile `queues` on Redis, as `docker compose --profile queues up`; queue → its worker."""
    workers = {service.queues[0]: name for name, service in on_redis.items() if service.profiles == ["queues"]}
    serve(containers, on_redis, *workers.values())
    containers.until(lambda: api.is_unpaused("send_lead"))
    return workers


@pytest.fixture
def one_worker(containers: Containers, on_rabbitmq: dict[str, Service], api: Api) -> str:
    """One worker for all queues, on RabbitMQ; its name."""
    serve(containers, on_rabbitmq, "worker")
    containers.until(lambda: api.is_unpaused("send_lead"))
    return "worker"


def serve(containers: Containers, services: dict[str, Service], *workers: str) -> None:
    """Scheduler and workers as these services say; those on another broker are stopped first."""
    if containers.services is not services:
        others = [name for name in containers.running if name == "scheduler" or containers.services[name].queues]
        containers.stop(*others)
        containers.services = services
    containers.up("scheduler", *workers)


def send(api: Api, *kinds: str) -> str:
    """Sends a lead by the REST door; returns where the batch is."""
    body = {
        "lead_id": 123,
        "lead": {"name": "Анна Пример", "phone": "+79990000001", "email": "anna@example.com"},
        "integrations": [{"type": kind} for kind in kinds],
        "credentials": {"email": {"emails": ["sales@example.com"]}} if "email" in kinds else {},
    }
    return str(api.call("POST", "/api/integrations/send-batch", json=body)["links"]["self"])


def states(batch: dict[str, Any]) -> dict[str, str]:
    return {delivery["type"]: delivery["state"] for delivery in batch["deliveries"]}


def task_instances(api: Api, batch: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By task, those that need a worker."""
    path = f"/api/v2/dags/send_lead/dagRuns/{batch['run_id']}/taskInstances?limit=100"
    return {item["task_id"]: item for item in api.call("GET", path)["task_instances"] if item["queue"] in QUEUES}


def ended(api: Api, where: str) -> dict[str, Any] | None:
    """The batch, once it has a final status and its run is over."""
    batch = final(api.call("GET", where))
    if batch is None:
        return None
    run = api.call("GET", f"/api/v2/dags/send_lead/dagRuns/{batch['run_id']}")
    return batch if run["state"] in ("success", "failed") else None


def received(place: Place) -> dict[str, int]:
    """How many calls each stand-in has carried out."""
    counts = {}
    for name in ServiceName:
        entries = place.sandbox("GET", f"/received/{name}").json()
        counts[str(name)] = len([entry for entry in entries if entry["executed"]])
    return counts


def test_each_delivery_of_a_batch_of_five_runs_at_the_worker_of_its_queue(
    queues: dict[str, str], containers: Containers, api: Api, place: Place
) -> None:
    assert queues.keys() == QUEUES
    where = send(api, *registry.SHIPPED)
    batch = containers.until(lambda: ended(api, where))
    assert states(batch) == dict.fromkeys(registry.SHIPPED, "delivered")
    assert batch["status"] == "completed"
    assert all(count > 0 for count in received(place).values())
    ran = {task: (item["queue"], item["hostname"]) for task, item in task_instances(api, batch).items() if item["pid"]}
    for kind in registry.SHIPPED:
        queue = registry.queue_of(kind)
        assert ran[f"deliver_{kind}"] == (queue, queues[queue])
    for task in ("plan", "settle"):
        assert ran[task] == ("notifications", queues["notifications"])


def test_without_its_worker_a_queue_waits_while_the_others_flow_and_catches_up(
    queues: dict[str, str], containers: Containers, api: Api, place: Place
) -> None:
    worker = queues[registry.queue_of("amocrm")]
    assert containers.stop(worker) == {worker: 0}
    where = send(api, *registry.SHIPPED)
    others = {kind: "delivered" for kind in registry.SHIPPED if kind != "amocrm"}
    batch = containers.until(lambda: but_for_amocrm(api.call("GET", where), others))
    assert (batch["status"], states(batch)["amocrm"]) == ("processing", "pending")
    assert task_instances(api, batch)["deliver_amocrm"]["state"] == "queued"
    assert wanted_on_kubernetes(place)["integration-amocrm"] == 1
    containers.up(worker)
    batch = containers.until(lambda: ended(api, where))
    assert (batch["status"], states(batch)["amocrm"]) == ("completed", "delivered")
    assert task_instances(api, batch)["deliver_amocrm"]["hostname"] == worker
    assert wanted_on_kubernetes(place)["integration-amocrm"] == 0


def wanted_on_kubernetes(place: Place) -> dict[str, int]:
    """How many workers the queries of docs/kubernetes/values.yaml want for each queue now."""
    sets = yaml.safe_load(KUBERNETES.read_text(encoding="utf-8"))["workers"]["celery"]["sets"]
    engine = create_engine(POSTGRES.set(database=place.airflow_database))
    with engine.connect() as connection:
        wanted = {item["queue"]: int(connection.scalar(text(item["keda"]["query"])) or 0) for item in sets}
    engine.dispose()
    return wanted


def but_for_amocrm(batch: dict[str, Any], others: dict[str, str]) -> dict[str, Any] | None:
    return batch if others.items() <= states(batch).items() else None


def test_a_worker_that_is_told_to_stop_finishes_what_it_is_sending(
    queues: dict[str, str], containers: Containers, api: Api, place: Place
) -> None:
    worker = queues[registry.queue_of("telegram")]
    before = received(place)["telegram"]
    fault = {"service": "telegram", "kind": "slow", "delay_s": 4}
    place.sandbox("POST", "/faults", json=fault)
    where = send(api, "telegram")
    containers.until(lambda: states(api.call("GET", where)) == {"telegram": "sending"})
    assert containers.stop(worker) == {worker: 0}
    batch = containers.until(lambda: ended(api, where))
    (delivery,) = batch["deliveries"]
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)
    assert received(place)["telegram"] == before + 1


def test_every_health_check_passes(queues: dict[str, str], containers: Containers) -> None:
    # the workers' differ in nothing but the host name (tests/unit/test_compose.py), and each takes seconds
    left_out = {worker for queue, worker in queues.items() if queue != registry.NOTIFICATIONS_QUEUE}
    checked = [name for name in containers.running if name not in left_out]
    assert len(checked) == 6
    assert containers.health(*checked) == dict.fromkeys(checked, True)


def test_one_worker_serves_all_queues_over_rabbitmq(one_worker: str, containers: Containers, api: Api) -> None:
    assert set(containers.services[one_worker].queues) == QUEUES
    where = send(api, *registry.SHIPPED)
    batch = containers.until(lambda: ended(api, where))
    assert states(batch) == dict.fromkeys(registry.SHIPPED, "delivered")
    hosts = {item["hostname"] for item in task_instances(api, batch).values() if item["pid"]}
    assert hosts == {one_worker}
    assert containers.health(one_worker) == {one_worker: True}
