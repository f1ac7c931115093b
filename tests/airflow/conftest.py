"""Real DAG runs of `send_lead` in this process, against the real store and the sandbox."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, text

from leadcast.core.clock import utc_now
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.store.batches import bell
from leadcast.store.database import Store

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

ROOT = Path(__file__).parents[2]
BOT_TOKEN = "700:a-telegram-token-of-the-tests"


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    # the name is for the test of names that are rebound; the sandbox answers to those alone that it is told
    with Sandbox.start(ports=SandboxPorts.any_free(), names=["rebind.example"]) as running:
        yield running


@pytest.fixture
def sandbox(sandbox_server: Sandbox) -> Sandbox:
    """The sandbox, empty and without faults."""
    sandbox_server.reset()
    return sandbox_server


@pytest.fixture(scope="package")
def environment(postgres_url: str, fernet_key: str, sandbox_server: Sandbox) -> Iterator[None]:
    """What `make up` sets, as far as a run in one process needs it."""
    from leadcast.engine.settings import config

    values = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": fernet_key,
        "AIRFLOW__LEADCAST__STORE_URL": postgres_url,
        "AIRFLOW__LEADCAST__AMOCRM_BASE_URL": sandbox_server.amocrm_url,
        "AIRFLOW__LEADCAST__BITRIX24_BASE_URL": sandbox_server.bitrix24_url,
        "AIRFLOW__LEADCAST__TELEGRAM_BASE_URL": sandbox_server.telegram_url,
        "AIRFLOW__LEADCAST__ALLOWED_NETWORKS": "127.0.0.0/8",
        "AIRFLOW__LEADCAST__RETRY_DELAY_S": "0.1",
        "AIRFLOW__LEADCAST__NOTIFY_EMAILS": "sales@example.com",
        "AIRFLOW_CONN_SMTP_DEFAULT": (
            f"smtp://{sandbox_server.smtp_host}:{sandbox_server.smtp_port}"
            "/?disable_ssl=true&disable_tls=true&from_email=leadcast%40example.com"
        ),
    }
    os.environ.update(values)
    config.settings.cache_clear()
    config.store.cache_clear()
    yield
    for name in values:
        del os.environ[name]
    config.settings.cache_clear()
    config.store.cache_clear()


@pytest.fixture(scope="package")
def send_lead(environment: None) -> Any:
    """The DAG, serialised into Airflow's database (SQLite: one process, no server)."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.utils.db import initdb

    from leadcast.engine.seal import conf_guard

    conf_guard.watch()  # as the plugin does in Airflow's own processes
    initdb()
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]  # Airflow's
    bag = DagBag(str(ROOT / "dags"), bundle_path=ROOT / "dags", bundle_name="dags-folder")
    assert bag.import_errors == {}
    sync_bag_to_db(bag, bundle_name="dags-folder", bundle_version=None)
    return bag.dags["send_lead"]


@pytest.fixture
def run(send_lead: Any, store: Store) -> Callable[..., DagRun]:
    """Runs the DAG once, from start to end."""

    def run(conf: dict[str, Any] | None = None) -> DagRun:
        from airflow import settings

        with store.begin() as connection:  # `test` gives the run an id of its own: it is the one that was rung for
            bell.reset(connection, run_id=bell.waiting_run(connection) or "")
        try:
            ended: DagRun = send_lead.test(run_conf=conf or {}, logical_date=utc_now())
            return ended
        except Exception:
            assert settings.Session is not None
            settings.Session().rollback()  # `test` leaves it as it broke off
            raise

    return run


@pytest.fixture
def accept(store: Store, environment: None) -> Callable[..., Accepted]:
    """Puts a batch into the inbox, as the REST door does."""
    from leadcast.engine.settings import config

    def accept(*integrations: dict[str, Any], **more: Any) -> Accepted:
        body = {"lead_id": 123, "lead": {"name": "Анна"}, "integrations": list(integrations), **more}
        return Inbox(store, config.settings()).accept(body)

    return accept


class Server:
    """The store's database, which can be made to refuse everybody."""

    def __init__(self, url: str) -> None:
        self.name = url.rsplit("/", 1)[1].split("?")[0]
        self.admin = create_engine(url.replace(f"/{self.name}", "/postgres", 1), isolation_level="AUTOCOMMIT")

    def leaves(self) -> None:
        ends = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        with self.admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false"))
            connection.execute(ends, {"name": self.name})

    def is_back(self) -> None:
        with self.admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true"))


@pytest.fixture
def server(postgres_url: str) -> Iterator[Server]:
    server = Server(postgres_url)
    yield server
    server.is_back()
    server.admin.dispose()


@pytest.fixture(scope="package")
def dags(send_lead: Any) -> dict[str, Any]:
    """All DAGs by their ids."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"), bundle_path=ROOT / "dags", bundle_name="dags-folder")
    found: dict[str, Any] = bag.dags
    return found


@pytest.fixture
def sweep(dags: dict[str, Any]) -> Callable[[], DagRun]:
    return lambda: dags["sweep"].test(logical_date=utc_now())


def task_states(run: DagRun) -> dict[str, str]:
    """Task id, with its map index where it has one → state."""
    return {
        ti.task_id + (f"[{ti.map_index}]" if ti.map_index >= 0 else ""): str(ti.state)
        for ti in run.get_task_instances()
    }
