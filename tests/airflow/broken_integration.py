"""With an integration of somebody's own installed whose module cannot be imported: the others go on, and people see it.

Run by test_own_integration.py, in a process where that distribution is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from leadcast.core.model import DeliveryState
from leadcast.engine.settings import config
from leadcast.engine.setup import doctor, init
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.batches import views
from leadcast.store.batches.listing import Filter, listing
from leadcast.store.database import Store
from leadcast.store.schema import deliveries
from tests.api.conftest import anonymous, bell, client, serve  # noqa: F401  # fixtures

from .conftest import BOT_TOKEN

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
TELEGRAM = {"type": "telegram", "settings": {}}
EMAIL = {"type": "email", "settings": {}}
CREDENTIALS = {
    "telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"},
    "email": {"emails": ["a@example.com"]},
}


def test_the_dag_has_every_operator_and_every_pool_is_known(send_lead: Any) -> None:
    assert {"deliver_telegram", "deliver_email", "deliver_slack"} <= send_lead.task_dict.keys()
    assert "integration-slack" in init.wanted_pools(config.settings())


def test_it_is_refused_at_the_door_by_name_and_nothing_is_stored(client: TestClient, store: Store) -> None:  # noqa: F811
    answer = client.post("/send-batch", json={"lead_id": "1", "lead": {}, "integrations": [{"type": "slack"}]})
    assert answer.status_code == 503
    assert "'slack'" in answer.json()["detail"]
    assert "a_library_that_nobody_installed" in answer.json()["detail"]
    with store.begin() as connection:
        assert listing(connection, Filter()).batches == []


def test_the_api_describes_the_others(client: TestClient) -> None:  # noqa: F811
    request = client.get("/openapi.json").json()["components"]["schemas"]["SendBatch"]["properties"]
    assert request["credentials"]["properties"].keys() >= {"telegram", "email"}
    assert "slack" not in request["credentials"]["properties"]


def test_what_was_on_its_way_to_it_fails_and_the_rest_of_the_batch_arrives(
    client: TestClient,  # noqa: F811
    accept: Callable[..., Accepted],
    run: Callable[..., DagRun],
    sandbox: Sandbox,
    store: Store,
) -> None:
    batch_id = accepted_before_it_broke(accept, store)

    for _ in range(config.settings().max_claims):  # it may have been loaded again by the next wave
        run()

    shown = client.get(f"/batches/{batch_id}").json()
    assert shown["status"] == "partial"
    assert [(item["type"], item["state"]) for item in shown["deliveries"]] == [
        ("telegram", "delivered"),
        ("slack", "failed"),
    ]
    assert len(sandbox.received("telegram")) == 1
    assert client.get("/ui").status_code == 200


def test_an_attempt_of_it_that_died_is_not_said_to_have_failed(
    accept: Callable[..., Accepted], run: Callable[..., DagRun], store: Store
) -> None:
    batch_id = accepted_before_it_broke(accept, store, state=DeliveryState.SENDING, attempts=1, in_doubt=True)

    for _ in range(config.settings().max_claims):
        assert run().state == "success"

    with store.begin() as connection:
        view = views.batch(connection, batch_id)
    assert view is not None
    assert [item.state for item in view.deliveries] == ["delivered", "unknown"]


def accepted_before_it_broke(accept: Callable[..., Accepted], store: Store, **values: Any) -> str:
    """A batch with a delivery to Telegram and one to it; returns its id."""
    accepted = accept(TELEGRAM, EMAIL, credentials=CREDENTIALS)
    with store.begin() as connection:
        connection.execute(update(deliveries).where(deliveries.c.type == "email").values(type="slack", **values))
    return accepted.batch_id


def test_doctor_names_it_once_and_looks_at_the_others(send_lead: Any) -> None:
    found = doctor.examine()
    (about_it,) = (finding for finding in found if "a_library_that_nobody_installed" in finding.what)
    assert (str(about_it.level), "'slack'" in about_it.what) == ("fail", True)
    assert any(finding.what.startswith("connection leadcast_webhook") for finding in found)
