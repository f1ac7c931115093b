"""A person is erased from the whole stack: both databases and every log are searched for what was known of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import make_url

from leadcast.client.api import ApiError
from leadcast.local.postgres import binary
from leadcast.local.stack import environment
from tests.support.stack import SECRETS, Stack, until

pytestmark = pytest.mark.system
LEAD_ID = "to-be-erased"
PATH = f"/api/integrations/leads/{LEAD_ID}"
LEAD = {
    "name": "Erasmus Needleman",
    "phone": "+79997654321",
    "email": "erasmus@needle.example",
    "company": "Needleman & Sons",
    "comment": "a comment of needles",
    "source": "needle-source",
    "utm": {"utm_source": "needle-utm"},
    "custom": {"city": "needle-custom"},
}
NEEDLES = (
    *("Erasmus Needleman", "79997654321", "erasmus@needle.example", "Needleman", "comment of needles"),
    *("needle-source", "needle-utm", "needle-custom", "needle-setting", "needle-callback"),
)
TO_WEBHOOK: dict[str, Any] = {"integrations": [{"type": "webhook"}], "credentials": {}}
WORDS = "Erasmus Needleman +79997654321 erasmus@needle.example"


def request(**more: Any) -> dict[str, Any]:
    """To all five, the webhook at an address where the sandbox answers."""
    webhook = {"type": "webhook", "settings": {"fields": {"to": "needle-setting"}}}
    others = [{"type": kind} for kind in SECRETS if kind != "webhook"]
    return {
        "lead_id": LEAD_ID,
        "lead": LEAD,
        "integrations": [*others, webhook],
        "credentials": {kind: SECRETS[kind] for kind in SECRETS if kind != "webhook"},
        "callback_url": "http://127.0.0.1:1/needle-callback",
        **more,
    }


def send(stack: Stack, **more: Any) -> str:
    return str(stack.api().call("POST", "/api/integrations/send-batch", json=request(**more))["batch_id"])


def every_service_repeats_it(stack: Stack) -> None:
    for service in ("amocrm", "bitrix24", "telegram", "webhook"):
        body = {"title": WORDS, "detail": WORDS, "description": WORDS, "error": WORDS, "error_description": WORDS}
        stack.fault(
            service=service, kind="answer", status=400, body=body | {"ok": False, "error_code": 400}, times=None
        )
    stack.fault(service="smtp", kind="reject", code=550, text=f"no mailbox for {WORDS}", times=None)


def dump(stack: Stack, database: str) -> str:
    """The whole database, as text."""
    env = environment(stack.home, inherited=stack.env)
    url = make_url(env["AIRFLOW__LEADCAST__STORE_URL"]).set(drivername="postgresql", database=database)
    command = [str(binary("pg_dump")), url.render_as_string(hide_password=False)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def places(stack: Stack) -> Iterator[tuple[str, str]]:
    """Both databases and every log, each with its text."""
    for database in ("leadcast", "airflow"):
        yield database, dump(stack, database)
    for path in stack.home.logs.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(stack.home.root)), path.read_text(errors="replace")


def found(stack: Stack) -> dict[str, list[str]]:
    """Where needles are: place → which."""
    held = {place: [needle for needle in NEEDLES if needle in text] for place, text in places(stack)}
    return {place: needles for place, needles in held.items() if needles}


def all_ended(stack: Stack, number: int) -> bool:
    """Whether so many batches of the lead were accepted, and all have ended."""
    rows = stack.sql("leadcast", f"SELECT finished_at FROM batches WHERE lead_id = '{LEAD_ID}'")
    return len(rows) == number and all(row[0] for row in rows)


def sealed_of(stack: Stack) -> list[str]:
    """What Airflow's database holds of this lead that is sealed: of runs, and of its audit log."""
    runs = stack.sql("airflow", "SELECT conf::text FROM dag_run WHERE dag_id = 'send_lead'")
    audit = stack.sql("airflow", "SELECT extra FROM log WHERE dag_id = 'send_lead'")
    return [row[0] for row in (*runs, *audit) if row[0] and LEAD_ID in row[0] and "gAAAA" in row[0]]


def test_a_person_is_erased_everywhere(stack: Stack) -> None:
    api = stack.api()
    api.call("PUT", PATH, json=LEAD)
    batches = [send(stack)]
    stack.settled(batches[0])
    run = api.call("POST", "/api/v2/dags/send_lead/dagRuns", json={"logical_date": None, "conf": request()})
    until(lambda: stack.run_state(run["dag_run_id"]) in ("success", "failed"))
    stack.run("airflow", "dags", "trigger", "send_lead", "--conf", json.dumps(request()))
    until(lambda: all_ended(stack, 3))
    every_service_repeats_it(stack)
    batches.append(send(stack))
    failed = stack.settled(batches[1])
    assert failed["status"] == "failed", failed
    assert set(found(stack)["leadcast"]) == set(NEEDLES) - {"needle-callback"}
    assert len(sealed_of(stack)) == 4, "two runs and their rows in the audit log"

    with pytest.raises(ApiError) as refused:
        api.call("DELETE", PATH)
    assert refused.value.status == 403, "one of its batches came from the command line, so from somebody else"
    # a run of the command's may not be through with its settle task yet
    until(lambda: stack.api("admin").call("DELETE", PATH)["done"])
    answer = stack.api("admin").call("DELETE", PATH)
    assert (answer["done"], answer["left"], answer["asked_by"]) == (True, [], "admin")
    assert {kind: answer["erased"][kind] for kind in ("leads", "batches", "deliveries", "runs", "audit_log_rows")} == {
        "leads": 1,
        "batches": 4,
        "deliveries": 20,
        "runs": 2,
        "audit_log_rows": 2,
    }
    assert found(stack) == {}
    assert sealed_of(stack) == []
    with pytest.raises(ApiError) as gone:
        api.call("GET", PATH)
    assert gone.value.status == 404
    listed = api.call("GET", f"/api/integrations/batches?lead_id={LEAD_ID}")["batches"]
    assert sorted(batch["status"] for batch in listed) == ["completed", "completed", "completed", "failed"]


def test_what_is_being_sent_ends_and_the_sweep_finishes_the_rest(stack: Stack) -> None:
    stack.fault(service="webhook", kind="slow", delay_s=8, times=None)
    batch_id = send(stack, **TO_WEBHOOK)
    until(lambda: sending(stack, batch_id))
    answer = stack.api("admin").call("DELETE", PATH)
    assert (answer["done"], [left["id"] for left in answer["left"]]) == (False, [batch_id])
    until(lambda: stack.sql("leadcast", f"SELECT 1 FROM erasures WHERE lead_id = '{LEAD_ID}' AND done_at IS NOT NULL"))
    assert found(stack) == {}


def sending(stack: Stack, batch_id: str) -> bool:
    return bool(stack.sql("leadcast", f"SELECT 1 FROM deliveries WHERE batch_id = '{batch_id}' AND state = 'sending'"))


def test_who_may_only_look_may_not_erase(stack: Stack) -> None:
    send(stack, **TO_WEBHOOK)
    with pytest.raises(ApiError) as refused:
        stack.api("viewer").call("DELETE", PATH)
    assert refused.value.status == 403


def test_the_dag_deletes_old_runs_through_the_api_and_leaves_new_ones(stack: Stack) -> None:
    old = stack.settled(send(stack, **TO_WEBHOOK))["run_id"]
    new = stack.settled(send(stack, **TO_WEBHOOK))["run_id"]
    assert old != new
    aged = "end_date = end_date - interval '31 days' WHERE run_id"
    assert stack.sql("airflow", f"UPDATE dag_run SET {aged} = '{old}' RETURNING run_id")
    sweeps = "(SELECT run_id FROM dag_run WHERE dag_id = 'sweep' AND state = 'success' LIMIT 1)"
    (sweep,) = stack.sql("airflow", f"UPDATE dag_run SET {aged} IN {sweeps} AND dag_id = 'sweep' RETURNING run_id")
    run = stack.api().call("POST", "/api/v2/dags/prune/dagRuns", json={"logical_date": None})["dag_run_id"]
    path = f"/api/v2/dags/prune/dagRuns/{run}"
    until(lambda: stack.api().call("GET", path)["state"] in ("success", "failed"))
    assert stack.api().call("GET", path)["state"] == "success"
    left = [row[0] for row in stack.sql("airflow", "SELECT run_id FROM dag_run")]
    assert new in left
    assert not {old, sweep[0]} & set(left)
