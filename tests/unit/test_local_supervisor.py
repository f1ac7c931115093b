"""The supervisor's configuration and the programs it keeps running."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from supervisor.options import UnhosedConfigParser

from leadcast.local import postgres, supervisor
from leadcast.local.home import Home
from leadcast.local.ports import Ports
from leadcast.local.supervisor import Program

PORTS = Ports(api=9000)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "100% home with spaces", project=tmp_path)


@pytest.fixture
def command_lines(home: Home, monkeypatch: pytest.MonkeyPatch) -> dict[Program, list[str]]:
    # As root it would look for the account to run as, which needs a real home.
    monkeypatch.setattr(postgres, "launcher", lambda home: [])
    return supervisor.commands(home, PORTS)


def parse(text: str) -> UnhosedConfigParser:
    parser = UnhosedConfigParser()
    parser.read_string(text)
    parser.expansions = {"here": "", "host_node_name": ""}
    return parser


def test_every_program_comes_back_after_a_crash_and_ends_with_all_it_has_started(
    home: Home, command_lines: dict[Program, list[str]]
) -> None:
    parser = parse(supervisor.render(home, command_lines))

    for program in Program:
        section = f"program:{program}"
        assert parser.saneget(section, "autorestart", None) == "true"
        assert parser.saneget(section, "killasgroup", None) == "true"


def test_any_path_survives_the_way_into_the_file_and_out_of_it(
    home: Home, command_lines: dict[Program, list[str]]
) -> None:
    parser = parse(supervisor.render(home, command_lines))

    command = parser.saneget("program:postgres", "command", None)
    assert shlex.split(command) == command_lines[Program.POSTGRES]
    assert parser.saneget("program:sandbox", "stdout_logfile", None) == str(home.logs / "sandbox.log")


def test_only_we_may_speak_to_it(home: Home, command_lines: dict[Program, list[str]]) -> None:
    parser = parse(supervisor.render(home, command_lines))

    assert parser.saneget("unix_http_server", "chmod", None) == "0600"
    assert not parser.has_section("inet_http_server")


def test_every_server_listens_on_this_machine_only(command_lines: dict[Program, list[str]]) -> None:
    assert "--host=127.0.0.1" in command_lines[Program.API_SERVER]
    assert "--host=127.0.0.1" in command_lines[Program.SANDBOX]
    assert "listen_addresses=127.0.0.1" in command_lines[Program.POSTGRES]
    for program in (Program.SCHEDULER, Program.TRIGGERER):
        assert "--skip-serve-logs" in command_lines[program]


def test_the_database_server_inherits_none_of_our_secrets(command_lines: dict[Program, list[str]]) -> None:
    assert command_lines[Program.POSTGRES][:2] == ["env", "-i"]
