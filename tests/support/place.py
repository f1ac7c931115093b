"""Where the services of docker-compose.yaml run when they run on this machine, and all that is replaced for it."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import requests
from sqlalchemy import create_engine, text

from leadcast.sandbox.control_token import new_token
from tests.support.compose import ROOT
from tests.support.servers import POSTGRES
from tests.support.stack import free_port

_MARK = "taken-by-a-test"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where things are on this machine. Ports, in a row: api-server, the sandbox's six, scheduler, triggerer, workers;
    further schedulers from the end of the row.

    role, airflow_database, store_database, results_database: on the machine's PostgreSQL; the role stands for the
    superuser, and the databases' accounts are called as the databases. redis, rabbitmq: URLs on the machine's brokers.
    """

    folder: Path
    first_port: int
    role: str
    airflow_database: str
    store_database: str
    results_database: str
    redis: str
    rabbitmq: str
    sandbox_token: str = field(default_factory=new_token)

    @property
    def api_url(self) -> str:
        """Where the api-server answers."""
        return f"http://127.0.0.1:{self.first_port}"

    def sandbox(self, method: str, path: str, **more: Any) -> requests.Response:
        """A call of the sandbox's control service."""
        shown = {"Authorization": f"Bearer {self.sandbox_token}"}
        url = f"http://127.0.0.1:{self.first_port + 1}{path}"
        answer = requests.request(method, url, timeout=30, headers=shown, **more)
        answer.raise_for_status()
        return answer

    def stands_for(self, service: str, *, broker_password: str) -> dict[str, str]:
        """What is written in docker-compose.yaml or .env, and what stands for it here."""
        api, sandbox = (f"127.0.0.1:{self.first_port + offset}" for offset in (0, 1))
        return {
            # other containers, by host name: the machine's servers, where we have databases, a role and a corner
            f"redis://:{broker_password}@redis:6379/0": self.redis,
            f"amqp://leadcast:{broker_password}@rabbitmq:5672/leadcast": self.rabbitmq,
            "//airflow:": f"//{self.airflow_database}:",
            "//leadcast_store:": f"//{self.store_database}:",
            "//celery_results:": f"//{self.results_database}:",
            "@postgres/airflow": f"@127.0.0.1:5432/{self.airflow_database}",
            "@postgres/leadcast": f"@127.0.0.1:5432/{self.store_database}",
            "@postgres/celery_results": f"@127.0.0.1:5432/{self.results_database}",
            "made airflow airflow ": f"made {self.airflow_database} {self.airflow_database} ",
            "made leadcast leadcast_store ": f"made {self.store_database} {self.store_database} ",
            "made celery_results celery_results ": f"made {self.results_database} {self.results_database} ",
            "api-server:8080": api,
            **{f"sandbox:{8090 + i}": f"127.0.0.1:{self.first_port + 1 + i}" for i in range(5)},
            '"sandbox","port":8095': f'"127.0.0.1","port":{self.first_port + 6}',
            "172.16.0.0/12": "127.0.0.0/8",
            # ports that a container has to itself
            "--port 8080": f"--port {self.first_port}",
            "127.0.0.1:8080": api,
            "127.0.0.1:8090": sandbox,
            "127.0.0.1:8974": f"127.0.0.1:{self._health_port(service)}",
            # its file system
            "/opt/airflow": str(self.home(service)),
        }

    def environment(self, service: str, *, workers: list[str]) -> dict[str, str]:
        """What the image and Docker set, and the ports that docker-compose.yaml leaves at their defaults."""
        number = workers.index(service) if service in workers else 0
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home(service)),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW_HOME": str(self.home(service)),
            "HOSTNAME": service,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "LEADCAST_SANDBOX_TOKEN": self.sandbox_token,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self._health_port(service)),
            "AIRFLOW__LOGGING__TRIGGERER_LOG_SERVER_PORT": str(self.first_port + 8),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self.first_port + 9 + number),
            "PGHOST": "127.0.0.1",
            "PGUSER": self.role,
            "PGDATABASE": "postgres",
        }

    def _health_port(self, service: str) -> int:
        name, _, number = service.rpartition("-")
        return self.first_port + (20 - int(number) + 2 if name == "scheduler" else 7)

    def arguments(self, service: str) -> list[str]:
        """More arguments, where a port is neither in the file nor in the environment."""
        return ["--base-port", str(self.first_port + 1)] if service == "sandbox" else []

    def waiting_in_redis(self) -> int:
        """Messages that wait in our database of Redis for a worker, in all queues together."""
        with redis.Redis.from_url(self.redis) as client:
            lists = [key for key in client.scan_iter() if client.type(key) == b"list"]
            return sum(client.llen(key) for key in lists)

    def flush_redis(self) -> None:
        """Everything that our database of Redis holds is gone, as after a crash of one that keeps nothing on disk."""
        with redis.Redis.from_url(self.redis) as client, client.pipeline(transaction=True) as at_once:
            at_once.flushdb().set(_MARK, 1).execute()

    def home(self, service: str) -> Path:
        """What is /opt/airflow in the container: its own, but for the volume `logs`."""
        return self.folder / service

    def make_home(self, service: str) -> None:
        """A folder with what the Dockerfile copies into it, and the volume."""
        home, logs = self.home(service), self.folder / "logs"
        if home.exists():
            return
        home.mkdir()
        logs.mkdir(exist_ok=True)
        for name, target in {"dags": ROOT / "dags", "plugins": ROOT / "plugins", "logs": logs}.items():
            (home / name).symlink_to(target)


@contextmanager
def borrowed(folder: Path, *, redis_url: str, rabbitmq_url: str = "") -> Iterator[Place]:
    """A place of one's own on this machine's servers: a role, databases, a number of Redis, a virtual host of RabbitMQ.

    All of it is removed again. Without `rabbitmq_url`, RabbitMQ is not needed.
    """
    name = f"leadcast_compose_{secrets.token_hex(4)}"
    place = Place(
        folder=folder,
        first_port=free_port(),
        role=name,
        airflow_database=f"{name}_airflow",
        store_database=f"{name}_store",
        results_database=f"{name}_results",
        redis=f"{redis_url}/{_take_number(redis_url)}",
        rabbitmq=f"{rabbitmq_url}{name}",
    )
    with ExitStack() as undo:
        undo.callback(_empty, place.redis)
        if rabbitmq_url:
            undo.callback(_rabbitmq, "delete_vhost", name)
            _rabbitmq("add_vhost", name)
            _rabbitmq("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        databases = (place.airflow_database, place.store_database, place.results_database)
        for one in (name, *databases):
            undo.callback(_postgres, f"DROP ROLE IF EXISTS {one}")
        for one in databases:
            undo.callback(_postgres, f"DROP DATABASE IF EXISTS {one} WITH (FORCE)")
        # as the image makes them of POSTGRES_USER and POSTGRES_DB
        _postgres(f"CREATE ROLE {name} LOGIN SUPERUSER")
        _postgres(f"CREATE DATABASE {place.airflow_database} OWNER {name}")
        yield place


def _postgres(statement: str) -> None:
    engine = create_engine(POSTGRES, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _rabbitmq(*command: str) -> None:
    subprocess.run(["rabbitmqctl", "--quiet", *command], check=True, timeout=60, capture_output=True)


def _take_number(redis_url: str) -> int:
    """The highest database of this Redis that holds nothing. Our mark in it tells others that it is taken."""
    with redis.Redis.from_url(redis_url) as client:
        count = int(client.config_get("databases")["databases"])
    for number in reversed(range(count)):
        with redis.Redis.from_url(f"{redis_url}/{number}") as client:
            if not client.set(_MARK, 1, nx=True):
                continue
            if client.dbsize() == 1:
                return number
            client.delete(_MARK)
    raise AssertionError(f"none of the {count} databases of {redis_url} is empty")


def _empty(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
