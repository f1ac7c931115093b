"""After everything has run, nobody who reads the databases or the logs finds a secret or a lead's data in them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import make_url

from leadcast.local.postgres import binary
from leadcast.local.stack import environment
from tests.support.stack import NEEDLES, SECRETS, Stack, until

pytestmark = pytest.mark.system
TYPES = tuple(SECRETS)
PERSONAL = ("Needle Personov", "+79995551234", "needle@person.example")
LEAD = dict(zip(("name", "phone", "email"), PERSONAL, strict=True))


@pytest.fixture(scope="module")
def busy(running: Stack) -> Stack:
    """The stack after runs with inline secrets through every door, good ones and bad ones."""
    running.sandbox("POST", "/reset")
    body = request()
    api = running.api()
    accepted = [api.call("POST", "/api/integrations/send-batch", json=body)["batch_id"]]
    conf = {"logical_date": None, "conf": request("hook-2")}
    run = api.call("POST", "/api/v2/dags/send_lead/dagRuns", json=conf)
    until(lambda: running.run_state(run["dag_run_id"]) in ("success", "failed"))
    running.run("airflow", "dags", "trigger", "send_lead", "--conf", json.dumps(request("hook-3")))
    for service in ("amocrm", "telegram", "bitrix24", "webhook", "smtp"):
        running.fault(service=service, kind="status", status=500 if service != "smtp" else 550, times=1)
    accepted.append(api.call("POST", "/api/integrations/send-batch", json=request("hook-4"))["batch_id"])
    refused(running, body | {"nonsense": "S3CRET-in-an-unknown-field"})
    refused(running, body | {"credentials": {"telegram": {"bot_token": ["S3CRET-of-a-wrong-type"]}}})
    refused(running, body | {"callback_url": "not a URL S3CRET"})
    for batch_id in accepted:
        running.settled(batch_id)
    until(
        lambda: (
            {row.status for row in running.sql("leadcast", "SELECT status FROM batches")}
            <= {"completed", "partial", "failed"}
        )
    )
    return running


def request(hook: str = "hook") -> dict[str, Any]:
    """To a webhook that nobody answers: each time another one, or its circuit would open and the last ones wait."""
    return {
        "lead_id": "needle-1",
        "lead": LEAD,
        "integrations": [{"type": kind} for kind in TYPES],
        "credentials": SECRETS | {"webhook": SECRETS["webhook"] | {"url": f"http://127.0.0.1:1/S3CRET-{hook}"}},
        "callback_url": "http://127.0.0.1:1/hook?token=S3CRET-callback",
    }


def refused(stack: Stack, body: dict[str, Any]) -> None:
    """Both doors answer 422, and their answers repeat nothing."""
    from leadcast.client.api import ApiError

    for path, sent in (
        ("/api/integrations/send-batch", body),
        ("/api/v2/dags/send_lead/dagRuns", {"logical_date": None, "conf": body}),
    ):
        with pytest.raises(ApiError) as caught:
            stack.api().call("POST", path, json=sent)
        assert caught.value.status == 422
        assert not found(json.dumps(caught.value.problem), NEEDLES)


def found(text: str, needles: tuple[str, ...]) -> list[str]:
    return [needle for needle in needles if needle in text]


def dump(stack: Stack, database: str) -> str:
    """The whole database, as text."""
    env = environment(stack.home, inherited=stack.env)
    url = make_url(env["AIRFLOW__LEADCAST__STORE_URL"]).set(drivername="postgresql", database=database)
    return subprocess.run(
        [str(binary("pg_dump")), url.render_as_string(hide_password=False)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout


def logs(stack: Stack) -> Iterator[tuple[str, str]]:
    for path in stack.home.logs.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(stack.home.root)), path.read_text(errors="replace")


def own_secrets(stack: Stack) -> tuple[str, ...]:
    """The stack's own: tokens of its connections, passwords, keys."""
    return tuple(value.get_secret_value() for _, value in iter(stack.keys()) if hasattr(value, "get_secret_value"))


def test_the_runs_did_go_through(busy: Stack) -> None:
    assert "Needle Personov" in json.dumps(busy.received("telegram"), ensure_ascii=False)
    assert len(busy.sql("leadcast", "SELECT 1 FROM batches WHERE lead_id = 'needle-1'")) == 4


@pytest.mark.parametrize("database", ["airflow", "leadcast"])
def test_no_database_holds_a_secret_in_clear(busy: Stack, database: str) -> None:
    text = dump(busy, database)
    assert "send_lead" in text or "needle-1" in text, "the dump is of the right database"
    assert found(text, NEEDLES) == []
    assert found(text, own_secrets(busy)) == []


def test_airflows_database_holds_no_personal_data(busy: Stack) -> None:
    assert found(dump(busy, "airflow"), PERSONAL) == []


def test_no_log_holds_a_secret_or_personal_data(busy: Stack) -> None:
    read = dict(logs(busy))
    assert any("deliver_telegram" in name for name in read)
    assert {name: found(text, NEEDLES) for name, text in read.items() if found(text, NEEDLES)} == {}
    own = own_secrets(busy)
    assert {name: found(text, own) for name, text in read.items() if found(text, own)} == {}
    assert {name: found(text, PERSONAL) for name, text in read.items() if found(text, PERSONAL)} == {}


def test_the_api_shows_no_secret_and_no_personal_data_of_a_batch(busy: Stack) -> None:
    shown = json.dumps(busy.api().call("GET", "/api/integrations/batches?lead_id=needle-1"))
    assert "needle-1" in shown
    assert found(shown, (*NEEDLES, *PERSONAL)) == []


def test_airflows_views_of_the_runs_show_no_secret(busy: Stack) -> None:
    api = busy.api("admin")
    for path in (
        "/api/v2/dags/send_lead/dagRuns?limit=100",
        "/api/v2/dags/send_lead/dagRuns/~/taskInstances?limit=1000",
        "/api/v2/eventLogs?limit=1000",
    ):
        shown = json.dumps(api.call("GET", path))
        assert len(shown) > 200
        assert found(shown, NEEDLES) == []
