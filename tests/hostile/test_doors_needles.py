"""Secrets and a person through every door of Airflow's and ours, good ones and wrong ones: nobody finds them again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from leadcast.local.postgres import binary
from tests.support.api_server import TRIGGER, ApiServer

pytestmark = [pytest.mark.system, pytest.mark.store]
SECRETS = ("N33DLE",)
PERSON = ("Xenia Needlova", "+79995550000")
REQUEST: dict[str, Any] = {
    "lead_id": "needle-1",
    "lead": {"name": "Xenia Needlova", "phone": "+79995550000"},
    "integrations": [{"type": "telegram"}, {"type": "webhook"}],
    "credentials": {
        "telegram": {"bot_token": "700:N33DLE-telegram-token-of-the-tests", "chat_id": "@sales"},
        "webhook": {"url": "https://receiver.example/N33DLE-url", "headers": {"X-Key": "N33DLE-header"}},
    },
    "callback_url": "https://receiver.example/hook?token=N33DLE-callback",
}
TEXT = json.dumps(REQUEST)
RUN = f"{TRIGGER}/some-run"
CONF = {"logical_date": None, "conf": REQUEST}
TAKEN: list[tuple[str, str, Any]] = [
    ("POST", TRIGGER, CONF),
    ("POST", "/api/integrations/send-batch", REQUEST),
]
REFUSED: list[tuple[str, str, Any]] = [
    *(("POST", TRIGGER, {"logical_date": None, name: REQUEST}) for name in ("config", "Conf", "dag_run_conf")),
    ("POST", TRIGGER, REQUEST),
    ("POST", f"{TRIGGER}?conf={TEXT}", {"logical_date": None}),
    ("POST", "/api/v2/dags/send_laed/dagRuns", CONF),
    ("PATCH", RUN, CONF),
    ("PATCH", RUN, {"note": TEXT}),
    ("POST", f"{RUN}/clear", {"dry_run": False, "conf": REQUEST}),
    ("PATCH", "/api/v2/dags/~/dagRuns", {"actions": [{"action": "update", "entities": [{"conf": REQUEST}]}]}),
    ("POST", "/api/v2/assets/1/materialize", {"conf": REQUEST}),
    ("POST", "/api/v2/backfills", {"dag_id": "retry_leads", "dag_run_conf": REQUEST}),
    ("POST", f"{RUN}/taskInstances/plan/xcomEntries", {"key": "x", "value": REQUEST}),
]
TOO_LARGE = CONF | {"padding": "x" * 1024 * 1024}
COMMANDS = [
    (["dags", "trigger", "-vc", TEXT, "send_lead"], True),
    (["dags", "trigger", f"-vc{TEXT}", "send_lead"], True),
    (["dags", "trigger", "send_laed", "--conf", TEXT], False),
    (["dags", "trigger", "send_lead", "--config", TEXT], False),
    (["dags", "trigger", "send_lead", "-c", TEXT[:-1]], False),
]


def dump(url: str) -> str:
    """The whole database, as text."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    command = [str(binary("pg_dump")), plain]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def found(text: str, needles: tuple[str, ...]) -> list[str]:
    return [line[:300] for line in text.splitlines() if any(needle in line for needle in needles)]


def test_nobody_finds_them_again(server: ApiServer, server_home: Path, store: object, postgres_url: str) -> None:
    said = []
    for method, path, body in TAKEN:
        answer = server.call(method, path, json=body)
        assert answer.ok, answer.text
        said.append(answer.text)
    for method, path, body in REFUSED:
        answer = server.call(method, path, user="admin", json=body)
        assert answer.status_code == 422, (method, path, answer.text)
        said.append(answer.text)
    assert server.call("POST", "/api/v2/dags/send_laed/dagRuns", user="admin", json=TOO_LARGE).status_code in (404, 422)
    for arguments, is_taken in COMMANDS:
        done = server.airflow(*arguments)
        assert (done.returncode == 0) == is_taken, done.stderr
        said += [done.stdout, done.stderr]

    assert found("\n".join(said), SECRETS + PERSON) == []
    airflows = dump(server.database_url)
    assert "needle-1" in airflows, "it is the right database"
    assert "cli_dag_trigger" in airflows
    assert found(airflows, SECRETS + PERSON) == []
    ours = dump(postgres_url)
    assert "needle-1" in ours
    assert found(ours, SECRETS) == []
    logs = "\n".join(path.read_text(errors="replace") for path in server_home.rglob("*.log"))
    assert "/api/v2/dags/send_laed/dagRuns" in logs, "the access log is among them"
    assert found(logs, SECRETS + PERSON) == []
