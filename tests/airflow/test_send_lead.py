"""The DAG: what runs, what is skipped without work, and what the run's state says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from leadcast.core.clock import utc_now
from leadcast.core.model import BatchStatus, DeliveryState, Lead
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.batches import leads, views
from leadcast.store.batches.listing import Filter, listing
from leadcast.store.database import Store

from .conftest import BOT_TOKEN, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Run = Callable[..., "DagRun"]
Accept = Callable[..., Accepted]
TELEGRAM = {"type": "telegram"}
EMAIL = {"type": "email"}
CREDENTIALS: dict[str, Any] = {
    "telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"},
    "email": {"emails": ["a@example.com"]},
}


def batch(store: Store, accepted: Accepted) -> views.BatchView:
    with store.begin() as connection:
        view = views.batch(connection, accepted.batch_id)
    assert view is not None
    return view


def letters(sandbox: Sandbox, to: str) -> list[dict[str, Any]]:
    return [item for item in sandbox.received("smtp") if item["executed"] and item["rcpt_tos"] == [to]]


def test_one_lead_to_two_integrations(run: Run, accept: Accept, store: Store, sandbox: Sandbox) -> None:
    accepted = accept(TELEGRAM, EMAIL, credentials=CREDENTIALS)
    done = run()
    assert done.state == "success"
    assert batch(store, accepted).status is BatchStatus.COMPLETED
    assert len(sandbox.received("telegram")) == 1
    assert len(letters(sandbox, "a@example.com")) == 1
    assert len(letters(sandbox, "sales@example.com")) == 1
    states = task_states(done)
    ran = {task for task, state in states.items() if state == "success" and not task.startswith("in_")}
    assert ran == {"plan", "deliver_telegram[0]", "deliver_email[0]", "settle"}
    assert {states[f"deliver_{kind}"] for kind in ("amocrm", "bitrix24", "webhook")} == {"skipped"}


def test_a_wave_without_work_skips_everything_and_succeeds(run: Run, store: Store, sandbox: Sandbox) -> None:
    done = run()
    assert done.state == "success"
    states = task_states(done)
    assert {state for task, state in states.items() if task.startswith("deliver_")} == {"skipped"}
    assert states["settle"] == "success"


def test_a_wave_with_several_deliveries_of_one_kind_maps_each(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    for number in range(3):
        accept(TELEGRAM, credentials={"telegram": CREDENTIALS["telegram"]}, lead_id=number)
    states = task_states(run())
    assert [states[f"deliver_telegram[{index}]"] for index in range(3)] == ["success"] * 3
    assert len(sandbox.received("telegram")) == 3


def test_a_passing_error_is_retried_by_the_policy(run: Run, accept: Accept, store: Store, sandbox: Sandbox) -> None:
    sandbox.fault(service="telegram", kind="rate_limit", retry_after=1, times=1)
    accepted = accept(TELEGRAM, credentials={"telegram": CREDENTIALS["telegram"]})
    assert run().state == "success"
    (delivery,) = batch(store, accepted).deliveries
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)


def test_what_cannot_pass_fails_at_once_and_the_rest_goes_on(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    sandbox.fault(service="telegram", kind="blocked")
    accepted = accept(TELEGRAM, EMAIL, credentials=CREDENTIALS)
    done = run()
    assert done.state == "success"
    assert task_states(done)["deliver_telegram[0]"] == "failed"
    view = batch(store, accepted)
    assert view.status is BatchStatus.PARTIAL
    assert [item.attempts for item in view.deliveries] == [1, 1]


def test_when_every_batch_failed_the_run_fails(run: Run, accept: Accept, store: Store, sandbox: Sandbox) -> None:
    sandbox.fault(service="telegram", kind="down")
    accepted = accept(TELEGRAM, credentials={"telegram": CREDENTIALS["telegram"]})
    assert run().state == "failed"
    view = batch(store, accepted)
    assert (view.status, view.deliveries[0].attempts) == (BatchStatus.FAILED, 3)
    (letter,) = letters(sandbox, "sales@example.com")
    assert "telegram" in letter["text"]


def test_a_run_may_bring_its_own_request_as_conf(run: Run, store: Store, sandbox: Sandbox) -> None:
    conf = {
        "lead_id": 5,
        "lead": {"name": "Вера"},
        "integrations": [TELEGRAM],
        "credentials": {"telegram": CREDENTIALS["telegram"]},
    }
    done = run(conf)
    assert done.state == "success"
    assert BOT_TOKEN not in str(done.conf), "sealed before Airflow stored it"
    with store.begin() as connection:
        (view,) = listing(connection, Filter()).batches
    assert (view.lead_id, view.status, view.run_id) == ("5", BatchStatus.COMPLETED, done.run_id)


def test_a_conf_that_is_no_request_makes_no_run(run: Run, store: Store) -> None:
    with pytest.raises(ValueError, match="fax"):
        run({"lead_id": 5, "lead": {}, "integrations": [{"type": "fax"}]})


def test_a_plan_that_fails_is_critical_and_leaves_the_inbox_as_it_was(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conf was good when the run was made, but the store takes no new batch by the time that it plans."""
    waiting = accept(TELEGRAM, credentials={"telegram": CREDENTIALS["telegram"]})
    conf = {"lead_id": 123, "integrations": [{"type": "webhook"}]}
    monkeypatch.setattr("leadcast.engine.dags.policy.PAUSE_S", 0.01)  # it is tried for as long as a store may be away
    with store.begin() as connection:
        connection.execute(text("ALTER TABLE batches ADD CONSTRAINT full_up CHECK (false) NOT VALID"))
    try:
        done = run(conf)
    finally:
        with store.begin() as connection:
            connection.execute(text("ALTER TABLE batches DROP CONSTRAINT full_up"))
    assert done.state == "failed"
    assert task_states(done)["plan"] == "failed"
    assert batch(store, waiting).status is BatchStatus.PENDING
    (letter,) = letters(sandbox, "sales@example.com")
    assert "не удалось спланировать отправку" in letter["text"]


# --- what Airflow has accepted with a conf ends in a status or in a letter


def request(lead_id: int, **more: Any) -> dict[str, Any]:
    telegram = {"telegram": CREDENTIALS["telegram"]}
    return {"lead_id": lead_id, "lead": {"name": "Вера"}, "integrations": [TELEGRAM], "credentials": telegram, **more}


def test_a_run_is_one_request_however_often_it_is_planned_and_another_once_it_is_deleted_and_made_anew(
    environment: None, store: Store
) -> None:
    from leadcast.engine.dags.wave_operators import PlanOperator

    def accepted(run_after: datetime, lead_id: int = 5) -> str | None:
        run = SimpleNamespace(run_id="order-5", conf=request(lead_id), run_after=run_after)
        return PlanOperator(task_id="plan")._accept_conf({"dag_run": run})  # what it looks at

    first, cleared = accepted(utc_now()), utc_now()
    assert first != accepted(cleared) == accepted(cleared)
    assert accepted(cleared, lead_id=6) not in (first, accepted(cleared)), "under the same id and at the same time"


@pytest.mark.parametrize("is_erased", [False, True])
def test_a_run_that_an_older_version_has_planned_is_the_same_request_after_the_upgrade(
    environment: None, store: Store, is_erased: bool
) -> None:
    """That version knew a request by the run's id alone."""
    from leadcast.engine.runs import own_request
    from leadcast.engine.settings import config
    from leadcast.store.batches.batches import RUN

    def accepted(run_after: datetime, lead_id: int = 5) -> str | None:
        return own_request.accept(SimpleNamespace(run_id="order-5", conf=request(lead_id), run_after=run_after))

    made_at = utc_now()
    older = config.inbox().accept(request(5), idempotency_key="order-5", caller=RUN, run_id="order-5").batch_id
    if is_erased:
        with store.begin() as connection:
            connection.execute(text("UPDATE batches SET body_sha256 = ''"))
    assert accepted(made_at) == older, "sent twice"
    assert accepted(utc_now() + timedelta(hours=1)) != older, "that run is deleted, and another was made under its id"
    assert is_erased or accepted(made_at, lead_id=6) != older, "its conf is another"


@pytest.mark.parametrize("triggered_by", ["ann", None])
def test_a_runs_batch_and_lead_are_those_of_whoever_has_triggered_it(
    environment: None, store: Store, triggered_by: str | None
) -> None:
    from leadcast.engine.runs import own_request
    from leadcast.store import whose

    run = SimpleNamespace(run_id="order-5", conf=request(5), run_after=utc_now(), triggering_user_name=triggered_by)
    batch_id = own_request.accept(run)
    assert batch_id is not None
    with store.begin() as connection:
        assert whose.of_batch(connection, batch_id) == [triggered_by]
        assert whose.of_lead(connection, "5") == whose.Owners(stored=[triggered_by], sent=[triggered_by])


def test_a_run_whose_lead_was_erased_is_still_the_same_request(environment: None, store: Store) -> None:
    from leadcast.engine.runs import own_request

    run = SimpleNamespace(run_id="order-5", conf=request(5), run_after=utc_now())
    first = own_request.accept(run)
    with store.begin() as connection:
        connection.execute(text("UPDATE batches SET body_sha256 = ''"))
    assert own_request.accept(run) == first


def test_a_request_that_no_batch_has_come_of_is_told_by_the_run_where_its_settle_has_died(
    environment: None, store: Store, sandbox: Sandbox
) -> None:
    from leadcast.engine.dags import callbacks
    from leadcast.engine.dags.wave_operators import PlanOperator
    from leadcast.engine.runs import own_request

    def ended(lead_id: int, *, clear_number: int = 0, **more: Any) -> Any:
        conf = request(lead_id, **more)
        run = SimpleNamespace(run_id="order-5", conf=conf, run_after=made_at, clear_number=clear_number)
        callbacks.after_run({"run_id": "order-5", "dag_run": run, "reason": "task_failure"})
        return run

    def told() -> int:
        return len(letters(sandbox, "sales@example.com"))

    made_at = utc_now()
    run = ended(5)
    assert told() == 1
    ended(5)
    context: Any = {"run_id": "order-5", "dag_run": run, "ti": SimpleNamespace(xcom_push=lambda **_: None)}
    PlanOperator(task_id="plan")._tell(context, ValueError("an integration is gone"))
    callbacks.tell({}, bound_s=10)
    assert told() == 1, "once, whoever tells it"
    ended(5, clear_number=1)
    assert told() == 2, "cleared, and failed again"
    ended(5, clear_number=2, credentials={"sealed": "with another key"})
    assert told() == 3
    own_request.accept(run)
    ended(5, clear_number=3)
    assert told() == 3, "there is a batch, which tells of itself"


@pytest.mark.parametrize("is_refused", [True, False], ids=["refused", "planned in vain"])
def test_a_run_that_was_cleared_and_fails_again_is_told_again(
    environment: None, store: Store, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from leadcast.engine.dags import wave_operators as operators

    def fails(clear_number: int) -> None:
        run = SimpleNamespace(run_id="order-5", run_after=made_at, clear_number=clear_number, conf={})
        ti = SimpleNamespace(
            xcom_push=lambda **_: None, xcom_pull=lambda **_: None, get_task_states=lambda **_: {"order-5": {}}
        )
        context: Any = {"run_id": "order-5", "dag_run": run, "ti": ti}
        if is_refused:
            operators.PlanOperator(task_id="plan")._tell(context, ValueError("an integration is gone"))
            return
        with pytest.raises(AirflowFailException):
            operators.SettleOperator(task_id="settle").execute(context)

    made_at = utc_now()
    monkeypatch.setattr(operators, "task_states", lambda *_: {"plan": "failed"})
    for clear_number in (0, 0, 1, 1):
        fails(clear_number)
    with store.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM notifications WHERE channel = 'email'")).scalar() == 2


def test_a_batch_of_which_several_tasks_were_cleared_is_told_again_once(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox
) -> None:
    """They run one after the other, and to the ledger those that have yet to come have ended long ago."""
    from leadcast.core.errors import AttemptFailed
    from leadcast.engine.dags import callbacks
    from leadcast.engine.dags.deliver_operator import DeliverOperator

    sandbox.fault(service="telegram", kind="blocked", times=None)
    several = [TELEGRAM, {**TELEGRAM, "settings": {"chat_id": "@others"}}]
    accepted = accept(*several, credentials={"telegram": CREDENTIALS["telegram"]})
    done = run()
    assert len(letters(sandbox, "sales@example.com")) == 1
    for index in (0, 1):
        parts = [{"delivery_id": f"{accepted.batch_id}-{index}", "batch_id": accepted.batch_id}]
        operator = DeliverOperator(
            task_id="deliver_telegram", integration="telegram", work={"parts": parts, "label": ""}, retries=2
        )
        with pytest.raises(AttemptFailed):
            operator.execute({"run_id": done.run_id, "ti": SimpleNamespace(try_number=2, max_tries=3)})  # type: ignore[typeddict-item]
        assert batch(store, accepted).status is BatchStatus.PROCESSING
    for _ in range(2):
        callbacks.after_run({"run_id": done.run_id, "reason": "success"})
    assert batch(store, accepted).status is BatchStatus.FAILED
    assert len(letters(sandbox, "sales@example.com")) == 2


@pytest.mark.parametrize("what", ["the lead is erased", "the key is another"])
def test_a_conf_that_is_refused_by_its_plan_is_told_at_once_and_once(
    run: Run, store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    from leadcast.engine.dags.wave_operators import PlanOperator
    from leadcast.engine.settings import config
    from leadcast.store.sealing import Sealer

    real = PlanOperator._accept_conf

    def meanwhile(self: PlanOperator, context: Any) -> str | None:
        with store.begin() as connection:
            connection.execute(text("DELETE FROM leads"))
        if what == "the key is another":
            other = Sealer(Fernet.generate_key().decode())
            monkeypatch.setattr(config, "store", lambda: Store(store.engine, other))
        return real(self, context)

    with store.begin() as connection:
        leads.put(connection, Lead(id="77", name="Вера"))
    monkeypatch.setattr(PlanOperator, "_accept_conf", meanwhile)
    done = run({key: value for key, value in request(77).items() if key != "lead"})
    assert done.state == "failed"
    (plan,) = (ti for ti in done.get_task_instances() if ti.task_id == "plan")
    assert (plan.state, plan.try_number) == ("failed", 1), "to try it again mends nothing"
    (letter,) = letters(sandbox, "sales@example.com")
    assert done.run_id in letter["text"]
    assert "отклонена" in letter["text"]
