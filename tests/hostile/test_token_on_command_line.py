"""A token is no argument of a command, where every account of the machine would see it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leadcast.cli import app, session
from leadcast.client.api import Api
from leadcast.client.errors import StackError
from leadcast.local import postgres, supervisor
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports

SECRET = "a-token.that-nobody_sees"
COMMANDS = (["send", "FILE"], ["batch", "1"], ["retry", "1"], ["cancel", "1"])
runner = CliRunner()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Address and token of every API that a command has asked for."""
    calls: list[tuple[str, str]] = []

    def connect(url: str, *, token: str, user: str) -> Api:
        calls.append((url, token))
        raise StackError("as far as this test goes")

    monkeypatch.setattr(session, "connect", connect)
    return calls


def words(command: list[str], folder: Path) -> list[str]:
    request = folder / "request.json"
    request.write_text("{}", encoding="utf-8")
    return [str(request) if word == "FILE" else word for word in command] + ["--url", "http://x"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", [["--token", SECRET], [f"--token={SECRET}"], ["--to", SECRET], ["-t", SECRET]])
def test_it_is_refused_as_an_argument_and_the_way_is_named(
    command: list[str], option: list[str], tmp_path: Path, shown: list[tuple[str, str]]
) -> None:
    done = runner.invoke(app, words(command, tmp_path) + option)
    assert done.exit_code == 2
    assert SECRET not in done.output
    assert shown == []
    if option[0].startswith("--token"):
        assert "--token-file" in done.output


@pytest.mark.parametrize("command", COMMANDS)
def test_it_comes_from_the_environment_a_file_or_standard_input(
    command: list[str], tmp_path: Path, shown: list[tuple[str, str]]
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n", encoding="utf-8")
    asked = words(command, tmp_path)
    runner.invoke(app, asked, env={"LEADCAST_TOKEN": SECRET})
    runner.invoke(app, [*asked, "--token-file", str(file)], env={"LEADCAST_TOKEN": "another"})
    runner.invoke(app, [*asked, "--token-file", "-"], input=f"{SECRET}\r\n")
    runner.invoke(app, asked, env={"LEADCAST_TOKEN": ""})
    assert shown == [("http://x", SECRET)] * 3 + [("http://x", "")]


@pytest.mark.parametrize(
    "text", ["", " \n", "two words", f"{SECRET}\n{SECRET}", "\x00", "токен", "a\x7fb", b"\xff\xfe"]
)
def test_what_is_no_token_is_refused_and_not_shown(
    text: str | bytes, tmp_path: Path, shown: list[tuple[str, str]]
) -> None:
    file = tmp_path / "token"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = runner.invoke(app, ["batch", "1", "--token-file", str(file)])
    assert (done.exit_code, shown) == (1, [])
    assert "token" in done.stderr
    assert SECRET not in done.output


def test_request_and_token_do_not_share_standard_input(shown: list[tuple[str, str]]) -> None:
    done = runner.invoke(app, ["send", "-", "--token-file", "-"], input="{}")
    assert (done.exit_code, shown) == (1, [])
    assert "LEADCAST_TOKEN" in done.stderr


def test_no_program_of_the_stack_has_a_secret_among_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(root=tmp_path / "home", project=tmp_path)
    home.prepare()
    home.postgres.mkdir()
    monkeypatch.setattr(postgres, "launcher", lambda home: [])  # as who is not root
    keys = Keys.ensure(home)
    secrets = [value for value in keys.model_dump(mode="json").values() if isinstance(value, str)]
    secrets += [password.get_secret_value() for password in keys.users.values()]
    assert len(secrets) > 10
    lines = [word for line in supervisor.commands(home, Ports(api=9000)).values() for word in line]
    assert not [word for word in lines if any(secret in word for secret in secrets)]


def test_this_machine_shows_every_accounts_arguments() -> None:
    marked = subprocess.Popen(["sleep", "60.25"])
    try:
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "sleep 60.25" in listed
    finally:
        marked.kill()
        marked.wait()
