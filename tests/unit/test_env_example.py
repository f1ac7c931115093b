""".env.example: every secret of docker-compose.yaml comes from there, none has a default, and each is explained."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from leadcast.core.settings import Settings
from leadcast.integrations import registry
from tests.support import compose

TEXT = compose.FILE.read_text(encoding="utf-8")
EXAMPLE = compose.EXAMPLE.read_text(encoding="utf-8")
FILLED_IN = compose.filled_in_example()
RUN = compose.read(compose.read_env(FILLED_IN))
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
SECRET_NAME = re.compile(r"PASSWORD|SECRET|_KEY|FERNET|AUTH$|TOKEN")
OWN = {name: compose.example_of(name) for name in compose.OWN_FILES}
HOLDS_A_SECRET = {"SQL_ALCHEMY_CONN", "STORE_URL", "BROKER_URL", "RESULT_BACKEND"}
# without a token the sandbox's control service lets nobody in
NO_SECRET = {"LEADCAST_SANDBOX_TOKEN", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}
SECRETS = set(re.findall(r"^([A-Z_]+)=$", EXAMPLE, flags=re.MULTILINE)) - {"EXTRA_REQUIREMENTS"}


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
            assert variable[1] in SECRETS | {"BROKER_URL"}, f"{variable[1]} has a value in .env.example"
    assert found > 40
    (url,) = re.findall(r"^BROKER_URL=(.*)", EXAMPLE, flags=re.MULTILINE)
    assert "${BROKER_PASSWORD}" in url


def test_without_a_secret_nothing_starts_and_compose_says_what_to_do() -> None:
    assert len(SECRETS) == 12
    for secret in SECRETS:
        with pytest.raises(LookupError, match=f"^set {secret} in .env"):
            compose.read({**compose.read_env(FILLED_IN), secret: ""})


def test_every_variable_is_explained_in_the_example() -> None:
    explained = set(re.findall(r"^(?:# )?([A-Z_0-9]+)=", EXAMPLE, flags=re.MULTILINE))
    # $${…} is the container's own
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    assert used <= explained
    assert not re.findall(r"(?<!\$)\$\w", TEXT), "write ${NAME}, or $$NAME for the container's own"


def test_the_examples_settings_and_connections_are_real() -> None:
    listed = re.findall(r"^# AIRFLOW__LEADCAST__(\w+)=", "".join(OWN.values()), flags=re.MULTILINE)
    assert listed
    assert {name.lower() for name in listed} <= set(Settings.model_fields)
    connections = set(re.findall(r"^# AIRFLOW_CONN_(\w+)=", OWN["connections.env"], flags=re.MULTILINE))
    assert connections == {registry.get(kind).conn_id().upper() for kind in registry.SHIPPED}

    assert "AIRFLOW_CONN" not in OWN["settings.env"]
    secret = {name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert not secret & {
        name.lower() for name in re.findall(r"^# AIRFLOW__LEADCAST__(\w+)=", OWN["settings.env"], re.M)
    }


def test_redis_is_the_broker_and_rabbitmq_takes_one_line_in_env() -> None:
    key = "AIRFLOW__CELERY__BROKER_URL"
    assert RUN["worker"].environment[key] == "redis://:filled-in@redis:6379/0"
    line = next(line for line in FILLED_IN.splitlines() if line.startswith("# BROKER_URL=amqp"))
    changed = compose.read(compose.read_env(f"{FILLED_IN}\n{line.removeprefix('# ')}"))
    assert changed["worker"].environment[key] == "amqp://leadcast:filled-in@rabbitmq:5672/leadcast"
    made = changed["rabbitmq"].environment
    assert [made[f"RABBITMQ_DEFAULT_{key}"] for key in ("USER", "PASS", "VHOST")] == [
        "leadcast",
        "filled-in",
        "leadcast",
    ]
