"""Starting and stopping the sandbox, in a thread and in the foreground."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from leadcast import sandbox as face
from leadcast.sandbox import PortTakenError, Sandbox, SandboxPorts

INCLUDE = Path(face.__file__).parents[2]
SCRIPT = "from leadcast.sandbox import SandboxPorts, run; run(ports=SandboxPorts({}))"


def start_in_foreground(arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(INCLUDE)}
    command = [sys.executable, "-c", SCRIPT.format(arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_face_names_what_there_is_and_loads_no_server() -> None:
    code = (
        "import sys, leadcast.sandbox as s; s.SandboxPorts; sys.exit(bool({'fastapi', 'uvicorn'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(INCLUDE)})
    assert all(getattr(face, name) is not None for name in face.__all__)


def test_ports_follow_a_base_port() -> None:
    assert SandboxPorts.from_base(9000) == SandboxPorts(
        control=9000, amocrm=9001, bitrix24=9002, telegram=9003, webhook=9004, smtp=9005
    )
    assert SandboxPorts() == SandboxPorts.from_base(8090)


def test_a_taken_port_is_named_in_one_line_and_the_others_are_let_go() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"127.0.0.1:{port} for smtp"):
            Sandbox.start(ports=SandboxPorts(control=0, amocrm=0, bitrix24=0, telegram=0, webhook=0, smtp=port))
        arguments = f"control={port}, amocrm=0, bitrix24=0, telegram=0, webhook=0, smtp=0"
        process = start_in_foreground(arguments)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert error.count("\n") == 1
    assert f"127.0.0.1:{port} for control" in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_foreground_it_tells_its_addresses_and_stops_cleanly_on_a_signal(number: signal.Signals) -> None:
    process = start_in_foreground("control=0, amocrm=0, bitrix24=0, telegram=0, webhook=0, smtp=0")
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(7)]
        control_url = lines[1].split()[1]
        assert requests.get(f"{control_url}/health", timeout=5).json()["status"] == "ok"
        assert lines[6].split()[0] == "smtp"
        process.send_signal(number)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, error) == (0, "")


def send_mail(sandbox: Sandbox) -> None:
    with smtplib.SMTP(sandbox.smtp_host, sandbox.smtp_port, timeout=60) as connection:
        connection.sendmail("a@x.ru", ["b@x.ru"], "Subject: x\r\n\r\nx")


def post(sandbox: Sandbox) -> None:
    requests.post(f"{sandbox.webhook_url}/x", data=b"{}", timeout=60)


@pytest.mark.parametrize(("service", "send"), [("webhook", post), ("smtp", send_mail)])
def test_it_stops_at_once_though_a_slow_answer_is_pending(service: str, send: Callable[[Sandbox], None]) -> None:
    failures: list[Exception] = []

    def try_to_send() -> None:
        try:
            send(sandbox)
        except Exception as error:
            failures.append(error)

    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        sandbox.fault(service=service, kind="slow", delay_s=600)
        client = threading.Thread(target=try_to_send)
        client.start()
        while requests.get(f"{sandbox.control_url}/faults", headers=sandbox.authorization, timeout=5).json():
            pass  # until the fault has been spent on the call
    client.join(timeout=20)
    assert not client.is_alive()
    assert isinstance(failures[0], requests.ConnectionError | smtplib.SMTPServerDisconnected)


def test_stopping_twice_is_harmless_and_the_ports_are_free_again() -> None:
    sandbox = Sandbox.start(ports=SandboxPorts.any_free())
    ports = sandbox.ports
    sandbox.stop()
    sandbox.stop()
    with Sandbox.start(ports=ports) as again:
        assert again.ports == ports
