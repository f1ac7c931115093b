"""Below every door: a run's conf is sealed for that run, and for the user who has brought it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete, select
from typer.testing import CliRunner

from leadcast.cli import app
from leadcast.core.clock import utc_now
from leadcast.core.request_errors import RequestRejected
from leadcast.engine.seal.conf_guard import checked
from leadcast.engine.seal.sealed_conf import by_caller, of_run, open_conf
from leadcast.store.database import Store
from tests.support.seals import content, unbound

pytestmark = [pytest.mark.airflow, pytest.mark.store]
CONF: dict[str, Any] = {
    "lead_id": 123,
    "lead": {"name": "Анна"},
    "integrations": [{"type": "telegram"}],
    "credentials": {"telegram": {"bot_token": "700:a-token", "chat_id": "@sales"}},
}
Write = Callable[..., dict[str, Any]]


@pytest.fixture
def write(send_lead: Any, store: Store) -> Iterator[Write]:
    """Writes a run as Airflow does, and returns its conf as it is stored."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType

    runs = DagRun.__table__

    def write(run_id: str, conf: dict[str, Any], *, by: str, user: str | None) -> dict[str, Any]:
        with create_session() as session:
            run = DagRun(
                dag_id="send_lead",
                run_id=run_id,
                run_type="manual",
                state=DagRunState.SUCCESS,
                run_after=utc_now(),
                conf=conf,
            )
            run.triggered_by, run.triggering_user_name = DagRunTriggeredByType(by), user
            session.add(run)
        with create_session() as session:
            return dict(session.execute(select(runs.c.conf).where(runs.c.run_id == run_id)).scalar_one())

    yield write
    with create_session() as session:
        session.execute(delete(runs).where(runs.c.run_id.in_(("seals-1", "seals-2"))))


def sealed_for(conf: dict[str, Any], fernet_key: str) -> Any:
    return content(conf["credentials"]["sealed"], key=fernet_key)["for"]


@pytest.mark.parametrize("by", ["rest_api", "ui", "cli"])
def test_what_a_person_brings_is_sealed_for_the_run_and_for_him(
    write: Write, store: Store, fernet_key: str, by: str
) -> None:
    given = CONF if by == "cli" else checked(CONF, store.sealer, caller="anna")
    kept = write("seals-1", given, by=by, user="anna")
    assert sealed_for(kept, fernet_key) == {"run": "seals-1", "caller": "anna"}
    again = write("seals-2", checked(kept, store.sealer, caller="anna"), by="ui", user="anna")
    assert open_conf(again, store.sealer, for_=of_run("seals-2")) == CONF


@pytest.mark.parametrize("by", ["test", "timetable"])
@pytest.mark.parametrize("user", ["anna", None])
def test_what_a_task_brings_is_nobodys_to_use_again(
    write: Write, store: Store, fernet_key: str, by: str, user: str | None
) -> None:
    """The credentials are those of who wrote the DAG; the user whom Airflow names has started its run, and no more."""
    kept = write("seals-1", CONF, by=by, user=user)
    assert sealed_for(kept, fernet_key) == {"run": "seals-1"}
    for name in ("anna", None):
        with pytest.raises(RequestRejected):
            write("seals-2", kept, by="operator", user=name)
        with pytest.raises(RequestRejected):
            checked(kept, store.sealer, caller=name)


@pytest.mark.parametrize("user", ["boris", "", None, "seals-1"])
@pytest.mark.parametrize("by", ["ui", "operator", "cli"])
def test_a_seal_that_another_has_read_makes_no_run(write: Write, store: Store, user: str | None, by: str) -> None:
    kept = write("seals-1", checked(CONF, store.sealer, caller="anna"), by="rest_api", user="anna")
    for read in (kept, checked(CONF, store.sealer, caller="anna")):
        with pytest.raises(RequestRejected, match="cannot be opened here"):
            write("seals-2", read | {"lead_id": 5}, by=by, user=user)


def test_what_an_older_version_has_sealed_makes_no_new_run(write: Write, fernet_key: str) -> None:
    old = CONF | {"credentials": {"sealed": unbound({"credentials": CONF["credentials"]}, key=fernet_key)}}
    with pytest.raises(RequestRejected, match="cannot be opened here"):
        write("seals-1", old, by="ui", user="anna")


def test_a_conf_by_leadcast_seal_is_its_users(write: Write, store: Store, tmp_path: Any) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(CONF))
    done = CliRunner().invoke(app, ["seal", str(file), "--for", "anna"])
    assert done.exit_code == 0, done.output
    assert "700:a-token" not in done.output
    conf = json.loads(done.stdout)
    assert conf["integrations"] == CONF["integrations"]
    assert open_conf(conf, store.sealer, for_=by_caller("anna")) == CONF
    for user in ("boris", None):
        with pytest.raises(RequestRejected):
            write("seals-1", conf, by="operator", user=user)
    kept = write("seals-1", conf, by="operator", user="anna")
    assert open_conf(kept, store.sealer, for_=of_run("seals-1")) == CONF


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"priority": "high"}', json.dumps(CONF | {"nope": 1})])
def test_what_is_no_request_is_not_sealed(environment: None, text: str) -> None:
    done = CliRunner().invoke(app, ["seal", "-"], input=text)
    assert done.exit_code == 1
    assert done.stdout == ""
