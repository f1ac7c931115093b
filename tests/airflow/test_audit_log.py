"""The requests for a lead go out of Airflow's audit log: page by page, whatever the rows are like, up to a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select

from leadcast.core.clock import utc_now
from leadcast.core.reach import Reach
from leadcast.engine.runs import audit_log
from leadcast.engine.seal.logged_requests import MAX_CHARS

pytestmark = [pytest.mark.airflow]
OWNER = "test_audit_log"
BODY: dict[str, Any] = {"integrations": [{"type": "telegram", "settings": {"chat_id": "@in_clear"}}]}


@pytest.fixture
def add(send_lead: Any) -> Iterator[Callable[..., int]]:
    """Adds a row to the audit log, as of before, or as the command line does it: past `shown_rows`."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    def add(extra: Any, *, dag_id: str | None = "send_lead", of: str = "trigger_dag_run", by: str = OWNER) -> int:
        with create_session() as session:
            words = extra if isinstance(extra, str) else json.dumps(extra)
            row = insert(Log.__table__).values(dttm=utc_now(), event=of, dag_id=dag_id, owner=by, extra=words)
            return int(session.scalars(row.returning(Log.id)).one())

    yield add
    with create_session() as session:
        session.execute(delete(Log).where(Log.owner.startswith(OWNER)))


def request(lead_id: Any, **more: Any) -> dict[str, Any]:
    return {"conf": {"lead_id": lead_id, **BODY, **more}, "method": "POST"}


def words(row_id: int) -> str:
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    with create_session() as session:
        return str(session.scalar(select(Log.extra).where(Log.id == row_id)))


@pytest.fixture
def statements(send_lead: Any) -> Iterator[list[str]]:
    """Those sent to Airflow's database."""
    from airflow import settings

    sent: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *more: Any) -> None:
        sent.append(statement)

    event.listen(settings.engine, "before_cursor_execute", note)
    yield sent
    event.remove(settings.engine, "before_cursor_execute", note)


def test_a_run_asked_for_under_another_name_of_the_dag_leaves_nothing(add: Callable[..., int]) -> None:
    command = {
        "full_command": str(["airflow", "dags", "trigger", "send_leed", "-c", json.dumps(request("a1")["conf"])])
    }
    theirs = [
        add(request("a1"), dag_id="send_leed"),
        add(command, dag_id="send_leed", of="cli_dag_trigger"),
        add({"actions": [{"entities": [request("a1")]}]}, dag_id=None, of="bulk_dag_runs"),
        add({**request("a1"), "asset_id": "3"}, dag_id=None, of="materialize_asset"),
        add(json.dumps(request("a1"))[:-3]),
    ]
    others = [
        add(request("a12"), dag_id="send_leed"),
        add({"conf": {"lead_id": "a1", "score": 1}}, dag_id="somebodys_own"),
        add(request("a1"), dag_id="somebodys_own", of="their_event"),
    ]
    assert audit_log.erase("a1") == audit_log.Erased(len(theirs), is_all=True)
    assert ["@in_clear" in words(row) for row in (*theirs, others[0], others[2])] == [False] * 5 + [True] * 2
    assert "score" in words(others[1])
    assert audit_log.erase("a1") == audit_log.Erased(0, is_all=True)


def test_an_erasure_of_one_user_takes_no_rows_of_others(add: Callable[..., int]) -> None:
    long = "x" * MAX_CHARS
    his = [add(request("a1")), add(request("a1", comment=long))]
    others = [add(request("a1"), by=f"{OWNER}_2"), add(request("a1", comment=long), by=f"{OWNER}_2")]
    assert audit_log.erase("a1", reach=Reach(only_of=OWNER)).rows == 2
    assert ["@in_clear" in words(row) for row in (*his, *others)] == [False, False, True, True]
    assert audit_log.erase("a1", reach=Reach(only_of=OWNER, over_all_at=utc_now())).rows == 2
    assert not any("@in_clear" in words(row) for row in others)


def test_a_row_that_is_too_long_to_be_read_is_not_kept_for_that(add: Callable[..., int]) -> None:
    long = add(request("a1", comment="x" * MAX_CHARS))
    other = add(request("b2", comment="x" * MAX_CHARS))
    assert audit_log.erase("a1").rows == 1
    assert (words(long), "@in_clear" in words(other)) == ('{"erased": true}', True)


def test_rows_of_others_are_not_read_for_a_lead_with_a_short_id(add: Callable[..., int], statements: list[str]) -> None:
    for number in range(2 * audit_log.PAGE):
        add(request(f"1{number}", comment="1 " * 50))
    its = [add(request(1)), add(request("1"))]
    statements.clear()
    assert audit_log.erase("1") == audit_log.Erased(2, is_all=True)
    assert not any("@in_clear" in words(row) for row in its)
    assert sum(sent.startswith("SELECT log.id, log.extra") for sent in statements) == 1


def test_many_rows_are_done_in_small_transactions_and_gone_on_with(add: Callable[..., int]) -> None:
    number = 2 * audit_log.PAGE + 1
    for _ in range(number):
        add(request("a1"))
    ticks = itertools.count()
    first = audit_log.erase("a1", until=3.5, now=lambda: float(next(ticks)))
    assert (first.is_all, 0 < first.rows < number) == (False, True)
    assert audit_log.erase("a1") == audit_log.Erased(number - first.rows, is_all=True)
