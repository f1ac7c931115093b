"""The environment that every program of the stack runs in: Airflow's settings, Leadcast's, the connections.

One pure function. What the user's own environment sets already stays as it is. Where a value is not Airflow's default,
the reason stands beside it; the measurements behind them are in docs/benchmarks.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from urllib.parse import quote

from leadcast.client.loopback import loopback_url
from leadcast.engine.setup import executor_check
from leadcast.local.home import Home
from leadcast.local.keys import USERS, Keys
from leadcast.local.ports import Ports

# Marks the stack's own processes, so that `leadcast down` finds them after anything. See `processes`.
MARK = "LEADCAST_STACK"

POSTGRES_USER = "leadcast"
AIRFLOW_DATABASE = "airflow"
STORE_DATABASE = "leadcast"


def stack_environment(inherited: Mapping[str, str], *, home: Home, ports: Ports, keys: Keys) -> dict[str, str]:
    """The inherited environment with the stack's settings added where it does not set them itself."""
    defaults = {
        **_airflow_settings(home, ports, keys),
        **_leadcast_settings(ports, keys),
        **_connections(ports, keys),
    }
    added = {name: value for name, value in defaults.items() if not _is_set(name, inherited)}
    environment = {**inherited, **added, **_always(inherited, home)}
    # With it, each of Airflow's processes compiles a thousand modules anew: a start takes 40 s instead of 20.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def _is_set(name: str, inherited: Mapping[str, str]) -> bool:
    # Airflow reads a setting from NAME, from the command in NAME_CMD, or from the secrets backend entry in NAME_SECRET.
    return any(candidate in inherited for candidate in (name, f"{name}_CMD", f"{name}_SECRET"))


def _always(inherited: Mapping[str, str], home: Home) -> dict[str, str]:
    include = str(home.project / "include")
    paths = [include, *(path for path in inherited.get("PYTHONPATH", "").split(os.pathsep) if path and path != include)]
    return {
        # Somebody else's AIRFLOW_HOME would bring somebody else's airflow.cfg.
        "AIRFLOW_HOME": str(home.airflow),
        "LEADCAST_HOME": str(home.root),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }


def _at_once() -> int:
    return max(8, 4 * (os.cpu_count() or 2))


def _airflow_settings(home: Home, ports: Ports, keys: Keys) -> dict[str, str]:
    settings = {
        ("core", "dags_folder"): str(home.project / "dags"),
        ("core", "plugins_folder"): str(home.project / "plugins"),
        ("core", "load_examples"): "False",
        ("core", "dags_are_paused_at_creation"): "False",
        # Airflow's LocalExecutor, and what its worker took and died with is queued again.
        ("core", "executor"): executor_check.OURS,
        # About four per core: a task that has ended holds its slot for another second. Many more only make the tasks
        # wait for each other.
        ("core", "parallelism"): str(_at_once()),
        ("core", "fernet_key"): keys.fernet.get_secret_value(),
        # The default asks the DNS for a full name, which hangs on machines without one.
        ("core", "hostname_callable"): "socket.gethostname",
        ("core", "execution_api_server_url"): f"{ports.api_url}/execution/",
        # The Test button of the connection form. Off by default, since it lets whoever edits connections make the
        # api-server call any address; here that is one person on their own machine.
        ("core", "test_connection"): "Enabled",
        ("core", "simple_auth_manager_users"): ",".join(f"{user}:{user}" for user in USERS),
        ("core", "simple_auth_manager_passwords_file"): str(home.passwords_file),
        ("api", "base_url"): ports.api_url,
        ("api", "host"): "127.0.0.1",
        ("api", "port"): str(ports.api),
        ("api", "workers"): "1",
        ("api", "secret_key"): keys.api_secret.get_secret_value(),
        ("api_auth", "jwt_secret"): keys.jwt.get_secret_value(),
        ("database", "sql_alchemy_conn"): _database_url(AIRFLOW_DATABASE, ports, keys),
        # `up` migrates by itself, and the api-server starts meanwhile.
        ("database", "check_migrations"): "False",
        # 40 threads serve the API: with fewer connections they wait for each other until requests fail after 30 s.
        ("database", "sql_alchemy_pool_size"): "40",
        ("database", "sql_alchemy_max_overflow"): "5",
        # Each step between two tasks takes this long; the default is 1 s.
        ("scheduler", "scheduler_idle_sleep_time"): "0.2",
        # A finished task's slot is held up to this long, and its failure is not reported before; the default is 5 s.
        ("workers", "min_heartbeat_interval"): "1",
        # These make up for deaths within a minute; by default it takes five and more (docs/reliability.md).
        # A supervised task gives a sign each second (above), so one that is silent for so long is dead. The api-server,
        # which takes the signs, needs 10-30 s for a restart: a shorter time-out would make its death that of all tasks.
        ("scheduler", "task_instance_heartbeat_timeout"): "45",
        ("scheduler", "task_instance_heartbeat_timeout_detection_interval"): "5",
        # How often a scheduler looks for tasks of one that died. That counts as dead after 30 s without a beat
        # (scheduler_health_check_threshold). That stays: a loaded scheduler may be slow, and would reset its own tasks.
        ("scheduler", "orphaned_tasks_check_interval"): "10",
        # A task that a worker took and did not begin is queued again, as often as it takes. Tasks do not wait in that
        # state here: the scheduler hands out what it has slots for. The time is also that for which a task's token is
        # good before it begins, to which the leeway adds: a loaded machine may be slow.
        ("scheduler", "task_queued_timeout"): "45",
        ("scheduler", "task_queued_timeout_check_interval"): "5",
        ("scheduler", "num_stuck_in_queued_retries"): "10000000",
        ("api_auth", "jwt_leeway"): "60",
        # What a task asks of an api-server that restarts is asked for a minute, every 5 s, not for 31 s in growing
        # steps: a task that could not report its start counts as failed, and uses up a try without having begun.
        ("workers", "execution_api_retries"): "15",
        ("workers", "execution_api_retry_wait_max"): "5",
        ("dag_processor", "refresh_interval"): "10",
        ("dag_processor", "min_file_process_interval"): "10",
        ("dag_processor", "bundle_refresh_check_interval"): "1",
        ("logging", "base_log_folder"): str(home.logs / "tasks"),
        ("logging", "dag_processor_child_process_log_directory"): str(home.logs / "dag-files"),
    }
    return {_variable(section, key): value for (section, key), value in settings.items()}


def _leadcast_settings(ports: Ports, keys: Keys) -> dict[str, str]:
    settings = {
        # Less than half of what runs at once: an integration that is slow leaves room for the others.
        "pool_slots": str((_at_once() - 1) // 2),
        "store_url": _database_url(STORE_DATABASE, ports, keys),
        "amocrm_base_url": loopback_url(ports.sandbox.amocrm),
        "bitrix24_base_url": loopback_url(ports.sandbox.bitrix24),
        "telegram_base_url": loopback_url(ports.sandbox.telegram),
        # Opens loopback, where the sandbox listens.
        "allowed_networks": "127.0.0.0/8",
        "notify_emails": "sales@example.com",
        "notify_from": "leadcast@example.com",
        "api_url": ports.api_url,
    }
    return {_variable("leadcast", key): value for key, value in settings.items()}


def _connections(ports: Ports, keys: Keys) -> dict[str, str]:
    connections: dict[str, dict[str, object]] = {
        "smtp_default": {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": ports.sandbox.smtp,
            # The sandbox's mail server speaks neither, and Airflow's hook insists on one unless told.
            "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "leadcast@example.com"},
        },
        "leadcast_amocrm": {
            "conn_type": "amocrm",
            "host": loopback_url(ports.sandbox.amocrm),
            "password": keys.amocrm.get_secret_value(),
        },
        "leadcast_bitrix24": {
            "conn_type": "bitrix24",
            "host": f"{loopback_url(ports.sandbox.bitrix24)}/rest/1/{keys.bitrix24.get_secret_value()}/",
        },
        "leadcast_telegram": {
            "conn_type": "telegram",
            "password": keys.telegram.get_secret_value(),
            "host": "@notifications",
        },
        "leadcast_webhook": {
            "conn_type": "http",
            "host": loopback_url(ports.sandbox.webhook),
            "password": keys.webhook.get_secret_value(),
        },
        # As whom the DAG `prune` deletes old runs: a user who may send may do that, too.
        "leadcast_airflow": {
            "conn_type": "http",
            "host": ports.api_url,
            "login": "user",
            "password": keys.users["user"].get_secret_value(),
        },
    }
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()}


def _variable(section: str, key: str) -> str:
    return f"AIRFLOW__{section.upper()}__{key.upper()}"


def _database_url(database: str, ports: Ports, keys: Keys) -> str:
    password = quote(keys.postgres_user.get_secret_value(), safe="")
    return f"postgresql+psycopg2://{POSTGRES_USER}:{password}@127.0.0.1:{ports.postgres}/{database}"
