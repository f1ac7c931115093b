"""What people do to batches and, in Airflow, to their runs and tasks: each ends in the right status, told once."""

from __future__ import annotations

import pytest

from tests.stack.people import People
from tests.support.stack import Stack, until

pytestmark = pytest.mark.system

LATER = {"kind": "answer", "status": 503, "headers": {"Retry-After": "25"}}
"""A webhook's answer that makes its task `up_for_retry` for longer than a person needs to mark it."""


@pytest.fixture
def people(stack: Stack) -> People:
    return People(stack)


def test_what_failed_is_retried_by_the_command_line_and_only_that(stack: Stack, people: People) -> None:
    stack.fault(service="telegram", kind="error", description="chat not found")
    batch_id = people.send("telegram", "webhook")
    assert people.ended(batch_id)["status"] == "partial"
    done = stack.run("retry", batch_id, "--wait")
    assert "Lead 8: completed" in done.stdout
    assert (len(stack.received("telegram")), len(stack.received("webhook"))) == (1, 1)
    assert people.told(batch_id) == {"partial": 1, "completed": 1}
    again = stack.run("retry", batch_id, check=False)
    assert (again.returncode, "Nothing to retry" in again.stderr) == (1, True)


def test_a_cancelled_batch_stays_so_whatever_is_cleared_of_it(stack: Stack, people: People) -> None:
    stack.fault(service="webhook", times=None, **LATER)
    batch_id = people.send("telegram", "webhook")
    run_id = people.in_state(batch_id, "webhook", "retrying")
    until(lambda: people.task(run_id, "webhook")["state"] == "up_for_retry")
    assert "partial" in stack.run("cancel", batch_id).stdout
    stack.clear(run_id, "deliver_webhook")
    assert people.run_ends(run_id) == "success"
    assert people.task(run_id, "webhook")["try_number"] == 2
    stack.clear(run_id, "plan")
    people.run_ends(run_id)
    assert people.states(batch_id) == {"telegram": "delivered", "webhook": "cancelled"}
    assert people.batch(batch_id)["status"] == "partial"
    assert len(stack.sandbox("GET", "/received/webhook")) == 1
    assert people.told(batch_id) == {"partial": 1}


def test_clearing_a_failed_task_sends_it_again_and_its_batch_is_completed(stack: Stack, people: People) -> None:
    stack.fault(service="telegram", kind="error", description="chat not found")
    batch_id = people.send("telegram", "webhook")
    run_id = str(people.ended(batch_id)["run_id"])
    people.run_ends(run_id)
    stack.clear(run_id, "deliver_telegram")
    until(lambda: people.batch(batch_id)["status"] == "completed")
    assert people.run_ends(run_id) == "success"
    assert (len(stack.received("telegram")), len(stack.received("webhook"))) == (1, 1)
    assert people.told(batch_id) == {"partial": 1, "completed": 1}


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_task_that_is_marked_while_it_sends_is_stopped_and_a_person_decides(
    stack: Stack, people: People, state: str
) -> None:
    stack.fault(service="telegram", kind="slow", delay_s=30)
    batch_id = people.send("telegram")
    run_id = people.in_state(batch_id, "telegram", "sending")
    people.mark(run_id, "telegram", state)
    people.run_ends(run_id)
    batch = people.swept(batch_id)
    assert (batch["status"], people.states(batch_id)) == ("failed", {"telegram": "unknown"})
    assert batch["deliveries"][0]["history"][0]["outcome"] == "died"
    assert sum(people.told(batch_id).values()) == 1


def test_a_task_that_is_marked_failed_between_its_tries_is_gone_on_with_by_a_later_run(
    stack: Stack, people: People
) -> None:
    stack.fault(service="webhook", **LATER)
    batch_id = people.send("webhook")
    run_id = people.in_state(batch_id, "webhook", "retrying")
    until(lambda: people.task(run_id, "webhook")["state"] == "up_for_retry")
    people.mark(run_id, "webhook", "failed")
    # the pause that the service has asked for is not what this is about
    stack.sql("leadcast", "DELETE FROM limits RETURNING name")
    batch = people.ended(batch_id)
    assert batch["status"] == "completed"
    assert batch["run_id"] != run_id
    assert len(stack.received("webhook")) == 1
    assert people.told(batch_id) == {"completed": 1}


def test_a_task_that_is_marked_as_a_success_between_its_tries_is_not_sent_by_anybody_any_more(
    stack: Stack, people: People
) -> None:
    stack.fault(service="webhook", **LATER)
    batch_id = people.send("telegram", "webhook")
    run_id = people.in_state(batch_id, "webhook", "retrying")
    until(lambda: people.task(run_id, "webhook")["state"] == "up_for_retry")
    people.mark(run_id, "webhook", "success")
    people.run_ends(run_id)
    people.sweep()
    batch = people.ended(batch_id)
    assert (batch["status"], batch["run_id"]) == ("partial", run_id)
    assert people.states(batch_id) == {"telegram": "delivered", "webhook": "failed"}
    assert stack.received("webhook") == []
    assert people.told(batch_id) == {"partial": 1}


def test_of_a_run_that_is_marked_as_a_success_while_it_sends_a_person_decides(stack: Stack, people: People) -> None:
    stack.fault(service="telegram", kind="slow", delay_s=30)
    batch_id = people.send("telegram")
    people.mark_run(people.in_state(batch_id, "telegram", "sending"), "success")
    batch = people.swept(batch_id)
    assert (batch["status"], people.states(batch_id)) == ("failed", {"telegram": "unknown"})
    assert people.told(batch_id) == {"failed": 1}


def test_a_run_that_is_deleted_while_it_sends_loses_no_lead(stack: Stack, people: People) -> None:
    stack.fault(service="webhook", kind="slow", delay_s=30)
    batch_id = people.send("webhook")
    run_id = people.in_state(batch_id, "webhook", "sending")
    assert people.delete_run(run_id) == 409, "Airflow deletes no run that goes on"
    people.mark_run(run_id, "failed")
    assert people.delete_run(run_id) == 204
    batch = people.swept(batch_id)
    assert batch["status"] == "completed"
    assert batch["run_id"] != run_id
    assert people.told(batch_id) == {"completed": 1}
    assert {item["webhook_id"] for item in stack.received("webhook")} == {f"{batch_id}-0"}


def test_a_run_that_is_deleted_before_it_starts_is_rung_for_again(stack: Stack, people: People) -> None:
    people.pause(True)
    try:
        batch_id = people.send("webhook")
        run_id = until(people.queued_run)
        assert people.delete_run(run_id) == 204
    finally:
        people.pause(False)
    # the sweep waits half a minute before it takes a bell for unheard
    stack.sql("leadcast", "UPDATE inbox SET rung_at = rung_at - interval '1 h' RETURNING rung_at")
    batch = people.swept(batch_id)
    assert (batch["status"], people.told(batch_id)) == ("completed", {"completed": 1})
    # another test's lead, at a slow receiver, may come only now
    assert len([item for item in stack.received("webhook") if batch_id in item["webhook_id"]]) == 1


@pytest.mark.parametrize("cleared", ["plan", "deliver_telegram"])
def test_clearing_an_old_run_leaves_alone_what_a_later_one_carries(stack: Stack, people: People, cleared: str) -> None:
    stack.fault(service="telegram", kind="error", description="chat not found")
    batch_id = people.send("telegram")
    old = str(people.ended(batch_id)["run_id"])
    people.run_ends(old)
    stack.fault(service="telegram", kind="slow", delay_s=8)
    assert f"{batch_id}  pending  see: leadcast batch {batch_id}" in stack.run("retry", batch_id).stdout
    later = people.in_state(batch_id, "telegram", "sending")
    assert later != old
    stack.clear(old, cleared)
    people.run_ends(old)
    batch = people.ended(batch_id)
    assert (batch["status"], batch["run_id"]) == ("completed", later)
    assert len(stack.received("telegram")) == 1
    assert people.told(batch_id) == {"failed": 1, "completed": 1}
