"""The home of the local stack: private, one at a time, whatever its path; and the secrets in it."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadcast.client.errors import StackError
from leadcast.local.home import Home, State, find_project, write_private
from leadcast.local.keys import USERS, Keys, passwords
from leadcast.local.ports import Ports


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "dags").mkdir(parents=True)
    (tmp_path / "project" / "dags" / "send_lead.py").touch()
    return (tmp_path / "project").resolve()


@pytest.fixture
def home(project: Path) -> Iterator[Home]:
    home = Home.find({}, cwd=project)
    home.prepare()
    yield home
    home.forget_state()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_home_is_in_the_project_unless_said_otherwise(project: Path, tmp_path: Path) -> None:
    assert Home.find({}, cwd=project / "dags").root == project / ".leadcast"
    assert Home.find({"LEADCAST_HOME": str(tmp_path / "x")}, cwd=project).root == (tmp_path / "x").resolve()
    assert Home.find({"LEADCAST_HOME": "y"}, cwd=project).root == project / "y"


def test_a_project_is_found_from_any_folder_below_it(project: Path) -> None:
    (project / "a" / "b").mkdir(parents=True)

    assert find_project(project / "a" / "b", environ={}) == project


@pytest.mark.parametrize("name", ["a ;b", "a #b", 'a"b', "a\nb"])
def test_a_path_that_no_configuration_file_can_hold_is_refused(project: Path, name: str) -> None:
    with pytest.raises(StackError, match="holds one of"):
        Home.find({"LEADCAST_HOME": name}, cwd=project)


def test_nobody_else_can_look_into_it(home: Home) -> None:
    Keys.ensure(home)
    home.write_state(State(ports=Ports(api=9000)))

    assert {mode(folder) for folder in (home.root, home.airflow, home.logs, home.run, home.work)} == {0o700}
    assert {mode(path) for path in (home.keys_file, home.passwords_file, home.run / "state.json")} == {0o600}


def test_a_folder_that_others_could_read_is_closed(home: Home) -> None:
    home.root.chmod(0o755)

    home.prepare()

    assert mode(home.root) & 0o067 == 0


@pytest.mark.parametrize("length", [5, 80, 200])
def test_the_supervisors_socket_can_be_bound_however_long_the_path_is(project: Path, length: int) -> None:
    home = Home.find({"LEADCAST_HOME": str(project / ("ж" * (length // 2)))}, cwd=project)
    home.prepare()
    path = home.supervisor_socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.{os.getpid()}")

    assert mode(path.parent) == 0o700
    Path(f"{path}.{os.getpid()}").unlink()
    home.forget_state()
    assert path.parent.exists() == (path.parent == home.run)


def test_a_second_up_is_kept_out_while_one_is_at_work(home: Home) -> None:
    with home.lock(), pytest.raises(StackError, match="Another"), home.lock():
        pass  # pragma: no cover
    with home.lock():
        pass


def test_a_damaged_state_file_counts_as_none(home: Home) -> None:
    home.write_state(State(ports=Ports(api=9000), ready=True))
    assert home.read_state() == State(ports=Ports(api=9000), ready=True)

    (home.run / "state.json").write_text('{"ports": ')

    assert home.read_state() is None


def test_secrets_are_made_once_and_stay(home: Home) -> None:
    keys = Keys.ensure(home)

    assert Keys.ensure(home) == keys
    assert Keys.read(home) == keys
    assert Keys() != keys


def test_airflow_gets_a_password_for_each_user(home: Home) -> None:
    keys = Keys.ensure(home)

    passwords = json.loads(home.passwords_file.read_text())

    assert passwords == {user: keys.users[user].get_secret_value() for user in USERS}
    assert len(set(passwords.values())) == len(USERS)


def test_a_user_of_ones_own_keeps_the_password_that_airflow_made(home: Home) -> None:
    keys = Keys.ensure(home)
    assert set(passwords(home)) == set(USERS)
    home.passwords_file.write_text(json.dumps(passwords(home) | {"anna": "made by Airflow", "admin": "another"}))
    Keys.ensure(home)
    assert passwords(home)["anna"] == "made by Airflow"
    assert passwords(home)["admin"] == keys.users["admin"].get_secret_value()
    home.passwords_file.write_text("[1")
    Keys.ensure(home)
    assert set(passwords(home)) == set(USERS)


def test_secrets_do_not_show_when_printed() -> None:
    keys = Keys()
    secrets = [keys.fernet, keys.jwt, keys.postgres_user, *keys.users.values()]

    assert not [secret for secret in secrets if secret.get_secret_value() in f"{keys!r} {keys}"]


def test_damaged_secrets_are_never_replaced_silently(home: Home) -> None:
    Keys.ensure(home)
    home.keys_file.write_text("{")

    with pytest.raises(StackError, match="cannot be read") as caught:
        Keys.ensure(home)

    assert "begin anew" in caught.value.mend


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)

    write_private(path, "new")

    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]
