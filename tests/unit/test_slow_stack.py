"""A stack that is slow to answer is told from one that is down, and a lead sent to it goes out once."""

from __future__ import annotations

import io
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from rich.console import Console
from typer.testing import CliRunner

from leadcast.cli import app
from leadcast.cli.root import EXIT_FAILED, EXIT_SLOW
from leadcast.client import api as client
from leadcast.client.api import Api, ApiError, Health
from leadcast.local import stack
from leadcast.local.demo import send_demo_lead
from leadcast.local.home import Home, find_project
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from leadcast.local.progress import Progress
from leadcast.local.stack import Status
from leadcast.local.supervisor import Program, ProgramState
from leadcast.local.wait import Watch

runner = CliRunner()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(root=tmp_path / "home", project=find_project(Path.cwd(), environ=os.environ))
    home.prepare()
    Keys.ensure(home)
    return home


def test_no_answer_in_time_is_slow_and_no_connection_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ApiError, match="is slow: no answer within") as slow:
            Api(url).call("GET", "/", timeout_s=0.1)
    with pytest.raises(ApiError, match="does not answer") as down:
        Api(url).call("GET", "/", timeout_s=0.1)
    assert (slow.value.is_slow, down.value.is_slow) == (True, False)
    assert slow.value.is_passing
    assert down.value.is_passing


def state_of(home: Home, *, is_slow: bool, state: str = "RUNNING") -> Status:
    programs = tuple(ProgramState(program=one, state=state, pid=1, description="") for one in Program)
    health = {one.health_name: Health(status="healthy", beat_at=None) for one in Program if one.health_name}
    known = {} if is_slow else health
    return Status(home=home, ports=Ports(api=9000), programs=programs, health=known, is_slow=is_slow)


@pytest.mark.parametrize(
    ("slow_answers", "state", "exit_code"),
    [(0, "RUNNING", 0), (1, "RUNNING", 0), (9, "RUNNING", EXIT_SLOW), (9, "FATAL", EXIT_FAILED)],
)
def test_status_asks_a_slow_stack_again_and_does_not_call_it_unwell(
    home: Home, monkeypatch: pytest.MonkeyPatch, slow_answers: int, state: str, exit_code: int
) -> None:
    asked: list[float] = []

    def status(home: Home, *, timeout_s: float = 5) -> Status:
        asked.append(timeout_s)
        return state_of(home, is_slow=len(asked) <= slow_answers, state=state)

    monkeypatch.setattr(stack, "status", status)
    monkeypatch.setenv("LEADCAST_HOME", str(home.root))

    result = runner.invoke(app, ["status"])

    assert result.exit_code == exit_code, result.output
    assert result.output.count("It is slow to answer; asking again…") == min(slow_answers, 2)
    assert asked == sorted(asked)
    assert ("too slow to say how it is" in result.output) == (exit_code == EXIT_SLOW)


@pytest.mark.parametrize(("hinted", "asked_in_all", "is_healthy"), [(0, 1, True), (2, 3, True), (99, 5, False)])
def test_what_health_wants_done_is_believed_when_it_says_so_again_and_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, hinted: int, asked_in_all: int, is_healthy: bool
) -> None:
    asked: list[float] = []

    def status(home: Home, *, timeout_s: float = 5) -> Status:
        asked.append(timeout_s)
        hints = ("The store cannot be reached.",) if len(asked) <= hinted else ()
        return replace(state_of(home, is_slow=False), hints=hints)

    monkeypatch.setattr(stack, "status", status)
    no_programs: Callable[[], list[ProgramState]] = list
    watch = Watch(home, states=no_programs, sleep=lambda seconds: None)
    shown = io.StringIO()

    now = stack.await_health(home, progress=Progress(Console(file=shown)), watch=watch, sleep=lambda seconds: None)

    assert (len(asked), now.is_healthy) == (asked_in_all, is_healthy)
    assert "well" not in shown.getvalue(), "what is wrong may stand right below"


class Forgetful(BaseHTTPRequestHandler):
    """Does what it is asked, and the first time its proxy gives up before it says so."""

    calls: ClassVar[Counter[str]] = Counter()
    keys: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        self.answer({"id": "b1", "status": "completed" if self.calls[f"GET {self.path}"] > 2 else "processing"})

    def do_PUT(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        if key := self.headers["Idempotency-Key"]:
            self.keys.add(key)
        self.answer({"access_token": "t", "batch_id": "b1"})

    def answer(self, body: dict[str, str]) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        call = f"{self.command} {self.path}"
        self.calls[call] += 1
        answer = json.dumps(body).encode()
        self.send_response(504 if self.calls[call] == 1 else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ports]:
    monkeypatch.setattr(client, "PAUSE_S", 0)
    monkeypatch.setattr(Forgetful, "calls", Counter())
    monkeypatch.setattr(Forgetful, "keys", set())
    with ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as server:
        Thread(target=server.serve_forever).start()
        yield Ports(api=server.server_port)
        server.shutdown()


def test_the_demo_asks_again_under_one_key(home: Home, forgetful: Ports) -> None:
    no_programs: Callable[[], list[ProgramState]] = list
    watch = Watch(home, states=no_programs, sleep=lambda seconds: None)

    body = send_demo_lead(home, forgetful, watch=watch, progress=Progress(Console(file=io.StringIO())))

    assert body["status"] == "completed"
    assert Forgetful.calls["POST /api/integrations/send-batch"] == 2
    assert Forgetful.calls["PUT /api/integrations/leads/123"] == 2
    assert len(Forgetful.keys) == 1
