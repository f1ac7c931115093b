"""What was never begun ends by nothing that has happened to its run: it stays in its lane, and a later run sends it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from leadcast.core.clock import utc_now
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.batches import views
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries

from .conftest import BOT_TOKEN, Server, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Run = Callable[..., "DagRun"]
Accept = Callable[..., Accepted]
TELEGRAM: dict[str, Any] = {"telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"}}
EMAIL: dict[str, Any] = {"email": {"emails": ["a@example.com"]}}


def seen(store: Store, accepted: Accepted) -> views.BatchView:
    with store.begin() as connection:
        view = views.batch(connection, accepted.batch_id)
    assert view is not None
    return view


def clear(run_id: str, *task_ids: str) -> None:
    """As `POST /dags/send_lead/clearTaskInstances` does with these tasks and `include_downstream` false."""
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.utils.session import create_session

    with create_session() as session:
        query = select(TaskInstance).where(TaskInstance.run_id == run_id, TaskInstance.task_id.in_(task_ids))
        clear_task_instances(list(session.scalars(query)), session, dag_run_state=False)


def test_what_plan_finds_when_it_alone_is_cleared_is_not_taken_for_what_its_tasks_have_done(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task of the first lead is a success, and at the place where the new list would have the second one."""
    from leadcast.engine.dags.deliver_operator import DeliverOperator

    first = accept({"type": "telegram"}, {"type": "email"}, credentials=TELEGRAM | EMAIL)
    later: list[Accepted] = []
    attempt = DeliverOperator._attempt

    def cleared_meanwhile(self: DeliverOperator, context: Any) -> None:
        if self.integration == "email" and not later:
            if context["ti"].try_number > 1:
                later.append(accept({"type": "telegram"}, credentials=TELEGRAM))
                clear(context["run_id"], "plan")
            raise RuntimeError("so that the first lead's other task, and then plan, are run before it")
        attempt(self, context)

    monkeypatch.setattr(DeliverOperator, "_attempt", cleared_meanwhile)
    done = run()
    assert (done.state, task_states(done)["deliver_telegram[0]"]) == ("success", "success")
    assert seen(store, first).status is BatchStatus.COMPLETED
    (second,) = later
    assert seen(store, second).status is BatchStatus.PENDING
    run()
    assert seen(store, second).status is BatchStatus.COMPLETED
    assert len(sandbox.received("telegram")) == 2


def test_a_store_that_is_away_whenever_a_delivery_is_to_begin_fails_none(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.engine.dags.wave_operators import SettleOperator
    from leadcast.engine.settings import config

    attempt, settle = DeliverOperator._attempt, SettleOperator.execute

    def away(self: DeliverOperator, context: Any) -> None:
        server.leaves()
        attempt(self, context)

    def back(self: SettleOperator, context: Any) -> None:
        server.is_back()
        settle(self, context)

    accepted = accept({"type": "telegram"}, credentials=TELEGRAM)
    monkeypatch.setattr(SettleOperator, "execute", back)
    with monkeypatch.context() as outage:
        outage.setattr(DeliverOperator, "_attempt", away)
        for _ in range(config.settings().max_claims):
            done = run()
            assert (done.state, task_states(done)["deliver_telegram[0]"]) == ("success", "skipped")
    assert seen(store, accepted).status is BatchStatus.PENDING
    with store.begin() as connection:
        assert connection.execute(select(deliveries.c.losses)).scalar() == 0
    run()
    (delivery,) = seen(store, accepted).deliveries
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 1)


def test_a_delivery_whose_tasks_fail_before_it_is_begun_fails_in_the_end(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would take a run each time, for ever. What rides with it goes on."""
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.engine.settings import config

    attempt = DeliverOperator._attempt

    def dies(self: DeliverOperator, context: Any) -> None:
        if self.integration == "telegram":
            raise RuntimeError("whatever is wrong with it")
        attempt(self, context)

    monkeypatch.setattr(DeliverOperator, "_attempt", dies)
    accepted = accept({"type": "telegram"}, {"type": "email"}, credentials=TELEGRAM | EMAIL)
    for _ in range(config.settings().max_claims):
        run()
    view = seen(store, accepted)
    assert view.status is BatchStatus.PARTIAL
    assert [item.error["code"] for item in view.deliveries if item.error] == ["not_begun"]


def test_a_run_leaves_alone_what_another_of_its_id_has_ended_long_before(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leadcast.engine.dags.wave_operators import PlanOperator

    sandbox.fault(service="telegram", kind="blocked")
    old = accept({"type": "telegram"}, credentials=TELEGRAM)
    run()
    sandbox.reset()
    new = accept({"type": "telegram"}, credentials=TELEGRAM)
    accept_conf = PlanOperator._accept_conf

    def of_this_id(self: PlanOperator, context: Any) -> str | None:
        theirs = {"wave_id": context["run_id"], "finished_at": utc_now() - timedelta(days=5)}
        with store.begin() as connection:
            connection.execute(update(batches).where(batches.c.id == old.batch_id).values(**theirs))
        return accept_conf(self, context)

    monkeypatch.setattr(PlanOperator, "_accept_conf", of_this_id)
    done = run()
    assert (seen(store, old).status, seen(store, new).status) == (BatchStatus.FAILED, BatchStatus.COMPLETED)
    assert "deliver_telegram[1]" not in task_states(done)
