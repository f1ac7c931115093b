"""`leadcast rotate-keys`: the store and the runs that Airflow keeps, by the command that people use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import delete, insert, select, update
from typer.testing import CliRunner

from leadcast.cli import app
from leadcast.core.clock import utc_now
from leadcast.engine.seal.sealed_conf import by_caller
from leadcast.flow.inbox import Accepted
from leadcast.store.database import Store
from leadcast.store.sealing import Sealer
from tests.support.seals import content, inside, unbound

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
    from leadcast.engine.settings import config

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
    from airflow.utils.state import DagRunState

    with create_session() as session:
        now = utc_now()
        session.add(
            DagRun(
                dag_id="send_lead",
                run_id="rotated",
                run_type="manual",
                state=DagRunState.SUCCESS,
                run_after=now,
                conf=CONF,
            )
        )
    yield "rotated"
    with create_session() as session:
        session.execute(delete(DagRun.__table__).where(DagRun.__table__.c.run_id == "rotated"))


@pytest.fixture
def logged(send_lead: Any, fernet_key: str) -> Iterator[None]:
    """Airflow's audit log with the copy of a request: by an older version, and by this one under the same key."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    sealed = [unbound({"credentials": 1}, key=fernet_key), Sealer(fernet_key).seal({}, for_=by_caller("anna"))]
    with create_session() as session:
        for text in sealed:
            conf = CONF | {"credentials": {"sealed": text}}
            _write(session, {"conf": conf})
        _write(session, {"note": "gAAAA"})
    yield
    with create_session() as session:
        session.execute(delete(Log).where(Log.event == "test_rotate"))


def _write(session: Any, extra: dict[str, Any]) -> None:
    """Past what masks a row that is written now."""
    from airflow.models.log import Log

    values = {"event": "test_rotate", "dag_id": "send_lead", "extra": json.dumps(extra), "dttm": datetime.now(UTC)}
    session.execute(insert(Log.__table__).values(values))


def audited() -> list[str]:
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    with create_session() as session:
        return [str(text) for text in session.scalars(select(Log.extra).where(Log.event == "test_rotate"))]


def test_an_upgrade_is_followed_by_the_same_command(
    run_id: str, logged: None, keys: Callable[[str], None], fernet_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key stays; what an older version has left comes to its place, and out of the audit log."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    monkeypatch.setenv("COLUMNS", "200")
    old = CONF | {"credentials": {"sealed": unbound({"credentials": CONF["credentials"]}, key=fernet_key)}}
    runs = DagRun.__table__
    with create_session() as session:
        session.execute(update(runs).where(runs.c.run_id == run_id).values(conf=old))
    keys(fernet_key)

    first = CliRunner().invoke(app, ["rotate-keys"])
    monkeypatch.setenv("AIRFLOW__LEADCAST__ACCEPT_UNBOUND_SEALS", "False")
    keys(fernet_key)
    again = CliRunner().invoke(app, ["rotate-keys"])

    assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
    assert row_of(first.output, "conf of runs") == ["1", "0", "0"]
    assert [row_of(first.output, "audit log")[0], row_of(again.output, "audit log")[0]] == ["1", "0"]
    assert row_of(again.output, "conf of runs") == ["0", "1", "0"]
    assert content(stored(run_id).conf["credentials"]["sealed"], key=fernet_key)["for"] == {"run": run_id}
    assert ["gAAAA" in text for text in audited()] == [False, True, True]
    assert "accept_unbound_seals" in first.output
    assert "accept_unbound_seals" not in again.output


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
    assert inside(sealed, key=new)["credentials"] == CONF["credentials"]
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
