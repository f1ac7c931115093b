"""With the example of docs/adding-an-integration.md installed: what it has got without a line changed in Leadcast.

Run by test_own_integration.py, in a process where that distribution is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from leadcast.cli import app
from leadcast.engine.settings import config
from leadcast.engine.setup import doctor, init
from leadcast.flow.inbox import Accepted
from leadcast.sandbox import Sandbox
from leadcast.store.database import Store
from tests.api.conftest import anonymous, bell, client, serve  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.store]
POOL = "integration-slack"
PATH = "/services/T024/B048/a-secret-of-slack"


@pytest.fixture
def body(sandbox: Sandbox) -> dict[str, Any]:
    """A request for it and for a shipped one."""
    return {
        "lead_id": "123",
        "lead": {"name": "Анна", "phone": "+79990000001", "source": "landing-a"},
        "integrations": [{"type": "slack", "settings": {"fields": {"icon_emoji": ":tada:", "from": "{lead_source}"}}}],
        "credentials": {"slack": {"webhook_url": f"{sandbox.webhook_url}{PATH}"}},
    }


def test_it_has_its_mapped_operator_in_its_own_pool_and_queue(send_lead: Any) -> None:
    operator = send_lead.task_dict["deliver_slack"]
    assert (operator.is_mapped, operator.pool, operator.queue) == (True, POOL, POOL)
    assert operator.upstream_task_ids == {"in_slack"}
    assert operator.downstream_task_ids == {"settle"}


def test_init_makes_its_pool(send_lead: Any) -> None:
    assert init.wanted_pools(config.settings())[POOL] > 0
    init.make_pools(config.settings())
    assert doctor.missing_pools() == []


def test_its_models_are_in_the_description_of_the_api(client: TestClient) -> None:  # noqa: F811
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    request = schemas["SendBatch"]["properties"]
    assert "slack" in [item["title"] for item in request["integrations"]["items"]["oneOf"]]
    assert "slack" in request["credentials"]["properties"]
    assert schemas["SlackSettings"]["properties"].keys() == {"text", "fields"}
    assert schemas["SlackCredentials"]["properties"]["webhook_url"]["format"] == "password"


@pytest.mark.parametrize(
    ("settings", "credentials", "at"),
    [
        ({"colour": "red"}, {}, ["integrations", 0, "settings", "colour"]),
        ({"fields": {"a": "{{ lead.nothing }}"}}, {}, ["integrations", 0, "settings", "fields"]),
        ({}, {"token": "a-secret-of-slack"}, ["credentials", "slack", "token"]),
    ],
)
def test_it_is_checked_at_the_door(
    client: TestClient,  # noqa: F811
    body: dict[str, Any],
    settings: dict[str, Any],
    credentials: dict[str, Any],
    at: list[Any],
) -> None:
    body["integrations"][0]["settings"] |= settings
    body["credentials"]["slack"] |= credentials
    answer = client.post("/send-batch", json=body)
    assert answer.status_code == 422
    assert at in [error["loc"][: len(at)] for error in answer.json()["errors"]]
    assert "a-secret-of-slack" not in answer.text


def test_it_delivers_through_its_operator_and_the_monitor_shows_it(
    client: TestClient,  # noqa: F811
    body: dict[str, Any],
    run: Callable[..., DagRun],
    sandbox: Sandbox,
) -> None:
    accepted = client.post("/send-batch", json=body)
    assert accepted.status_code == 202, accepted.text

    done = run()

    states = {ti.task_id: ti.state for ti in done.get_task_instances() if ti.map_index >= 0}
    assert (done.state, states["deliver_slack"]) == ("success", "success")
    (message,) = sandbox.received("webhook")
    assert json.loads(message["body"]) == {
        "text": "New lead: Анна +79990000001",
        "icon_emoji": ":tada:",
        "from": "landing-a",
    }
    (delivery,) = client.get(f"/batches/{accepted.json()['batch_id']}").json()["deliveries"]
    assert (delivery["type"], delivery["queue"], delivery["state"]) == ("slack", POOL, "delivered")
    assert delivery["receipt"]["detail"] == {"status": 200}
    page = client.get(f"/ui/batches/{accepted.json()['batch_id']}").text
    assert "slack" in page
    assert POOL in page
    assert "a-secret-of-slack" not in page


def test_what_its_service_refuses_is_classified_and_the_other_integration_goes_on(
    accept: Callable[..., Accepted], body: dict[str, Any], run: Callable[..., DagRun], sandbox: Sandbox, store: Store
) -> None:
    sandbox.fault(service="webhook", kind="status", status=404)
    slack = body["integrations"][0]
    credentials = body["credentials"] | {"email": {"emails": ["a@example.com"]}}
    accepted = accept(slack, {"type": "email"}, credentials=credentials)

    run()

    from leadcast.store.batches import views

    with store.begin() as connection:
        view = views.batch(connection, accepted.batch_id)
    assert view is not None
    assert view.status == "partial"
    assert [delivery.state for delivery in view.deliveries] == ["failed", "delivered"]
    assert view.deliveries[0].error is not None
    assert view.deliveries[0].error["class"] == "CredentialsError"


def test_a_test_of_its_connection_says_that_it_cannot_be_tried(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "http", "password": f"https://hooks.slack.com{PATH}"}
    monkeypatch.setenv("AIRFLOW_CONN_LEADCAST_SLACK", json.dumps(connection))
    result = CliRunner().invoke(app, ["test-connection", "slack"])
    assert result.exit_code == 0, result.output
    assert "cannot be tried without sending" in result.stdout
    assert "a-secret-of-slack" not in result.output
