"""Who may ask the sandbox: not a web page of somebody else's, under whatever name, and no other account."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from leadcast import sandbox as face
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.sandbox.control_token import OPEN_PATHS

NAMES = ("sandbox", "crm.internal")
SERVICES = ("control", "amocrm", "bitrix24", "telegram", "webhook")
CONTROL = (
    ("GET", "/page"),
    ("GET", "/received"),
    ("GET", "/received/amocrm"),
    ("DELETE", "/received"),
    ("GET", "/stored/telegram"),
    ("POST", "/faults"),
    ("GET", "/faults"),
    ("DELETE", "/faults"),
    ("DELETE", "/faults/1"),
    ("GET", "/settings"),
    ("PATCH", "/settings/smtp"),
    ("POST", "/reset"),
    ("GET", "/smtp/certificate.pem"),
    ("GET", "/openapi.json"),
    ("GET", "/page/"),
    ("GET", "//page"),
    ("HEAD", "/received"),
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free(), names=NAMES) as running:
        yield running


def ask(
    sandbox: Sandbox, service: str = "control", *, path: str = "/health", method: str = "GET", **headers: str
) -> int:
    """The status that this service answers; `X_Y` is the header X-Y."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"http://127.0.0.1:{getattr(sandbox.ports, service)}{path}"
    return requests.request(method, url, headers=named, timeout=5, allow_redirects=False).status_code


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8090",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "localhost:80:80",
        "[::1].evil.example",
        "2130706433",
        "0x7f.1",
        "10.1.2.3",
        "sandbox.evil.example",
        "",
    ],
)
def test_under_a_name_that_is_not_ours_nothing_is_answered(sandbox: Sandbox, service: str, host: str) -> None:
    sandbox.reset()
    assert ask(sandbox, service, Host=host) == 421
    assert not any(sandbox.received(name) for name in SERVICES[1:])


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:1", "localhost", "LOCALHOST:8090", "[::1]:9", "127.8.9.1", *NAMES, "sandbox:8090"]
)
def test_under_the_machines_own_names_and_those_that_it_was_told_it_answers(
    sandbox: Sandbox, service: str, host: str
) -> None:
    assert ask(sandbox, service, Host=host) not in (403, 421)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://localhost"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
    ],
)
def test_a_page_of_another_site_neither_writes_nor_reads(
    sandbox: Sandbox, service: str, headers: dict[str, str]
) -> None:
    sandbox.reset()
    token = sandbox.authorization if service == "control" else {}
    for method in ("GET", "POST"):
        assert ask(sandbox, service, method=method, path="/x", **headers, **token) == 403
    assert not any(sandbox.received(name) for name in SERVICES[1:])


def test_a_form_that_another_site_sends_is_refused_and_a_link_to_the_page_is_not(
    sandbox: Sandbox,
) -> None:
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert ask(sandbox, "webhook", method="POST", path="/x", **link) == 403
    assert ask(sandbox, path="/", **link) == 200


@pytest.mark.parametrize(("method", "path"), CONTROL)
@pytest.mark.parametrize(
    "shown", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}, {"Authorization": "Basic TOKEN"}]
)
def test_without_the_token_the_control_service_says_nothing_and_does_nothing(
    sandbox: Sandbox, method: str, path: str, shown: dict[str, str]
) -> None:
    headers = {name: value.replace("TOKEN", sandbox.token) for name, value in shown.items()}
    assert ask(sandbox, method=method, path=path, **headers) == 401


def test_the_token_counts_in_its_header_only(sandbox: Sandbox) -> None:
    for path in (f"/received?token={sandbox.token}", f"/received?access_token={sandbox.token}"):
        assert ask(sandbox, path=path) == 401
    assert ask(sandbox, path="/received", Cookie=f"token={sandbox.token}") == 401
    assert ask(sandbox, path="/received", **sandbox.authorization) == 200


def test_what_is_open_to_all_holds_nothing_that_came_in(sandbox: Sandbox) -> None:
    sandbox.reset()
    requests.post(f"{sandbox.webhook_url}/x", data=b"a-name-of-somebody", timeout=5)
    for path in OPEN_PATHS:
        answer = requests.get(sandbox.control_url + path, timeout=5)
        assert answer.status_code == 200
        assert "a-name-of-somebody" not in answer.text
        assert sandbox.token not in answer.text
    page = requests.get(sandbox.control_url, timeout=5)
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    shown = requests.get(f"{sandbox.control_url}/page", headers=sandbox.authorization, timeout=5)
    assert "a-name-of-somebody" in shown.text
    assert shown.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "OPTIONS"])
def test_a_web_pages_request_to_the_mail_server_sends_no_letter(sandbox: Sandbox, method: str) -> None:
    sandbox.reset()
    body = "EHLO x\r\nMAIL FROM:<a@x.ru>\r\nRCPT TO:<b@x.ru>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
    request = f"{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with socket.create_connection((sandbox.smtp_host, sandbox.smtp_port), timeout=10) as connection:
        connection.sendall(request.encode())
        said = b""
        while part := connection.recv(4096):
            said += part
    assert said.splitlines()[1].startswith(b"421")
    assert len(said.splitlines()) == 2
    assert sandbox.received("smtp") == []


def foreground(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`leadcast sandbox` that finds no port, so that it ends by itself; a port below 1 is none."""
    return subprocess.run(
        [sys.executable, "-m", "leadcast", "sandbox", "--base-port=70000", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(face.__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "bad", ["too-few-15-char", "with blank in the middle of it", "ends-in-a-fragment#0123456789", "я" * 20]
)
def test_a_token_that_is_too_short_or_fits_no_link_is_refused_and_not_shown(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "token"
    file.write_text(bad, encoding="utf-8")
    for done in (foreground(f"--token-file={file}"), foreground(LEADCAST_SANDBOX_TOKEN=bad)):
        assert done.returncode == 1
        assert "openssl rand -hex 24" in done.stderr
        assert bad not in done.stderr


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = foreground(f"--token-file={tmp_path / 'nothing'}")
    assert done.returncode == 1
    assert "nothing cannot be read (FileNotFoundError)" in done.stderr


def test_where_no_person_looks_no_token_is_written_and_nobody_is_let_in() -> None:
    script = "from leadcast.sandbox import SandboxPorts, run; run(ports=SandboxPorts.any_free())"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(face.__file__).parents[2])},
        text=True,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        line = process.stdout.readline()
        assert "nobody is let in: LEADCAST_SANDBOX_TOKEN is not set" in line
        assert "#token" not in line
        url = line.split()[1]
        for shown in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            assert requests.get(f"{url}/received", headers=shown, timeout=5).status_code == 401
        assert requests.get(f"{url}/health", timeout=5).status_code == 200
    finally:
        process.terminate()
        process.wait(timeout=20)
