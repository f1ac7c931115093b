"""Airflow ends a task that takes too long, in the middle of a call: the ledger says so, and the next attempt knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from leadcast.core.model import AttemptOutcome, BatchStatus, DeliveryState
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.batches import views
from leadcast.store.database import Store
from tests.support.stack import until

from .conftest import BOT_TOKEN, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Run = Callable[..., "DagRun"]
Accept = Callable[..., Accepted]
TIMEOUT = timedelta(seconds=5)
SLOW_S = 30
"""Longer than the task's time."""


@pytest.fixture
def impatient(send_lead: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that Airflow gives far less time than the attempts in them would take."""
    for kind in ("bitrix24", "telegram", "webhook"):
        arguments = send_lead.task_dict[f"deliver_{kind}"].partial_kwargs
        monkeypatch.setitem(arguments, "execution_timeout", TIMEOUT)


def only_delivery(store: Store, accepted: Accepted) -> views.DeliveryView:
    with store.begin() as connection:
        batch = views.batch(connection, accepted.batch_id)
    assert batch is not None
    return batch.deliveries[0]


def outcomes(delivery: views.DeliveryView) -> list[str]:
    return [attempt.outcome for attempt in delivery.history]


def test_a_call_that_can_be_recognised_is_repeated(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox, impatient: None
) -> None:
    sandbox.fault(service="webhook", kind="slow", delay_s=SLOW_S, times=1)
    accepted = accept({"type": "webhook"}, credentials={"webhook": {"url": f"{sandbox.webhook_url}/hook"}})
    done = run()
    delivery = only_delivery(store, accepted)
    assert outcomes(delivery) == [AttemptOutcome.UNKNOWN, AttemptOutcome.DELIVERED]
    assert delivery.state is DeliveryState.DELIVERED
    assert task_states(done)["deliver_webhook[0]"] == "success"


def test_a_call_that_nobody_can_be_asked_about_is_held_for_a_person(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox, impatient: None
) -> None:
    sandbox.fault(service="telegram", kind="slow", delay_s=SLOW_S, times=1)
    accepted = accept({"type": "telegram"}, credentials={"telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"}})
    run()
    delivery = only_delivery(store, accepted)
    assert outcomes(delivery) == [AttemptOutcome.UNKNOWN]
    assert delivery.state is DeliveryState.UNKNOWN
    with store.begin() as connection:
        batch = views.batch(connection, accepted.batch_id)
    assert batch is not None
    assert batch.status is BatchStatus.FAILED


def test_a_service_that_can_be_asked_is_asked_as_soon_as_it_must_know(
    run: Run, accept: Accept, store: Store, sandbox: Sandbox, impatient: None
) -> None:
    sandbox.fault(service="bitrix24", kind="slow", delay_s=8, times=1, match="crm.item.add")
    account = {"webhook_url": "https://example.bitrix24.ru/rest/1/s3cr3tf0rth3t3sts/"}
    accepted = accept({"type": "bitrix24"}, credentials={"bitrix24": account})
    run()
    delivery = only_delivery(store, accepted)
    assert delivery.state is DeliveryState.RETRYING
    assert outcomes(delivery) == [AttemptOutcome.UNKNOWN, AttemptOutcome.TRANSIENT]
    two_minutes_pass(store)
    until(lambda: sandbox.stored("bitrix24")["leads"])  # in which the service, too, would come to an end
    run()
    delivery = only_delivery(store, accepted)
    assert delivery.state is DeliveryState.DELIVERED
    assert delivery.receipt is not None
    assert delivery.receipt["reconciled"]
    added = [item for item in sandbox.received("bitrix24") if item["executed"] and "crm.item.add" in str(item)]
    assert len(added) == 1


def two_minutes_pass(store: Store) -> None:
    """As far as the ledger is concerned."""
    with store.begin() as connection:
        for table, column in (
            ("deliveries", "next_attempt_at"),
            ("attempts", "started_at"),
            ("attempts", "finished_at"),
        ):
            connection.execute(text(f"UPDATE {table} SET {column} = {column} - interval '2 minutes'"))
