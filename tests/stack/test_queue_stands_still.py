"""A queue that stands still: its leads wait, no other does, and when it is back all of them go out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.stack import SECRETS, Stack, until

pytestmark = pytest.mark.system
LEADS = 6


@pytest.fixture
def still(stack: Stack) -> Iterator[Stack]:
    """A stack in which nothing goes to webhooks."""
    set_slots(stack, 0)
    yield stack
    set_slots(stack, 10)


def set_slots(stack: Stack, slots: int) -> None:
    pool = {"pool": "integration-webhooks", "slots": slots, "include_deferred": False}
    stack.api("admin").call("PATCH", "/api/v2/pools/integration-webhooks?update_mask=slots", json=pool)


def states(stack: Stack, batch_id: str) -> dict[str, str]:
    batch = stack.api().call("GET", f"/api/integrations/batches/{batch_id}")
    return {item["type"]: item["state"] for item in batch["deliveries"]}


def open_runs(stack: Stack) -> int:
    rows = stack.sql("airflow", "SELECT count(*) FROM dag_run WHERE dag_id = 'send_lead' AND state = 'running'")
    return int(rows[0][0])


def test_the_others_flow_one_run_waits_and_all_go_out_when_it_is_back(still: Stack) -> None:
    ids = []
    for number in range(LEADS):
        body: dict[str, Any] = {
            "lead_id": f"still-{number}",
            "lead": {"name": "Вера"},
            "integrations": [{"type": "webhook"}, {"type": "telegram"}],
            "credentials": {"telegram": SECRETS["telegram"]},
        }
        ids.append(still.api().call("POST", "/api/integrations/send-batch", json=body)["batch_id"])
        until(lambda: states(still, ids[-1])["telegram"] == "delivered")
    until(lambda: open_runs(still) == 1)
    assert {states(still, batch_id)["webhook"] for batch_id in ids} == {"pending"}

    set_slots(still, 10)
    for batch_id in ids:
        until(partial(lambda batch_id: states(still, batch_id)["webhook"] == "delivered", batch_id))
    arrived = [item["webhook_id"] for item in still.received("webhook")]
    assert sorted(item for item in arrived if item.rpartition("-")[0] in ids) == sorted(f"{item}-0" for item in ids)
