"""`leadcast rotate-keys`: the store and the runs that Airflow keeps, by the command that people use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import delete, select
from typer.testing import CliRunner

from leadcast.cli import app
from leadcast.core.clock import utc_now
from leadcast.inbox import Accepted
from leadcast.store.database import Store
from leadcast.store.sealing import Sealer

pytestmark = [pytest.mark.airflow, pytest.mark.store]
CONF = {
    "lead_id": 123,
    "lead": {"name": "Анна"},
    "integrations": [{"type": "telegram"}],
    "credentials": {"telegram": {"bot_token": "700:a-token", "chat_id": "@sales"}},
}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets `[leadcast] fernet_key`, as a restart with another one would."""
    from leadcast.engine import config

    def keys(listed: str) -> None:
        monkeypatch.setenv("AIRFLOW__LEADCAST__FERNET_KEY", listed)
        config.settings.cache_clear()
        config.store.cache_clear()

    yield keys
    config.settings.cache_clear()
    config.store.cache_clear()


@pytest.fixture
def run_id(send_lead: Any, store: Store) -> Iterator[str]:
    """A run of send_lead with credentials, as Airflow's own door stores it: sealed."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        now = utc_now()
        session.add(
            DagRun(dag_id="send_lead", run_id="rotated", run_type="manual", state="success", run_after=now, conf=CONF)
        )
    yield "rotated"
    with create_session() as session:
        session.execute(delete(DagRun.__table__).where(DagRun.__table__.c.run_id == "rotated"))


def stored(run_id: str) -> Any:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    runs = DagRun.__table__
    with create_session() as session:
        return session.execute(select(runs.c.conf, runs.c.updated_at).where(runs.c.run_id == run_id)).one()


def row_of(output: str, place: str) -> list[str]:
    """The numbers in the table's row of this place."""
    line = next(line for line in output.splitlines() if place in line)
    return [word for word in line.split() if word.isdigit()]


def test_keys_are_changed_by_one_command_that_may_be_run_again(
    run_id: str,
    accept: Callable[..., Accepted],
    keys: Callable[[str], None],
    fernet_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    accept({"type": "telegram"}, credentials=CONF["credentials"])
    before, new = stored(run_id), Fernet.generate_key().decode()

    keys(f"{new},{fernet_key}")
    first = CliRunner().invoke(app, ["rotate-keys"])
    again = CliRunner().invoke(app, ["rotate-keys"])

    assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
    for place in ("conf of runs", "credentials of deliveries"):
        assert row_of(first.output, place) == ["1", "0", "0"]
        assert row_of(again.output, place) == ["0", "1", "0"]
    after = stored(run_id)
    sealed = after.conf["credentials"]["sealed"]
    assert Sealer(new).open(sealed)["credentials"] == CONF["credentials"]
    assert after.conf | {"credentials": 0} == before.conf | {"credentials": 0}
    assert after.updated_at == before.updated_at


def test_what_no_key_opens_is_said_and_left(
    run_id: str, keys: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    before = stored(run_id)
    keys(Fernet.generate_key().decode())

    result = CliRunner().invoke(app, ["rotate-keys"])

    assert result.exit_code == 1
    assert row_of(result.output, "conf of runs") == ["0", "0", "1"]
    assert "1 cannot be opened with any key of fernet_key" in result.output
    assert stored(run_id) == before
