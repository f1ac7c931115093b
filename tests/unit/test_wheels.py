"""What the two wheels hold: production gets neither the local stack nor the sandbox, and does without them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

from leadcast.cli import app, without_stack
from leadcast.cli.stack import commands

ROOT = Path(__file__).parents[2]
LOCAL = ("leadcast/cli/stack/", "leadcast/local/", "leadcast/sandbox/")


def built(project: Path, folder: Path) -> ZipFile:
    """The wheel that hatchling makes of this folder, as `uv build --wheel` does."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    (wheel,) = folder.glob("*.whl")
    return ZipFile(wheel)


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    return built(ROOT, tmp_path_factory.mktemp("production"))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    return built(ROOT / "leadcast-local", tmp_path_factory.mktemp("local"))


def files(wheel: ZipFile) -> set[str]:
    """What of the package is in it."""
    return {name for name in wheel.namelist() if name.startswith("leadcast/")}


def metadata(wheel: ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def of_the_checkout() -> set[str]:
    """What of the package is in the repository, as it is installed."""
    package = {str(path.relative_to(ROOT / "include")) for path in (ROOT / "include/leadcast").rglob("*.*")}
    dags = {f"leadcast/dags/{path.name}" for path in (ROOT / "dags").iterdir()}
    return {name for name in package | dags if "__pycache__" not in name}


def test_each_file_is_in_one_of_them(production: ZipFile, local: ZipFile) -> None:
    assert files(production) & files(local) == set()
    assert files(production) | files(local) == of_the_checkout() | {"leadcast/local/LICENSE"}


def test_what_no_production_needs_is_in_the_other(production: ZipFile, local: ZipFile) -> None:
    assert all(name.startswith(LOCAL) for name in files(local))
    assert not [name for name in files(production) if name.startswith(LOCAL)]
    assert {"leadcast/local/stack.py", "leadcast/sandbox/server.py"} <= files(local)


def test_the_other_is_of_the_same_version_and_wants_what_it_needs(production: ZipFile, local: ZipFile) -> None:
    ours, theirs = metadata(production), metadata(local)
    assert theirs["Version"] == ours["Version"]
    assert theirs.get_all("Requires-Dist") == [f"leadcast[local]=={ours['Version']}"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert theirs["Requires-Python"] == ",".join(sorted(project["requires-python"].split(",")))
    assert "local" in project["optional-dependencies"]
    assert not [name for name in local.namelist() if name.endswith("entry_points.txt")], "they are Leadcast's"


@pytest.fixture(scope="module")
def installed(production: ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as production has it."""
    folder = tmp_path_factory.mktemp("installed")
    production.extractall(folder)
    return folder


def leadcast(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command does there, where there is no Airflow besides."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LEADCAST"))}
    env = kept | {"PYTHONPATH": str(installed), "AIRFLOW_HOME": str(installed / "nowhere"), "COLUMNS": "200"}
    command = [sys.executable, "-m", "leadcast", *arguments]
    return subprocess.run(command, cwd=installed, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_commands_that_are_missing_there_are_these() -> None:
    there = {command.callback.__name__ for command in app.registered_commands if command.callback}
    of_the_stack = {name for name in there if getattr(commands, name, None) is not None}
    assert of_the_stack == set(without_stack.COMMANDS)


@pytest.mark.parametrize("arguments", [("up", "--demo"), ("sandbox", "--help"), ("airflow", "dags", "list")])
def test_each_of_them_says_in_one_sentence_what_to_install(installed: Path, arguments: tuple[str, ...]) -> None:
    done = leadcast(installed, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"✗ `leadcast {arguments[0]}` is part of the local stack: install the wheel")
    assert len(done.stderr.splitlines()) == 1


def test_the_others_go_on_working(installed: Path) -> None:
    helped = leadcast(installed, "--help")
    assert helped.returncode == 0
    assert all(f"│ {name} " in helped.stdout for name in ("send", "batch", "retry", "cancel", "init", "doctor"))
    assert not [name for name in without_stack.COMMANDS if f"│ {name} " in helped.stdout]
    unsent = leadcast(installed, "batch", "b1")
    assert unsent.returncode == 1
    assert "No token is given, and there is no Airflow here" in unsent.stderr
    assert "LEADCAST_TOKEN" in unsent.stderr
