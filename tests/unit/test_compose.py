"""docker-compose.yaml: who listens to which queue, what is published, and where secrets come from."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from leadcast.core.settings import Settings
from leadcast.integrations import registry

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
QUEUES = {*map(registry.queue_of, registry.SHIPPED), registry.NOTIFICATIONS_QUEUE}

SECRET_NAME = re.compile(r"PASSWORD|SECRET|_KEY|FERNET|AUTH$|TOKEN")
HOLDS_A_SECRET = {"SQL_ALCHEMY_CONN", "STORE_URL", "BROKER_URL", "RESULT_BACKEND"}
NO_SECRET = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}


def with_environment(prefix: str) -> dict[str, dict[str, Any]]:
    return {
        name: service
        for name, service in SERVICES.items()
        if any(key.startswith(prefix) for key in service.get("environment", {}))
    }


def words(service: dict[str, Any]) -> list[str]:
    """The service's command as Airflow's own command line gets it; empty: it does not run Airflow."""
    command = service.get("command", "")
    text = command if isinstance(command, str) else command[-1].strip().splitlines()[-1].removeprefix("exec ")
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return shlex.split(text)[1:] if text.startswith("airflow ") else []


def queues_of(service: dict[str, Any]) -> list[str]:
    listed = words(service)
    return listed[listed.index("--queues") + 1].split(",") if listed[:2] == ["celery", "worker"] else []


def test_one_worker_listens_to_all_queues_by_default() -> None:
    workers = {name: queues_of(item) for name, item in SERVICES.items() if queues_of(item) and "profiles" not in item}
    assert {name: set(queues) for name, queues in workers.items()} == {"worker": QUEUES}


def test_each_queue_has_a_worker_of_its_own_in_the_profile_queues() -> None:
    workers = [queues_of(item) for item in SERVICES.values() if item.get("profiles") == ["queues"]]
    assert sorted(workers) == [[queue] for queue in sorted(QUEUES)]


def test_every_task_that_needs_a_worker_goes_into_a_queue_that_one_listens_to() -> None:
    from leadcast.engine.dags import send_lead_dag, sweep_dag

    tasks = [task for dag in (send_lead_dag(Settings()), sweep_dag()) for task in dag.tasks]
    # the scheduler itself marks the empty ones, which stay in Airflow's queue `default`
    assert {task.queue for task in tasks if not task.inherits_from_empty_operator} == QUEUES


def test_all_workers_differ_in_their_command_only() -> None:
    def rest(service: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in service.items() if key not in ("command", "profiles")}

    workers = [rest(item) for item in SERVICES.values() if queues_of(item)]
    assert all(worker == workers[0] for worker in workers)


def test_only_the_api_server_is_published_and_on_loopback_unless_told_otherwise() -> None:
    published = {name: item["ports"] for name, item in SERVICES.items() if "ports" in item}
    assert published == {"api-server": ["${LEADCAST_BIND:-127.0.0.1}:${LEADCAST_PORT:-8080}:8080"]}
    assert not any(item.get("network_mode") == "host" for item in SERVICES.values())
    assert "LEADCAST_BIND=127.0.0.1" in EXAMPLE.splitlines()


def test_no_secret_is_written_down() -> None:
    found = 0
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            is_secret = SECRET_NAME.search(name) or name.rpartition("__")[2] in HOLDS_A_SECRET
            if not is_secret or name in NO_SECRET:
                continue
            found += 1
            variable = re.search(r"\$\{(\w+)(?::\?[^}]*)?\}", value)
            assert variable, f"{name} holds no variable: its secret is written down, or has a default"
            assert f"{variable[1]}=" in EXAMPLE.splitlines(), f"{variable[1]} has a value in .env.example"
    assert found > 50


def test_every_secret_is_required_with_a_word_on_what_to_do() -> None:
    secrets = {line.removesuffix("=") for line in EXAMPLE.splitlines() if re.fullmatch(r"[A-Z_]+=", line)}
    required = dict(re.findall(r"\$\{(\w+):\?([^}]*)\}", TEXT))
    assert secrets - {"EXTRA_REQUIREMENTS"} == set(required)
    assert all(words_.startswith(f"set {name} in .env") for name, words_ in required.items())


def test_every_variable_is_explained_in_the_example() -> None:
    explained = set(re.findall(r"^(?:# )?([A-Z_]+)=", EXAMPLE, flags=re.MULTILINE))
    # $${…} is the container's own
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    assert used <= explained
    assert not re.findall(r"(?<!\$)\$\w", TEXT), "write ${NAME}, or $$NAME for the container's own"


def test_the_examples_settings_and_connections_are_real() -> None:
    listed = re.findall(r"^# AIRFLOW__LEADCAST__(\w+)=", EXAMPLE, flags=re.MULTILINE)
    assert listed
    assert {name.lower() for name in listed} <= set(Settings.model_fields)
    connections = set(re.findall(r"^# AIRFLOW_CONN_(\w+)=", EXAMPLE, flags=re.MULTILINE))
    assert connections == {registry.get(kind).conn_id().upper() for kind in registry.SHIPPED}


def test_every_service_that_stays_has_a_health_check_and_few_rights() -> None:
    for name, service in SERVICES.items():
        once = service["restart"] == "no"
        assert once or "healthcheck" in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "user" not in service, name
        # the official images of these two begin as root and give it up themselves
        assert name in ("postgres", "redis") or service["cap_drop"] == ["ALL"], name


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


def test_airflow_knows_every_option_that_is_set() -> None:
    from airflow.configuration import conf

    described = conf.configuration_description
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            if name.startswith("AIRFLOW__"):
                section, _, key = name.removeprefix("AIRFLOW__").lower().partition("__")
                assert key in described[section]["options"], name


def test_airflow_understands_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    from airflow.cli.cli_parser import get_parser

    commands = [words(service) for service in SERVICES.values() if words(service)]
    assert len(commands) == 4 + 7 + 1
    for command in commands:
        get_parser().parse_args(command)


def test_the_image_is_the_official_one_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "ARG AIRFLOW_IMAGE=apache/airflow:slim-3.3.2-python3.11" in lines
    assert "apache-airflow==3.3.2" in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
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
