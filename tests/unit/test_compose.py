"""docker-compose.yaml: who listens to which queue, what is published, what is checked and what is allowed.

That its services do their work is shown by tests/installs/test_compose.py.
"""

from __future__ import annotations

import importlib.resources
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from leadcast.core.settings import Settings
from leadcast.integrations import registry
from tests.support import compose
from tests.support.servers import missing

ROOT = Path(__file__).parents[2]
TEXT = compose.FILE.read_text(encoding="utf-8")
FILLED_IN = compose.filled_in_example()
RUN = compose.read(compose.read_env(FILLED_IN))
"""The services as they run, with every variable of .env.example."""
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
QUEUES = {*map(registry.queue_of, registry.SHIPPED), registry.NOTIFICATIONS_QUEUE}

BEGIN_AS_ROOT = {"postgres", "redis", "rabbitmq"}
"""Official images that give root up themselves."""


def with_environment(prefix: str) -> dict[str, dict[str, Any]]:
    return {
        name: service
        for name, service in SERVICES.items()
        if any(key.startswith(prefix) for key in service.get("environment", {}))
    }


def words(service: compose.Service) -> list[str]:
    """The command as Airflow's own command line gets it; empty: it does not run Airflow."""
    last = " ".join(service.command[-1].strip().splitlines()[-1:]) if service.command[:1] == ["bash"] else ""
    listed = last.removeprefix("exec ").split() or service.command
    return listed[1:] if listed[:1] == ["airflow"] and "&&" not in listed else []


def test_compose_accepts_the_file_by_its_public_schema() -> None:
    # https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json, as check-jsonschema brings it
    schemas = importlib.resources.files("check_jsonschema.builtin_schemas")
    schema = json.loads(schemas.joinpath("vendor/compose-spec.json").read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(schema).iter_errors(yaml.safe_load(TEXT)))


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The services as Debian's docker-compose understands them."""
    if not shutil.which("docker-compose"):
        missing("docker-compose (Debian: apt-get install docker-compose)")
    folder = tmp_path_factory.mktemp("compose")
    (folder / "docker-compose.yaml").write_text(TEXT, encoding="utf-8")
    (folder / ".env").write_text(FILLED_IN, encoding="utf-8")
    for name, text in compose.own_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["docker-compose", "config"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


def test_debians_docker_compose_accepts_the_file(composed: dict[str, Any]) -> None:
    assert composed.keys() == SERVICES.keys()


def test_what_the_system_test_runs_is_what_docker_compose_would_run(composed: dict[str, Any]) -> None:
    for name, service in RUN.items():
        told = composed[name]
        assert {key: str(value) for key, value in told.get("environment", {}).items()} == service.environment
        assert {other: rule["condition"] for other, rule in told.get("depends_on", {}).items()} == service.depends_on
        # `config` writes $$ for the $ that the container gets
        command = [*compose.words(told.get("entrypoint", [])), *compose.words(told.get("command", []))]
        assert [word.replace("$$", "$") for word in command] == service.command


def test_one_worker_listens_to_all_queues_by_default() -> None:
    workers = {name: item.queues for name, item in RUN.items() if item.queues and not item.profiles}
    assert {name: set(queues) for name, queues in workers.items()} == {"worker": QUEUES}


def test_each_queue_has_a_worker_of_its_own_in_the_profile_queues() -> None:
    workers = [item.queues for item in RUN.values() if item.profiles == ["queues"]]
    assert sorted(workers) == [[queue] for queue in sorted(QUEUES)]


def test_each_queues_worker_has_a_concurrency_of_its_own_in_env() -> None:
    for name, before in RUN.items():
        if before.profiles == ["queues"]:
            variable = f"LEADCAST_CONCURRENCY_{name.removeprefix('worker-').upper()}"
            after = compose.read(compose.read_env(FILLED_IN) | {variable: "37"})
            assert after[name].command[4] == "37"
            assert [other for other in RUN if after[other].command != RUN[other].command] == [name]


def test_every_task_that_needs_a_worker_goes_into_a_queue_that_one_listens_to() -> None:
    from leadcast.engine.dags.retry_leads import retry_leads_dag
    from leadcast.engine.dags.send_lead import send_lead_dag
    from leadcast.engine.dags.sweep import sweep_dag

    tasks = [task for dag in (send_lead_dag(Settings()), sweep_dag(), retry_leads_dag()) for task in dag.tasks]
    # the scheduler itself marks the empty ones, which stay in Airflow's queue `default`
    # who works here may have an integration of his own installed
    own = {registry.queue_of(kind) for kind in registry.types() if kind not in registry.SHIPPED}
    assert {task.queue for task in tasks if not task.inherits_from_empty_operator} - own == QUEUES


def test_all_workers_differ_in_their_command_and_in_who_may_prune() -> None:
    def rest(service: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in service.items() if key not in ("command", "profiles")}
        given = {key: value for key, value in kept["environment"].items() if key != "AIRFLOW_CONN_LEADCAST_AIRFLOW"}
        return kept | {"environment": given}

    workers = [rest(SERVICES[name]) for name, item in RUN.items() if item.queues]
    assert len(workers) == len(QUEUES) + 1
    assert all(worker == workers[0] for worker in workers)
    prune = {name for name, item in RUN.items() if "AIRFLOW_CONN_LEADCAST_AIRFLOW" in item.environment}
    assert prune == {name for name, item in RUN.items() if registry.NOTIFICATIONS_QUEUE in item.queues}


def test_every_image_is_pinned_to_the_last_digit() -> None:
    ours = "${LEADCAST_IMAGE:-leadcast:0.1.0}"
    for name, service in SERVICES.items():
        if name == "sandbox":  # no production runs it
            assert (service["image"], service["build"]["target"]) == (f"{ours}-sandbox", "sandbox")
            continue
        assert service["image"] == ours or re.search(r":\d+\.\d+(\.\d+)?$", service["image"]), name
        assert service["image"] == ours or name in {*BEGIN_AS_ROOT, "databases"}


def test_what_runs_in_production_is_built_without_the_sandbox() -> None:
    stages = (ROOT / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")[1:]
    names = [stage.partition("\n")[0] for stage in stages]
    assert names == ["${AIRFLOW_IMAGE} AS build", "${AIRFLOW_IMAGE} AS leadcast", "leadcast AS sandbox", "leadcast"]
    local = ["requirements-local.txt" in stage or "/tmp/local/" in stage for stage in stages]
    assert local == [False, False, True, False]
    assert "target" not in SERVICES["worker"]["build"]


def test_only_the_api_server_is_published_and_on_loopback_unless_told_otherwise() -> None:
    published = {name: item["ports"] for name, item in SERVICES.items() if "ports" in item}
    assert published == {"api-server": ["${LEADCAST_BIND:-127.0.0.1}:${LEADCAST_PORT:-8080}:8080"]}
    assert not any(item.get("network_mode") == "host" for item in SERVICES.values())
    assert "LEADCAST_BIND=127.0.0.1" in FILLED_IN.splitlines()


def test_every_service_that_stays_has_a_health_check_and_one_that_ends_is_waited_for() -> None:
    # the exit code is the health of what ends: whoever needs it starts only after a 0
    once = {name for name, service in SERVICES.items() if service["restart"] != "unless-stopped"}
    assert once == {"databases", "init"}
    assert {name for name, service in RUN.items() if not service.health_check} == once
    for name in once:
        conditions = {service.depends_on[name] for service in RUN.values() if name in service.depends_on}
        assert conditions == {"service_completed_successfully"}, name


def test_no_service_has_more_rights_than_it_needs() -> None:
    for name, service in SERVICES.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "user" not in service, name
        assert "privileged" not in service, name
        assert name in BEGIN_AS_ROOT or service["cap_drop"] == ["ALL"], name


def test_nothing_starts_before_the_tables_and_pools_are_there() -> None:
    for name, service in with_environment("AIRFLOW__CORE").items():
        if name != "init":
            assert service["depends_on"]["init"] == {"condition": "service_completed_successfully"}, name
    assert "leadcast init" in SERVICES["init"]["command"]


def test_the_api_server_has_a_connection_for_each_of_its_threads() -> None:
    environment = SERVICES["api-server"]["environment"]
    size, more = (environment[f"AIRFLOW__DATABASE__SQL_ALCHEMY_{key}"] for key in ("POOL_SIZE", "MAX_OVERFLOW"))
    assert int(size) + int(more) >= 40


def test_a_worker_may_finish_what_it_sends_before_it_is_stopped() -> None:
    grace = SERVICES["worker"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) >= Settings().timeout_s + 30


def test_the_broker_waits_longer_than_any_task_may_take() -> None:
    key = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"
    longest = next(rule.le for rule in Settings.model_fields["timeout_s"].metadata if hasattr(rule, "le"))
    assert int(SERVICES["worker"]["environment"][key]) > longest + 30
    (timeout_ms,) = re.findall(r"consumer_timeout (\d+)", json.dumps(SERVICES["rabbitmq"]))
    assert int(timeout_ms) > (longest + 30) * 1000


def test_airflow_knows_every_option_that_is_set() -> None:
    from airflow.configuration import conf

    described = conf.configuration_description
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            if name.startswith("AIRFLOW__"):
                section, _, key = name.removeprefix("AIRFLOW__").lower().partition("__")
                assert key in described[section]["options"] or (section, key) in compose.NOT_DESCRIBED, name


def test_airflow_reads_the_options_that_it_does_not_describe() -> None:
    from airflow.jobs import scheduler_job_runner

    source = inspect.getsource(scheduler_job_runner.SchedulerJobRunner.__init__)
    assert {("scheduler", key) for key in re.findall(r'key="(num_\w+)"', source)} == compose.NOT_DESCRIBED


def test_a_message_in_the_broker_is_dropped_when_its_token_is_no_good_any_more() -> None:
    given = RUN["scheduler"].environment
    handed_out_again_s = int(given["AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT"])
    expires_s = handed_out_again_s + int(given["AIRFLOW__API_AUTH__JWT_LEEWAY"])
    celery = json.loads(given["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"])
    assert celery["task_annotations"] == {"execute_workload": {"expires": expires_s}}
    # before that the scheduler must have given it up: it takes a dropped message of its own for a failure
    assert handed_out_again_s + int(given["AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL"]) < expires_s


def test_a_worker_loads_before_its_first_task_what_tasks_need() -> None:
    celery = json.loads(RUN["worker"].environment["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"])
    (module,) = celery["imports"]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; assert 'leadcast.flow.deliver.deliverer' in sys.modules"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "include")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_dies_is_noticed_within_a_minute() -> None:
    from airflow.configuration import conf

    def set_to(key: str) -> float:
        return float(
            RUN["scheduler"].environment.get(f"AIRFLOW__SCHEDULER__{key.upper()}") or conf.get("scheduler", key)
        )

    pause_s = Settings().retry_delay_s
    assert set_to("task_queued_timeout") + set_to("task_queued_timeout_check_interval") < 60
    task_s = set_to("task_instance_heartbeat_timeout") + set_to("task_instance_heartbeat_timeout_detection_interval")
    assert task_s + pause_s <= 60
    assert set_to("scheduler_health_check_threshold") + set_to("orphaned_tasks_check_interval") < 60


def test_airflow_understands_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    from airflow.cli.cli_parser import get_parser

    commands = [words(service) for service in RUN.values() if words(service)]
    assert len(commands) == 4 + 7 + 1
    for command in commands:
        get_parser().parse_args(command)


def test_the_image_is_the_official_one_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "ARG AIRFLOW_IMAGE=apache/airflow:slim-3.3.2-python3.11" in lines
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert "apache-airflow==3.3.2 \\" in pinned
    assert any(line.startswith("apache-airflow-providers-celery==") for line in pinned)
    assert [line for line in lines if line.startswith("USER ")] == ["USER airflow"]


def test_no_secret_and_no_state_gets_into_the_image() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[1] == "*"
    copied: set[str] = set()
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY") and "--from" not in line:
            copied.update(word for word in line.split()[1:-1] if not word.startswith("--"))
    assert copied == kept
