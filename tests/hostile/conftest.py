"""What the tests of the API and of Airflow run against, for those that attack it; and an api-server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.airflow.conftest import environment, sandbox, sandbox_server, send_lead
from tests.api.conftest import anonymous, bell, client, serve
from tests.hostile.leaves_the_machine import record_in
from tests.support.api_server import ApiServer, api_server

__all__ = ["anonymous", "bell", "client", "environment", "sandbox", "sandbox_server", "send_lead", "serve"]


@pytest.fixture(scope="session")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AIRFLOW_HOME of `server`."""
    return tmp_path_factory.mktemp("api-server")


@pytest.fixture(scope="session")
def asked_for(server_home: Path) -> Path:
    """Where it is written down which hosts beyond this machine `server` has asked for."""
    return record_in(server_home / "site")


@pytest.fixture(scope="session")
def server(server_home: Path, asked_for: Path, postgres_url: str, fernet_key: str) -> Iterator[ApiServer]:
    """An api-server as it comes, which several modules attack one after the other (tests/support/lanes.py)."""
    with api_server(server_home, postgres_url=postgres_url, fernet_key=fernet_key) as running:
        yield running
