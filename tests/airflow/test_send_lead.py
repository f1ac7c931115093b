"""The DAG: what runs, what is skipped without a process, and what the run's state says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store import views
from leadcast.store.database import Store

from .conftest import BOT_TOKEN, task_states

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
Run = Callable[..., "DagRun"]
Accept = Callable[..., Accepted]
TELEGRAM = {"type": "telegram"}
CREDENTIALS = {"telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"}}


def batch(store: Store, accepted: Accepted) -> views.BatchView:
    with store.begin() as connection:
        view = views.batch(connection, accepted.batch_id)
    assert view is not None
    return view


def test_one_lead_to_two_integrations(run: Run, accept: Accept, store: Store, sandbox: Sandbox) -> None:
    accepted = accept(TELEGRAM, {"type": "email"}, credentials=CREDENTIALS | {"email": {"emails": ["a@example.com"]}})
    done = run()
    assert done.state == "success"
    assert batch(store, accepted).status is BatchStatus.COMPLETED
    assert len(sandbox.received("telegram")) == 1
    states = task_states(done)
    ran = {task for task, state in states.items() if state == "success" and not task.startswith("in_")}
    assert ran == {"plan", "deliver_telegram[0]", "deliver_email[0]", "settle"}
    assert {states[f"deliver_{kind}"] for kind in ("amocrm", "bitrix24", "webhook")} == {"skipped"}
    assert states["ring"] == "skipped"
