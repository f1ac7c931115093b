"""The yardstick: the same lead to the same five services in plain Airflow, as one would write it at first.

A router task per type, a mapped task per type, a status task. It runs with Airflow's default settings and knows nothing
of Leadcast: no ledger, no outbox, no retries, one call per service. Imports are inside the tasks, as Airflow advises.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

TIMEOUT_S = 30


def send_email(lead: dict[str, Any], service: dict[str, Any]) -> None:
    """One letter by SMTP."""
    import smtplib
    from email.message import EmailMessage

    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "plain@example.com", service["to"], f"New Lead: {lead['name']}"
    letter.set_content(f"{lead['name']}\n{lead['phone']}\n{lead['email']}\n")
    with smtplib.SMTP(service["host"], service["port"], timeout=TIMEOUT_S) as server:
        server.send_message(letter)


def send_amocrm(lead: dict[str, Any], service: dict[str, Any]) -> None:
    """One lead with its contact."""
    values = {"PHONE": lead["phone"], "EMAIL": lead["email"]}
    fields = [{"field_code": code, "values": [{"value": value, "enum_code": "WORK"}]} for code, value in values.items()]
    contact = {"first_name": lead["name"], "custom_fields_values": fields}
    _post(
        f"{service['url']}/api/v4/leads/complex",
        [{"name": lead["name"], "_embedded": {"contacts": [contact]}}],
        headers={"Authorization": f"Bearer {service['token']}"},
    )


def send_telegram(lead: dict[str, Any], service: dict[str, Any]) -> None:
    """One message."""
    text = f"New lead: {lead['name']}, {lead['phone']}"
    _post(f"{service['url']}/bot{service['token']}/sendMessage", {"chat_id": service["chat_id"], "text": text})


def send_bitrix24(lead: dict[str, Any], service: dict[str, Any]) -> None:
    """One lead."""
    phone = {"typeId": "PHONE", "valueType": "WORK", "value": lead["phone"]}
    fields = {"title": lead["name"], "name": lead["name"], "fm": [phone]}
    _post(f"{service['url']}/rest/1/{service['token']}/crm.item.add.json", {"entityTypeId": 1, "fields": fields})


def send_webhook(lead: dict[str, Any], service: dict[str, Any]) -> None:
    """One event."""
    _post(f"{service['url']}/leads", {"type": "lead.created", "data": lead})


SENDERS = {
    "email": send_email,
    "amocrm": send_amocrm,
    "telegram": send_telegram,
    "bitrix24": send_bitrix24,
    "webhook": send_webhook,
}


def _post(url: str, body: Any, *, headers: dict[str, str] | None = None) -> None:
    import requests

    requests.post(url, json=body, headers=headers, timeout=TIMEOUT_S).raise_for_status()


@task
def route(kind: str) -> list[str]:
    """The integrations of this type that the request asks for."""
    conf = get_current_context()["dag_run"].conf or {}
    return [wanted for wanted in conf["integrations"] if wanted == kind]


@task
def send(kind: str) -> None:
    """Sends the lead to one integration."""
    conf = get_current_context()["dag_run"].conf or {}
    SENDERS[kind](conf["lead"], conf["services"][kind])


@task(trigger_rule="all_done")
def status() -> str:
    """The outcome, from the states of the tasks."""
    context = get_current_context()
    ti, run_id = context["ti"], context["run_id"]
    tasks = [f"send_{kind}" for kind in SENDERS]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=tasks, run_ids=[run_id])[run_id].values()
    if "success" not in states:
        raise RuntimeError("Nothing was delivered.")
    return "partial" if "failed" in states else "completed"


@dag(schedule=None, catchup=False, dagrun_timeout=timedelta(minutes=10))
def plain_lead() -> None:
    """route → send, one mapped task per type → status."""
    done = status()
    for kind in SENDERS:
        routed = route.override(task_id=f"route_{kind}")(kind)
        send.override(task_id=f"send_{kind}").expand(kind=routed) >> done


plain_lead()
