"""Real runs of `sweep` and `retry_leads`: what they pick up, and what their states say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from leadcast.core.clock import utc_now
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.batches import bell, ledger, views
from leadcast.store.database import Store
from leadcast.store.schema import batches, inbox, notifications
from tests.support.leases import dead, run_out

from .conftest import BOT_TOKEN, Server, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Run = Callable[..., "DagRun"]
Accept = Callable[..., Accepted]
TELEGRAM = {"telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"}}
BITRIX24 = {"bitrix24": {"webhook_url": "https://example.bitrix24.ru/rest/1/codeofthetests/"}}


@pytest.fixture
def retry_leads(dags: dict[str, Any]) -> Run:
    """Runs it by hand, with these fields of the form."""
    return lambda **window: dags["retry_leads"].test(run_conf=window, logical_date=utc_now())


def seen(store: Store, accepted: Accepted) -> views.BatchView:
    with store.begin() as connection:
        view = views.batch(connection, accepted.batch_id)
    assert view is not None
    return view


def returned(run: DagRun) -> Any:
    (ti,) = (item for item in run.get_task_instances() if item.task_id == "retry")
    return ti.xcom_pull(task_ids="retry")


# --- retry_leads


def test_what_may_pass_is_sent_again_by_the_wave_that_it_rings_for(
    run: Run, retry_leads: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="telegram", kind="down")
    accepted = accept({"type": "telegram"}, credentials=TELEGRAM)
    run()
    sandbox.reset()
    done = retry_leads()
    assert done.state == "success"
    found = returned(done)
    assert (found["batches"], found["deliveries"], found["put_back"]) == (1, 1, "1 lead, 1 delivery put back")
    (ring,) = (item for item in done.get_task_instances() if item.task_id == "ring")
    assert (ring.state, ring.rendered_map_index) == ("success", "1 lead, 1 delivery put back")
    run()
    assert seen(store, accepted).status is BatchStatus.COMPLETED
    again = retry_leads()
    assert (task_states(again)["ring"], returned(again)["batches"]) == ("skipped", 0)


def test_a_run_by_hand_sends_what_was_held_for_its_age_in_the_window_that_it_names(
    run: Run, retry_leads: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    long_ago = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    accepted = accept({"type": "telegram"}, credentials=TELEGRAM)
    with store.begin() as connection:
        connection.execute(update(batches).values(accepted_at=long_ago))
    run()
    assert seen(store, accepted).status is BatchStatus.FAILED
    assert returned(retry_leads())["batches"] == 0, "not of the last 24 hours"
    window = {"since": "2026-01-05T17:00:00+03:00", "until": "2026-01-05T18:00:00+03:00"}
    assert returned(retry_leads(**window))["batches"] == 1
    run()
    assert seen(store, accepted).status is BatchStatus.COMPLETED


def test_fields_that_make_no_window_fail_the_run_at_once(retry_leads: Run, store: Store) -> None:
    done = retry_leads(since="2026-01-05T14:00:00")
    (ti,) = (item for item in done.get_task_instances() if item.task_id == "retry")
    assert (done.state, ti.state, ti.try_number) == ("failed", "failed", 1)


# --- the sweep


@pytest.fixture
def unheard(accept: Accept, store: Store) -> Accepted:
    """A batch whose bell was rung an hour ago, and no run came."""
    accepted = accept({"type": "telegram"}, credentials=TELEGRAM)
    with store.begin() as connection:
        connection.execute(update(inbox).values(rung_at=utc_now() - timedelta(hours=1)))
    return accepted


def test_the_sweep_creates_the_run_that_nobody_has(
    sweep: Callable[[], DagRun], run: Run, unheard: Accepted, store: Store, sandbox: Sandbox
) -> None:
    done = sweep()
    assert (done.state, task_states(done)["ring[0]"]) == ("success", "success")
    run()
    assert seen(store, unheard).status is BatchStatus.COMPLETED
    assert task_states(sweep())["ring"] == "skipped"


@pytest.mark.parametrize(
    ("state", "task_state", "must_ring"),
    [
        ("running", "queued", False),
        ("running", None, False),
        ("running", "success", True),
        ("failed", "queued", True),
        (None, None, True),
    ],
)
def test_a_lane_whose_tasks_will_never_begin_gets_others_by_the_sweep(
    sweep: Callable[[], DagRun],
    run: Run,
    accept: Accept,
    store: Store,
    sandbox: Sandbox,
    state: str | None,
    task_state: str | None,
    must_ring: bool,
) -> None:
    """A person has stopped it, say, or deleted it, or has marked the task. Nobody is told: what it leaves is sent all
    the same."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update as update_rows

    from leadcast.engine.settings import config
    from leadcast.flow.plan import plan

    run_id = run().run_id if state else "a run that was deleted"
    accepted = accept({"type": "telegram"}, credentials=TELEGRAM)
    with store.begin() as connection:
        bell.reset(connection, run_id=accepted.run_id or "")
    plan(store, config.settings(), run_id=run_id)
    with create_session() as session:
        session.execute(update_rows(DagRun).where(DagRun.run_id == run_id).values(state=state))
        its_task = TaskInstance.run_id == run_id, TaskInstance.task_id == "deliver_telegram"
        session.execute(update_rows(TaskInstance).where(*its_task).values(state=task_state))
    done = sweep()
    assert done.state == "success"
    assert any(task.startswith("ring[") for task in task_states(done)) is must_ring
    assert seen(store, accepted).status is BatchStatus.PENDING
    assert sandbox.received("smtp") == []
    if must_ring:
        run()
        assert seen(store, accepted).status is BatchStatus.COMPLETED


def test_the_sweep_lets_others_go_on_with_what_a_dead_process_was_sending(
    sweep: Callable[[], DagRun], run: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    accepted = accept({"type": "webhook"}, credentials={"webhook": {"url": f"{sandbox.webhook_url}/hook"}})
    with store.begin() as connection:
        bell.reset(connection, run_id=accepted.run_id or "")
        ledger.begin(connection, f"{accepted.batch_id}-0", lease=dead(store), now=utc_now())
    assert "ring[0]" in task_states(sweep())
    (delivery,) = seen(store, accepted).deliveries
    assert (delivery.state, delivery.attempts) == (DeliveryState.RETRYING, 1)
    run()
    (delivery,) = seen(store, accepted).deliveries
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)


def test_a_step_that_fails_stops_no_other_and_is_seen(
    sweep: Callable[[], DagRun],
    unheard: Accepted,
    monkeypatch: pytest.MonkeyPatch,
    environment: None,
) -> None:
    from leadcast.engine.dags import callbacks
    from leadcast.engine.dags import sweep_steps as steps
    from leadcast.engine.runs import bell as ringing

    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionError("the API is away")

    rung: list[str] = []
    told: list[float] = []
    monkeypatch.setattr(steps, "pick_up", broken)
    monkeypatch.setattr(ringing, "ring_from_here", rung.append)
    monkeypatch.setattr(callbacks, "tell", lambda _, *, bound_s: told.append(bound_s))
    done = sweep()
    assert (done.state, task_states(done)["sweep"]) == ("failed", "failed")
    assert (len(rung), len(told)) == (1, 1)


# --- the store away in mid-wave


@pytest.fixture
def leaves_in_mid_wave(
    environment: None, accept: Accept, sandbox: Sandbox, server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sequence[Accepted]]:
    """Three batches, sent one after the other, of which the second has arrived when the server leaves, and its outcome
    cannot be written."""
    from leadcast.engine.settings import config
    from leadcast.integrations.bitrix24.integration import Bitrix24

    real = Bitrix24.deliver
    calls: list[int] = []

    def deliver(self: Bitrix24, *args: Any, **kwargs: Any) -> Any:
        receipt = real(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 2:
            server.leaves()
        return receipt

    monkeypatch.setattr(Bitrix24, "deliver", deliver)
    monkeypatch.setattr("leadcast.engine.dags.policy.PAUSE_S", 0.01)  # it is tried for a quarter of an hour
    monkeypatch.setenv("AIRFLOW__LEADCAST__AT_ONCE", "1")
    config.settings.cache_clear()
    yield [accept({"type": "bitrix24"}, credentials=BITRIX24, lead_id=number) for number in range(3)]
    config.settings.cache_clear()


def test_a_store_that_restarts_while_a_run_is_settled_fails_no_run_and_nothing_is_told_of_it(
    run: Run,
    store: Store,
    sandbox: Sandbox,
    server: Server,
    leaves_in_mid_wave: Sequence[Accepted],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from leadcast.engine.dags.wave_operators import SettleOperator

    real = SettleOperator.execute
    tries: list[int] = []

    def execute(self: SettleOperator, context: Any) -> None:
        tries.append(1)
        if len(tries) == 3:
            server.is_back()
            run_out(store)  # it was away for longer than a lease lasts
        real(self, context)

    monkeypatch.setattr(SettleOperator, "execute", execute)
    done = run()
    assert (done.state, task_states(done)["settle"], len(tries)) == ("success", "success", 3)
    statuses = [seen(store, accepted).status for accepted in leaves_in_mid_wave]
    assert sorted(statuses) == [BatchStatus.COMPLETED, BatchStatus.PENDING, BatchStatus.PROCESSING]
    run()
    assert [seen(store, accepted).status for accepted in leaves_in_mid_wave] == [BatchStatus.COMPLETED] * 3
    assert len(sandbox.stored("bitrix24")["leads"]) == 3
    with store.begin() as connection:
        assert set(connection.execute(select(notifications.c.occasion)).scalars()) <= {"completed", "then", "finally"}


def test_a_store_that_leaves_in_mid_wave_costs_no_lead_and_sends_none_twice(
    run: Run,
    sweep: Callable[[], DagRun],
    store: Store,
    sandbox: Sandbox,
    server: Server,
    leaves_in_mid_wave: Sequence[Accepted],
) -> None:
    ids = leaves_in_mid_wave
    done = run()
    server.is_back()
    states = task_states(done)
    assert (done.state, states["settle"]) == ("failed", "failed")
    assert [states[f"deliver_bitrix24[{index}]"] for index in range(3)].count("success") == 1
    left = [BatchStatus.COMPLETED, BatchStatus.PENDING, BatchStatus.PROCESSING]
    assert sorted(seen(store, accepted).status for accepted in ids) == left

    run_out(store)
    assert sweep().state == "success"
    assert sorted(seen(store, accepted).status for accepted in ids) == left
    run()
    assert [seen(store, accepted).status for accepted in ids] == [BatchStatus.COMPLETED] * 3
    assert {item.state for accepted in ids for item in seen(store, accepted).deliveries} == {DeliveryState.DELIVERED}
    assert len(sandbox.stored("bitrix24")["leads"]) == 3
