"""The main job through every door: one lead, several integrations, a status that is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.stack import EXAMPLES, SECRETS, Stack, until

pytestmark = pytest.mark.system
REQUEST = (EXAMPLES / "laravel-request.json").read_bytes()
ALL_FIVE = ("amocrm", "email", "telegram", "bitrix24", "webhook")


@pytest.fixture(autouse=True)
def lead_123(stack: Stack) -> None:
    lead = {"name": "Анна Пример", "phone": "+79990000001", "email": "anna@example.com", "company": "ООО Ромашка"}
    stack.api().call("PUT", "/api/integrations/leads/123", json=lead)


def check_what_the_request_promises(stack: Stack, batch: dict[str, Any]) -> None:
    """The request of the Laravel system reached all three services, with its lead and its words."""
    assert batch["status"] == "completed"
    assert {item["type"]: item["state"] for item in batch["deliveries"]} == dict.fromkeys(
        ("amocrm", "email", "telegram"), "delivered"
    )
    (lead,) = stack.sandbox("GET", "/stored/amocrm")["leads"]
    (contact,) = lead["contacts"]
    assert "+79990000001" in json.dumps(contact)
    (mail,) = stack.mails("New Lead")
    assert mail["subject"] == "New Lead: Анна Пример"
    assert mail["rcpt_tos"] == ["admin@example.com", "notifications@example.com"]
    (message,) = stack.received("telegram")
    assert "Анна Пример" in json.dumps(message, ensure_ascii=False)


def test_the_laravel_request_byte_for_byte(stack: Stack) -> None:
    answer = stack.api().call("POST", "/api/integrations/send-batch", data=REQUEST)
    assert (answer["status"], answer["lead_id"], answer["total_jobs"]) == ("pending", "123", 3)
    assert set(answer["links"]) == {"self", "run"}
    check_what_the_request_promises(stack, stack.settled(answer["batch_id"]))


def test_the_laravel_request_as_conf_of_airflows_own_trigger(stack: Stack) -> None:
    body = {"logical_date": None, "conf": json.loads(REQUEST)}
    run = stack.api().call("POST", "/api/v2/dags/send_lead/dagRuns", json=body)
    until(lambda: stack.run_state(run["dag_run_id"]) == "success")
    (batch,) = stack.api().call("GET", "/api/integrations/batches?lead_id=123&limit=1")["batches"]
    assert batch["run_id"] == run["dag_run_id"]
    check_what_the_request_promises(stack, stack.settled(batch["batch_id"]))


def test_the_laravel_request_from_the_command_line(stack: Stack) -> None:
    shown = stack.run("send", str(EXAMPLES / "laravel-request.json"), "--wait")
    assert "completed" in shown.stdout
    (batch,) = stack.api().call("GET", "/api/integrations/batches?lead_id=123&limit=1")["batches"]
    check_what_the_request_promises(stack, stack.settled(batch["batch_id"]))


def test_a_quiet_wave_of_five_costs_seven_processes(stack: Stack) -> None:
    integrations = [{"type": kind} for kind in ALL_FIVE]
    answer = stack.api().call(
        "POST",
        "/api/integrations/send-batch",
        json={"lead_id": 123, "integrations": integrations, "credentials": {"email": SECRETS["email"]}},
    )
    batch = stack.settled(answer["batch_id"])
    assert batch["status"] == "completed"
    instances = stack.task_instances(batch["run_id"])
    assert len([item for item in instances if item["pid"]]) == len(ALL_FIVE) + 2
    labels = {item["rendered_map_index"] for item in instances if item["task_id"].startswith("deliver_")}
    assert labels == {f"123 → {kind}" for kind in ALL_FIVE}
    for item in instances:
        if item["task_id"].startswith("deliver_"):
            assert item["pool"] == item["queue"]
            assert item["pool"].startswith("integration-")


def test_integrations_not_asked_for_cost_no_process(stack: Stack) -> None:
    answer = stack.api().call(
        "POST",
        "/api/integrations/send-batch",
        json={"lead_id": 123, "integrations": [{"type": "telegram"}], "credentials": {"telegram": SECRETS["telegram"]}},
    )
    batch = stack.settled(answer["batch_id"])
    ran = {item["task_id"] for item in stack.task_instances(batch["run_id"]) if item["pid"]}
    assert ran == {"plan", "deliver_telegram", "settle"}


def test_many_leads_at_once_are_each_delivered_once(stack: Stack) -> None:
    api = stack.api()
    accepted = [
        api.call(
            "POST",
            "/api/integrations/send-batch",
            json={
                "lead_id": f"many-{number}",
                "lead": {"name": f"Lead {number}"},
                "integrations": [{"type": "webhook"}],
            },
        )["batch_id"]
        for number in range(12)
    ]
    assert {stack.settled(batch_id)["status"] for batch_id in accepted} == {"completed"}
    assert len(stack.received("webhook")) == len(accepted)
    assert len({stack.settled(batch_id)["run_id"] for batch_id in accepted}) < len(accepted), "they rode together"
