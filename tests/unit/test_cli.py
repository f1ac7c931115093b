"""The command line: what it says when something is wrong, and that it starts quickly."""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from rich.console import Console
from typer.testing import CliRunner

from leadcast.cli import EXIT_NOT_RUNNING, airflow_here, app, session, show
from leadcast.cli.stack import show as stack_show
from leadcast.client import api as client
from leadcast.client.api import Api, ApiError
from leadcast.client.errors import StackError
from leadcast.local import stack
from leadcast.local.home import Home
from leadcast.local.ports import Ports

runner = CliRunner()


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("LEADCAST_TOKEN", "LEADCAST_URL", "LEADCAST_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def console() -> Console:
    return Console(record=True, width=200, file=io.StringIO())


def test_asking_for_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, leadcast.cli; print([m for m in ('airflow', 'requests', 'fastapi', 'psutil') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("below", ["elsewhere", "."])
def test_what_to_try_next_is_a_line_that_works_where_one_is(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    project = tmp_path / "pro ject"
    (tmp_path / "elsewhere").mkdir()
    (project / "examples").mkdir(parents=True)
    (project / "examples" / "lead-123.json").touch()
    monkeypatch.chdir(tmp_path / "elsewhere" if below == "elsewhere" else project)
    monkeypatch.setattr(shutil, "which", lambda name: None)

    stack_show.addresses(Ports(api=9000), Home(root=tmp_path / "home", project=project), console, has_lead_123=True)

    line = next(line for line in console.export_text().splitlines() if line.startswith("Next"))
    _, program, _, file, _ = shlex.split(line)
    assert Path(program) == Path(sys.executable).with_name("leadcast") or below == "."
    assert Path(file).is_file()
    assert Path(file).is_absolute() == (below == "elsewhere")


def test_down_is_harmless_where_nothing_runs_and_makes_nothing(tmp_path: Path) -> None:
    result = runner.invoke(app, ["down"])

    assert result.exit_code == 0
    assert "No stack runs" in result.output
    assert not (tmp_path / "home").exists()


def test_status_says_by_its_exit_code_that_nothing_runs() -> None:
    result = runner.invoke(app, ["status"])

    assert result.exit_code == EXIT_NOT_RUNNING
    assert "leadcast up" in result.output


def test_a_token_without_a_stack_is_an_error_and_nothing_on_standard_output() -> None:
    result = runner.invoke(app, ["token"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "leadcast up" in result.stderr


def test_an_address_that_is_not_ours_never_gets_our_passwords() -> None:
    result = runner.invoke(app, ["batch", "1", "--url", "http://127.0.0.1:9"])

    assert result.exit_code == 1


def test_an_address_where_nobody_answers_is_told_plainly() -> None:
    result = runner.invoke(app, ["batch", "1", "--url", "http://127.0.0.1:9"], env={"LEADCAST_TOKEN": "secret-token"})

    assert result.exit_code == 1
    assert "http://127.0.0.1:9 does not answer" in result.stderr
    assert "secret-token" not in result.output


class SlowServer(BaseHTTPRequestHandler):
    """Gives the first calls up to a proxy's time-out, then accepts."""

    gives_up = 0
    keys: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Idempotency-Key"])
        has_time = len(self.keys) > self.gives_up
        body = b'{"batch_id": "b", "status": "pending"}' if has_time else b"<html>Gateway Time-out"
        self.send_response(202 if has_time else 504)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def slow_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[SlowServer], str]]:
    monkeypatch.setattr(client, "PAUSE_S", 0)
    monkeypatch.setattr(SlowServer, "keys", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowServer) as server:
        Thread(target=server.serve_forever).start()
        yield SlowServer, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_lead_that_gets_no_answer_is_sent_again_under_the_same_key(
    slow_server: tuple[type[SlowServer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = slow_server
    monkeypatch.setattr(server, "gives_up", 2)
    for _ in range(2):
        result = runner.invoke(app, ["send", "-", "--url", url], input="{}", env={"LEADCAST_TOKEN": "t"})
        assert (result.exit_code, result.stdout.split()[:2]) == (0, ["b", "pending"])
    assert len(server.keys) == 4
    assert len(set(server.keys[:3])) == 1  # once for each command
    assert server.keys[3] not in server.keys[:3]


def test_who_gets_no_answer_is_told_how_to_send_a_lead_once(
    slow_server: tuple[type[SlowServer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = slow_server
    monkeypatch.setattr(server, "gives_up", 99)
    result = runner.invoke(app, ["send", "-", "--url", url], input="{}", env={"LEADCAST_TOKEN": "t"})
    assert result.exit_code == 1
    assert "504" in result.stderr
    assert f"--idempotency-key {server.keys[0]}" in result.stderr


def test_a_refusal_lists_every_field_at_fault_once(console: Console) -> None:
    problem = {
        "title": "Invalid request",
        "detail": "lead_id: too long (and 1 more)",
        "errors": [{"loc": ["lead_id"], "msg": "too long"}, {"loc": ["integrations", 0, "type"], "msg": "unknown"}],
    }

    show.refusal(ApiError("POST /x: 422", status=422, problem=problem), console)

    assert console.export_text().splitlines() == [
        "✗ Invalid request",
        "  lead_id: too long",
        "  integrations.0.type: unknown",
    ]


class Refusing(BaseHTTPRequestHandler):
    """Signs everybody in, and lets nobody do anything."""

    def do_POST(self) -> None:
        is_sign_in = self.path == "/auth/token"
        body = b'{"access_token": "t"}' if is_sign_in else b'{"title": "Forbidden", "detail": "No right to edit."}'
        self.send_response(201 if is_sign_in else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def refusing_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """What a command says whose call is refused, on a local stack."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(session, "_has_stack", lambda: True)
        monkeypatch.setattr(stack, "log_in", lambda home, user: Api.log_in(url, user=user, password="p"))

        def said(*arguments: str, token: str = "") -> str:
            env = {"LEADCAST_TOKEN": token, "LEADCAST_URL": url}
            result = runner.invoke(app, [*arguments], env=env)
            assert result.exit_code == 1
            assert "No right to edit." in result.stderr
            return result.stderr

        yield said
        server.shutdown()


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_who_may_not_touch_anothers_batch_is_told_whom_the_local_stack_lets(
    refusing_stack: Callable[..., str], command: str
) -> None:
    assert f"leadcast {command} b1 --user admin" in refusing_stack(command, "b1")
    assert "--user" not in refusing_stack(command, "b1", "--user", "admin")
    assert "--user" not in refusing_stack(command, "b1", token="of-another-airflow")


def test_an_airflow_that_is_no_local_stack_has_no_such_way(
    refusing_stack: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_has_stack", lambda: False)
    monkeypatch.setattr(airflow_here, "log_in", lambda user: None)
    assert "--user" not in refusing_stack("retry", "b1")


def test_trouble_shows_the_end_of_the_log_as_it_was_when_it_happened(console: Console, tmp_path: Path) -> None:
    log = tmp_path / "sandbox.log"
    log.write_text("".join(f"line {number} [red]\n" for number in range(100)))
    error = StackError("sandbox keeps ending.", mend="Look.", log=log)
    log.write_text("later")

    show.trouble(error, console)

    lines = console.export_text().splitlines()
    assert lines[0] == "✗ sandbox keeps ending."
    assert "line 99 [red]" in lines[25]
    assert len(lines) == 28
    assert str(log) in lines[26]
    assert lines[-1] == "  → Look."


def delivery(**fields: object) -> dict[str, object]:
    return {
        "type": "email",
        "state": "delivered",
        "attempts": 1,
        "queue": "integration-email",
        "duration_s": 0.5,
        "receipt": None,
        "error": None,
        **fields,
    }


def test_of_what_is_tried_again_a_batch_shows_when_and_what_it_waits_for(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Novosibirsk")
    time.tzset()
    again = {"state": "retrying", "next_attempt_at": "2026-11-30T23:00:05.120000Z"}
    body = {
        "lead_id": "123",
        "status": "processing",
        "deliveries": [
            delivery(**again, waits_for="circuit", error={"message": "amoCRM is down."}),
            delivery(**again, waits_for=None),
        ],
    }
    try:
        console.print(show.batch(body))
    finally:
        monkeypatch.undo()
        time.tzset()

    text = " ".join(console.export_text().split())
    assert "amoCRM is down." in text
    assert text.count("Again at 01.12. 06:00:05") == 2
    assert "the account, which is left alone after failures" in text


def test_a_batch_is_shown_with_receipts_and_errors(console: Console) -> None:
    body = {
        "lead_id": "123",
        "status": "partial",
        "deliveries": [
            delivery(receipt={"external_id": "77", "merged": True}),
            delivery(type="webhook", state="failed", attempts=3, duration_s=None, error={"message": "HTTP 500 [x]"}),
        ],
    }

    console.print(show.batch(body))

    text = console.export_text()
    assert "Lead 123: partial" in text
    assert "77 (merged)" in text
    assert "HTTP 500 [x]" in text
