"""What goes wrong outside: the status is right, people are told which and why, and nothing is sent twice."""

from __future__ import annotations

from typing import Any

import pytest

from leadcast.core.setting_choices import Language
from leadcast.integrations.text.wording import Wording
from tests.support.stack import SECRETS, Stack, until

pytestmark = pytest.mark.system


@pytest.fixture
def send(stack: Stack) -> Any:
    """Sends lead 7 to these integrations through the REST door and waits until all is over."""

    def send(*types: str) -> dict[str, Any]:
        body = {
            "lead_id": 7,
            "lead": {"name": "Борис", "phone": "+79990000007"},
            "integrations": [{"type": kind} for kind in types],
            "credentials": {kind: SECRETS[kind] for kind in types if kind != "webhook"},
        }
        accepted = stack.api().call("POST", "/api/integrations/send-batch", json=body)
        return stack.settled(accepted["batch_id"])

    return send


def states(batch: dict[str, Any]) -> dict[str, str]:
    return {item["type"]: item["state"] for item in batch["deliveries"]}


def notification(stack: Stack, batch: dict[str, Any], state: str) -> dict[str, Any]:
    """The one letter that tells of this batch."""

    def told() -> list[dict[str, Any]]:
        letters = [letter for letter in stack.received("smtp") if letter["rcpt_tos"] == ["sales@example.com"]]
        return [letter for letter in letters if batch["batch_id"] in letter["text"]]

    until(told)
    (letter,) = told()
    rows = stack.sql(
        "leadcast", f"SELECT occasion FROM notifications WHERE batch_id = '{batch['batch_id']}' AND channel = 'email'"
    )
    assert [row.occasion for row in rows] == [state]
    return letter


def test_one_integration_down_for_good_is_partial_and_the_others_are_delivered(stack: Stack, send: Any) -> None:
    stack.fault(service="amocrm", kind="status", status=400, times=None)
    batch = send("amocrm", "telegram", "bitrix24")
    assert batch["status"] == "partial"
    assert states(batch) == {"amocrm": "failed", "telegram": "delivered", "bitrix24": "delivered"}
    letter = notification(stack, batch, "partial")
    assert "amocrm" in letter["text"]
    reason = next(item["error"]["message"] for item in batch["deliveries"] if item["type"] == "amocrm")
    in_russian = Wording.of(Language.RU).say(reason)
    assert in_russian != reason
    assert in_russian in letter["text"].replace("\n", " ")
    assert "Борис" not in letter["text"]
    assert stack.run_state(batch["run_id"]) == "success"


def test_all_down_is_failed_and_so_is_the_run(stack: Stack, send: Any) -> None:
    for service in ("telegram", "bitrix24"):
        stack.fault(service=service, kind="down")
    batch = send("telegram", "bitrix24")
    assert batch["status"] == "failed"
    assert [item["attempts"] for item in batch["deliveries"]] == [3, 3]
    assert stack.run_state(batch["run_id"]) == "failed"
    notification(stack, batch, "failed")


def test_a_passing_failure_is_tried_again_and_delivered_once(stack: Stack, send: Any) -> None:
    stack.fault(service="telegram", kind="rate_limit", retry_after=1, times=1)
    stack.fault(service="bitrix24", kind="rate_limit", times=2)
    batch = send("telegram", "bitrix24")
    assert batch["status"] == "completed"
    assert {item["type"]: item["attempts"] for item in batch["deliveries"]} == {"telegram": 2, "bitrix24": 3}
    assert len(stack.received("telegram")) == 1
    assert len(stack.sandbox("GET", "/stored/bitrix24")["leads"]) == 1


def test_a_lost_answer_is_asked_for_and_not_sent_again(stack: Stack, send: Any) -> None:
    for service, sends in (("amocrm", "/api/v4/leads"), ("bitrix24", "crm.item.add")):
        stack.fault(service=service, kind="hang_up_after", times=1, match=sends)
    batch = send("amocrm", "bitrix24")
    assert batch["status"] == "completed"
    assert all(item["receipt"]["reconciled"] for item in batch["deliveries"])
    assert len(stack.sandbox("GET", "/stored/amocrm")["leads"]) == 1
    assert len(stack.sandbox("GET", "/stored/bitrix24")["leads"]) == 1


def test_a_message_that_may_have_arrived_is_held_for_a_person(stack: Stack, send: Any) -> None:
    stack.fault(service="telegram", kind="hang_up_after", times=1)
    batch = send("telegram", "bitrix24")
    assert (batch["status"], states(batch)["telegram"]) == ("partial", "unknown")
    assert len(stack.received("telegram")) == 1


def test_clearing_settle_changes_nothing_and_tells_nobody_again(stack: Stack, send: Any) -> None:
    batch = send("telegram", "email")
    notification(stack, batch, "completed")
    letters = len(stack.received("smtp"))
    stack.clear(batch["run_id"], "settle")
    until(lambda: stack.run_state(batch["run_id"]) == "success")
    again = stack.settled(batch["batch_id"])
    assert (again["status"], again["finished_at"]) == (batch["status"], batch["finished_at"])
    assert len(stack.received("smtp")) == letters


def test_clearing_what_is_delivered_sends_nothing_again(stack: Stack, send: Any) -> None:
    batch = send("telegram", "bitrix24", "amocrm")
    stack.clear(batch["run_id"], "deliver_telegram", "deliver_bitrix24", "deliver_amocrm")
    until(lambda: all(item["try_number"] > 1 for item in ran(stack, batch, "deliver_") + ran(stack, batch, "settle")))
    until(lambda: stack.run_state(batch["run_id"]) == "success")
    assert len(stack.received("telegram")) == 1
    assert len(stack.sandbox("GET", "/stored/bitrix24")["leads"]) == 1
    assert len(stack.sandbox("GET", "/stored/amocrm")["leads"]) == 1
    assert [item["attempts"] for item in stack.settled(batch["batch_id"])["deliveries"]] == [1, 1, 1]


def test_clearing_the_whole_run_sends_only_what_has_failed(stack: Stack, send: Any) -> None:
    stack.fault(service="bitrix24", kind="error", code="ACCESS_DENIED", status=403, times=1, match="crm.item.add")
    batch = send("telegram", "bitrix24")
    assert batch["status"] == "partial"
    stack.clear(batch["run_id"], "plan")
    until(lambda: stack.api().call("GET", batch["links"]["self"])["status"] == "completed")
    assert len(stack.received("telegram")) == 1
    assert len(stack.sandbox("GET", "/stored/bitrix24")["leads"]) == 1


def test_a_run_that_is_marked_failed_by_hand_costs_no_lead(stack: Stack, send: Any) -> None:
    stack.fault(service="webhook", kind="slow", delay_s=20, times=1)
    body = {"lead_id": 7, "lead": {}, "integrations": [{"type": "webhook"}]}
    accepted = stack.api().call("POST", "/api/integrations/send-batch", json=body)
    batch = until(lambda: sending(stack, accepted["batch_id"]))
    stack.api("admin").call("PATCH", f"/api/v2/dags/send_lead/dagRuns/{batch['run_id']}", json={"state": "failed"})
    assert stack.settled(accepted["batch_id"])["status"] == "completed"
    assert {item["webhook_id"] for item in stack.received("webhook")} == {f"{accepted['batch_id']}-0"}


def sending(stack: Stack, batch_id: str) -> dict[str, Any] | None:
    batch: dict[str, Any] = stack.api().call("GET", f"/api/integrations/batches/{batch_id}")
    return batch if "sending" in states(batch).values() else None


def ran(stack: Stack, batch: dict[str, Any], task: str) -> list[dict[str, Any]]:
    """The task instances with this beginning that cost a process."""
    return [item for item in stack.task_instances(batch["run_id"]) if item["task_id"].startswith(task) and item["pid"]]
