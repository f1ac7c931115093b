"""`retry_leads` on the real stack: a past window again, by Airflow's command line, its REST API and a run by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from leadcast.client.api import ApiError
from tests.support.stack import SECRETS, Stack, until

pytestmark = pytest.mark.system
DAG = "retry_leads"
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
"""Longer ago than a lead may be to be sent by itself."""
Send = Callable[..., str]


@pytest.fixture
def send(stack: Stack) -> Send:
    return partial(send_of_day, stack)


def send_of_day(stack: Stack, *types: str, bot: str, at: timedelta | None = None) -> str:
    """Sends a batch and waits for its end; then it is as if it had been accepted at that time of that day.

    Each test has a bot of its own: what fails in a row is left alone, in the other tests, too.
    """
    credentials = SECRETS | {"telegram": {"bot_token": f"700:S3CRET-telegram-{bot}", "chat_id": "@sales"}}
    body = {
        "lead_id": 7,
        "lead": {"name": "Борис", "phone": "+79990000007"},
        "integrations": [{"type": kind} for kind in types],
        "credentials": {kind: credentials[kind] for kind in types},
    }
    batch_id: str = stack.api().call("POST", "/api/integrations/send-batch", json=body)["batch_id"]
    if at is not None:
        stack.settled(batch_id)
        backdate(stack, batch_id, DAY + at)
    return batch_id


def backdate(stack: Stack, batch_id: str, to: datetime) -> None:
    stack.sql("leadcast", f"UPDATE batches SET accepted_at = '{to.isoformat()}' WHERE id = '{batch_id}' RETURNING id")


def batch(stack: Stack, batch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.api().call("GET", f"/api/integrations/batches/{batch_id}")
    return found


def has(stack: Stack, batch_id: str, status: str) -> bool:
    return bool(batch(stack, batch_id)["status"] == status)


def hour(number: int) -> str:
    return (DAY + timedelta(hours=number)).isoformat()


def run_of(stack: Stack, run_id: str) -> dict[str, Any]:
    """The run, once it is over."""

    def over() -> dict[str, Any] | None:
        run: dict[str, Any] = stack.api().call("GET", f"/api/v2/dags/{DAG}/dagRuns/{run_id.replace('+', '%2B')}")
        return run if run["state"] in ("success", "failed") else None

    return until(over)


def said(stack: Stack, run_id: str) -> dict[str, Any]:
    """What a run's task has returned."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id.replace('+', '%2B')}/taskInstances/retry/xcomEntries/return_value"
    value: dict[str, Any] = stack.api().call("GET", f"{path}?deserialize=true")["value"]
    return value


def by_hand(stack: Stack, **window: str) -> dict[str, Any]:
    """A run as a person triggers it, once it is over."""
    body = {"logical_date": None, "conf": window}
    made = stack.api().call("POST", f"/api/v2/dags/{DAG}/dagRuns", json=body)
    return run_of(stack, made["dag_run_id"])


def label(stack: Stack, run_id: str) -> str | None:
    """What the grid shows beside the run's `ring`; None: it was skipped."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id.replace('+', '%2B')}/taskInstances/ring/listMapped"
    tasks = stack.api().call("GET", path)["task_instances"]
    return tasks[0]["rendered_map_index"] if tasks else None


def ended(stack: Stack, backfill_id: int) -> bool:
    return bool(stack.api("admin").call("GET", f"/api/v2/backfills/{backfill_id}")["completed_at"])


def test_a_backfill_delivers_what_failed_in_that_window_and_nothing_else(stack: Stack, send: Send) -> None:
    stack.fault(service="telegram", kind="down")
    first, second, later = (send("telegram", "bitrix24", bot=f"hour-{number}") for number in (14, 15, 16))
    for number, each in ((14, first), (15, second), (16, later)):
        stack.settled(each)
        backdate(stack, each, DAY + timedelta(hours=number, minutes=20))
    stack.sandbox("DELETE", "/faults")
    stack.fault(service="telegram", kind="blocked", times=1)
    refused = send("telegram", bot="refused", at=timedelta(hours=14, minutes=40))
    assert [batch(stack, each)["status"] for each in (first, second, later, refused)] == [*["partial"] * 3, "failed"]
    window = ["--dag-id", DAG, "--from-date", hour(14), "--to-date", hour(15)]

    printed = stack.run("airflow", "backfill", "create", *window, "--dry-run").stdout
    assert [hour(number)[:13].replace("T", " ") in printed.replace("T", " ") for number in (13, 14, 15, 16)] == [
        False,
        True,
        True,
        False,
    ]
    assert has(stack, first, "partial")

    stack.run("airflow", "backfill", "create", *window)
    until(lambda: has(stack, first, "completed") and has(stack, second, "completed"))
    assert [batch(stack, each)["status"] for each in (later, refused)] == ["partial", "failed"]
    assert len(stack.received("telegram")) == 2
    assert len(stack.sandbox("GET", "/stored/bitrix24")["leads"]) == 3, "what was delivered is not sent again"
    ran = [run_of(stack, f"backfill__{hour(number)}") for number in (15, 16)]  # Airflow names them by their end
    counts = [said(stack, run["dag_run_id"]) for run in ran]
    assert [(each["since"], each["batches"], each["deliveries"]) for each in counts] == [
        (hour(14), 1, 1),
        (hour(15), 1, 1),
    ]
    assert {label(stack, run["dag_run_id"]) for run in ran} & {"1 lead, 1 delivery put back"}

    body = {"dag_id": DAG, "from_date": hour(14), "to_date": hour(15), "reprocess_behavior": "completed"}
    dry = stack.api().call("POST", "/api/v2/backfills/dry_run", json=body)
    assert [each["logical_date"][:13] for each in dry["backfills"]] == [hour(14)[:13], hour(15)[:13]]

    def create() -> Any:
        try:
            return stack.api().call("POST", "/api/v2/backfills", json=body)
        except ApiError as refusal:
            if refusal.status == 409:  # only one backfill of a DAG may be under way
                return None
            raise

    again = until(create)["id"]
    until(lambda: ended(stack, again))
    assert [said(stack, run["dag_run_id"])["batches"] for run in ran] == [0, 0]
    assert len(stack.received("telegram")) == 2
    assert has(stack, refused, "failed")


def test_an_account_that_is_left_alone_is_not_called_and_its_lead_waits(stack: Stack, send: Send) -> None:
    stack.fault(service="telegram", kind="down")
    failed = send("telegram", bot="circuit", at=timedelta(hours=8, minutes=30))
    stack.sandbox("DELETE", "/faults")
    (row,) = stack.sql("leadcast", f"SELECT account FROM deliveries WHERE batch_id = '{failed}'")
    # as after two failures more, and for as long as the test looks
    opened = "opened_at = now(), open_until = now() + interval '1 hour', openings = 1"
    stack.sql("leadcast", f"UPDATE circuits SET {opened} WHERE account = '{row.account}' RETURNING account")
    calls = len(stack.sandbox("GET", "/received/telegram"))

    run = by_hand(stack, since=hour(8), until=hour(9))
    assert said(stack, run["dag_run_id"])["deliveries"] == 1
    until(lambda: batch(stack, failed)["deliveries"][0]["waits_for"] == "circuit")
    assert has(stack, failed, "processing")
    assert len(stack.sandbox("GET", "/received/telegram")) == calls

    stack.run("circuits", "--close", row.account[:8])
    until(lambda: has(stack, failed, "completed"))
    assert len(stack.received("telegram")) == 1


def test_beside_a_live_wave_nothing_is_sent_twice_and_clearing_the_run_does_no_harm(stack: Stack, send: Send) -> None:
    before = datetime.now(UTC).isoformat()
    stack.fault(service="telegram", kind="slow", delay_s=15, times=1)
    live = send("telegram", bot="live")
    until(lambda: batch(stack, live)["deliveries"][0]["state"] == "sending")
    run = by_hand(stack, since=before)
    until(lambda: has(stack, live, "completed"))
    assert said(stack, run["dag_run_id"])["batches"] == 0
    stack.api("admin").call(
        "POST",
        f"/api/v2/dags/{DAG}/clearTaskInstances",
        json={"dry_run": False, "dag_run_id": run["dag_run_id"], "only_failed": False, "reset_dag_runs": True},
    )
    until(lambda: cleared(stack, run["dag_run_id"]))
    assert run_of(stack, run["dag_run_id"])["state"] == "success"
    assert said(stack, run["dag_run_id"])["batches"] == 0
    assert len(stack.received("telegram")) == 1


def cleared(stack: Stack, run_id: str) -> bool:
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id.replace('+', '%2B')}/taskInstances/retry"
    return bool(stack.api().call("GET", path)["try_number"] == 2)


def test_a_window_that_is_none_is_refused_by_name(stack: Stack) -> None:
    run = by_hand(stack, since="2026-11-25T14:00:00")
    assert run["state"] == "failed"
    path = f"/api/v2/dags/{DAG}/dagRuns/{run['dag_run_id'].replace('+', '%2B')}/taskInstances/retry"
    assert stack.api().call("GET", path)["try_number"] == 1, "trying again would not help"
    assert "no time zone" in str(stack.api().call("GET", f"{path}/logs/1?full_content=true"))
