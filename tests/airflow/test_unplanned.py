"""What Airflow accepted with a conf ends in a batch or in a letter, whatever ends its run before its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from time import sleep
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from leadcast.core.clock import utc_now
from leadcast.core.errors import StoreError
from leadcast.core.model import BatchStatus
from leadcast.sandbox import Sandbox
from leadcast.store.batches.listing import Filter, listing
from leadcast.store.database import Store
from leadcast.store.schema import run_requests

from .conftest import BOT_TOKEN, Server, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
REQUEST: dict[str, Any] = {
    "lead_id": 7,
    "lead": {"name": "Вера"},
    "integrations": [{"type": "telegram"}],
    "credentials": {"telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"}},
}
TO_CLEAR = "очистите запуск"
IS_SENT = "Её отправит один из следующих запусков"


@pytest.fixture(autouse=True)
def gone_afterwards(send_lead: Any) -> Iterator[None]:
    """Other tests count the runs that hold a request."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    yield
    with create_session() as session:
        for run in session.scalars(select(DagRun).where(DagRun.dag_id == "send_lead")):
            if run.conf:
                session.delete(run)


def letters(sandbox: Sandbox) -> list[str]:
    return [item["text"] for item in sandbox.received("smtp") if item["rcpt_tos"] == ["sales@example.com"]]


def statuses(store: Store) -> list[BatchStatus]:
    with store.begin() as connection:
        return [item.status for item in listing(connection, Filter()).batches]


def noted(store: Store) -> list[str]:
    with store.begin() as connection:
        return list(connection.execute(select(run_requests.c.run_id)).scalars())


# --- by the run's own callback


def ended(reason: str, *, clear_number: int = 0, made_at: Any = None) -> Any:
    from leadcast.engine.dags import callbacks

    run = SimpleNamespace(run_id="order-7", conf=REQUEST, run_after=made_at or utc_now(), clear_number=clear_number)
    for _ in range(2):
        callbacks.after_run({"run_id": "order-7", "dag_run": run, "reason": reason})
    return run


@pytest.mark.parametrize("reason", ["timed_out", "all_tasks_deadlocked"])
def test_a_run_that_nobody_has_ended_has_its_request_sent_all_the_same(
    environment: None, store: Store, sandbox: Sandbox, reason: str
) -> None:
    from leadcast.engine.runs import own_request
    from leadcast.engine.settings import config
    from leadcast.flow.plan import plan

    run = ended(reason)
    assert statuses(store) == [BatchStatus.PENDING]
    (letter,) = letters(sandbox)
    assert all(part in letter for part in ("order-7", "(7)", IS_SENT))
    assert "Вера" not in letter
    assert list(plan(store, config.settings(), run_id="another").work) == ["telegram"]
    own_request.accept(run)
    assert len(statuses(store)) == 1, "cleared, it finds it"


@pytest.mark.parametrize("reason", ["success", "task_failure"])
def test_a_run_that_has_come_to_its_end_without_its_request_is_told_of(
    environment: None, store: Store, sandbox: Sandbox, reason: str
) -> None:
    run = ended(reason)
    assert statuses(store) == []
    (letter,) = letters(sandbox)
    assert all(part in letter for part in ("order-7", "(7)", TO_CLEAR))
    ended(reason, clear_number=1, made_at=run.run_after)
    assert len(letters(sandbox)) == 2, "cleared, and ended so again"
    ended(reason, made_at=utc_now() + timedelta(hours=1))
    assert len(letters(sandbox)) == 3, "deleted, and another made under its id"


# --- by the sweep: Airflow calls nobody for a run that a person marks


@pytest.fixture
def triggered(send_lead: Any, store: Store) -> str:
    """A run with a request, that has yet to begin."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    run_id = f"order-{utc_now():%H%M%S%f}"
    trigger_dag(dag_id="send_lead", run_id=run_id, conf=REQUEST, triggered_by=DagRunTriggeredByType.REST_API)
    return run_id


def mark(run_id: str, how: str) -> None:
    """As Airflow's pages, or its scheduler, do it."""
    from airflow.api.common import mark_tasks
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        run = session.scalars(select(DagRun).where(DagRun.run_id == run_id)).one()
        if how == "deleted":
            session.delete(run)
            return
        dag = DBDagBag().get_latest_version_of_dag("send_lead", session=session)
        assert dag is not None
        by_hand = (
            mark_tasks.set_dag_run_state_to_success if how == "success" else mark_tasks.set_dag_run_state_to_failed
        )
        if how == "deadlocked":
            run.state = "failed"
        else:
            by_hand(dag=dag, run_id=run_id, commit=True, session=session)
        session.flush()
        lasted = timedelta(hours=2) if how == "timed out" else timedelta(seconds=1)
        run.start_date, run.end_date = utc_now() - lasted - timedelta(minutes=2), utc_now() - timedelta(minutes=2)


def clear(run_id: str) -> None:
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.utils.session import create_session

    with create_session() as session:
        clear_task_instances(list(session.scalars(select(TaskInstance).where(TaskInstance.run_id == run_id))), session)


def time_passes(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(update(run_requests).values(looked_at=utc_now() - timedelta(minutes=2)))


@pytest.mark.parametrize("how", ["failed", "success", "timed out", "deadlocked", "deleted"])
def test_whatever_has_ended_a_run_before_its_plan_is_found_by_the_sweep(
    sweep: Callable[[], DagRun], triggered: str, store: Store, sandbox: Sandbox, how: str
) -> None:
    assert sweep().state == "success"
    assert (noted(store), letters(sandbox)) == ([triggered], []), "it is to come"
    mark(triggered, how)
    for _ in range(2):
        time_passes(store)
        assert sweep().state == "success"
    assert noted(store) == []
    assert statuses(store) == ([BatchStatus.PENDING] if how in ("timed out", "deadlocked") else [])
    told = letters(sandbox)
    assert len(told) == (0 if how == "deleted" else 1)
    assert all(triggered in letter for letter in told)
    assert all((TO_CLEAR in letter) == (how in ("failed", "success")) for letter in told)


def test_a_run_that_is_cleared_and_marked_once_more_is_told_of_again(
    sweep: Callable[[], DagRun], triggered: str, store: Store, sandbox: Sandbox
) -> None:
    for number in (1, 2):
        mark(triggered, "failed")
        time_passes(store)
        sweep()
        assert (noted(store), len(letters(sandbox))) == ([], number)
        clear(triggered)
        assert noted(store) == [triggered]


def test_a_run_whose_process_may_live_is_left_to_the_next_sweep(
    sweep: Callable[[], DagRun], triggered: str, store: Store, sandbox: Sandbox
) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    mark(triggered, "failed")
    with create_session() as session:
        session.execute(update(DagRun).where(DagRun.run_id == triggered).values(end_date=utc_now()))
    time_passes(store)
    sweep()
    assert (noted(store), letters(sandbox)) == ([triggered], [])


def test_a_run_that_cannot_be_noted_is_accepted_all_the_same(
    send_lead: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    from leadcast.store.batches import run_requests as notes

    def away(*_: Any, **__: Any) -> None:
        raise StoreError("away", is_away=True)

    monkeypatch.setattr(notes, "note", away)
    run_id = f"order-{utc_now():%H%M%S%f}"
    made = trigger_dag(dag_id="send_lead", run_id=run_id, conf=REQUEST, triggered_by=DagRunTriggeredByType.REST_API)
    assert made is not None
    assert noted(store) == []


def test_a_store_that_makes_its_note_wait_holds_up_nothing_of_airflows(send_lead: Any, store: Store) -> None:
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    run_id = f"order-{utc_now():%H%M%S%f}"
    with store.begin() as connection:
        connection.execute(text("LOCK TABLE run_requests IN ACCESS EXCLUSIVE MODE"))
        trigger_dag(dag_id="send_lead", run_id=run_id, conf=REQUEST, triggered_by=DagRunTriggeredByType.REST_API)
    for _ in range(300):
        if noted(store) == [run_id]:
            return
        sleep(0.1)
    pytest.fail("its note was given up while Airflow waited for it")


# --- by its own tasks


def test_a_run_that_has_planned_its_request_is_forgotten(
    run: Callable[..., DagRun], store: Store, sandbox: Sandbox
) -> None:
    assert run(REQUEST).state == "success"
    assert (statuses(store), noted(store)) == ([BatchStatus.COMPLETED], [])
    run({})
    assert noted(store) == [], "a bell"


def test_a_request_whose_plan_somebody_has_marked_as_a_success_is_told_of(
    run: Callable[..., DagRun], store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.wave_operators import PlanOperator

    monkeypatch.setattr(PlanOperator, "execute", lambda self, context: None)
    run(REQUEST)
    (letter,) = letters(sandbox)
    assert "отметили успешным вручную" in letter
    assert TO_CLEAR in letter


def test_a_request_whose_plan_has_given_up_on_the_store_is_sent_once_it_is_back(
    run: Callable[..., DagRun], store: Store, sandbox: Sandbox, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.wave_operators import PlanOperator, SettleOperator

    accept, settle = PlanOperator._accept_conf, SettleOperator.execute

    def away(self: PlanOperator, context: Any) -> str | None:
        server.leaves()
        return accept(self, context)

    def back(self: SettleOperator, context: Any) -> None:
        server.is_back()
        settle(self, context)

    monkeypatch.setattr("leadcast.engine.dags.policy.PAUSE_S", 0.01)
    with monkeypatch.context() as outage:
        outage.setattr(PlanOperator, "_accept_conf", away)
        outage.setattr(SettleOperator, "execute", back)
        done = run(REQUEST)
    assert (done.state, task_states(done)["plan"]) == ("failed", "failed")
    assert statuses(store) == [BatchStatus.PENDING]
    (letter,) = letters(sandbox)
    assert done.run_id in letter
    assert IS_SENT in letter
    run()
    assert statuses(store) == [BatchStatus.COMPLETED]
    with store.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM attempts")).scalar() == 1
