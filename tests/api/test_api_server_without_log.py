"""A real api-server whose log's disk is full: it goes on accepting leads, and says 500 of none that it has stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from leadcast.store.database import Store
from leadcast.store.schema import batches
from tests.api.conftest import BODY
from tests.support.api_server import api_server
from tests.support.small_disk import small_disk

pytestmark = [pytest.mark.system, pytest.mark.store]


def test_leads_are_accepted_while_no_log_can_be_written(
    store: Store, postgres_url: str, fernet_key: str, tmp_path: Path
) -> None:
    home, logs = tmp_path / "home", tmp_path / "logs"
    home.mkdir()
    logs.mkdir()
    log = home / "api-server.log"
    log.symlink_to(logs / "api-server.log")
    with (
        small_disk(logs, size_mb=4) as disk,
        api_server(home, postgres_url=postgres_url, fernet_key=fernet_key) as server,
    ):
        disk.fill()
        # the log's own last page takes some lines more
        answers = [server.call("POST", "/api/integrations/send-batch", json=BODY) for _ in range(40)]
        written = log.read_text()
    assert [answer.status_code for answer in answers] == [202] * 40
    accepted = [answer.json()["batch_id"] for answer in answers]
    assert accepted[-1] not in written
    with store.begin() as connection:
        assert set(connection.execute(select(batches.c.id)).scalars()) == set(accepted)
