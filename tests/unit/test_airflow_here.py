"""`leadcast send` beside an Airflow of one's own: whose password it takes, and what it says where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from leadcast.cli import airflow_here
from leadcast.client.api import Api
from leadcast.client.errors import StackError
Api.log_in = classmethod(lambda cls, url, *, user, password: print(url, user, password))
try:
    airflow_here.log_in("user")
except StackError as error:
    print(error, error.mend)
print("airflow" in sys.modules)
"""


def log_in(home: Path, **settings: str) -> list[str]:
    """What `log_in` does in an Airflow with this home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "LEADCAST"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=kept | {"AIRFLOW_HOME": str(home), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """AIRFLOW_HOME of an Airflow that has been started once."""
    (tmp_path / "airflow.cfg").write_text("[core]\n")
    passwords = {"admin": "of-admin", "eve": "of-eve"}
    (tmp_path / "simple_auth_manager_passwords.json.generated").write_text(json.dumps(passwords))
    return tmp_path


def test_where_no_airflow_is_none_is_loaded_and_nothing_is_made(tmp_path: Path) -> None:
    assert log_in(tmp_path / "nowhere") == ["False"]
    assert list(tmp_path.iterdir()) == []


def test_it_signs_in_as_the_first_user_who_may_send(home: Path) -> None:
    assert log_in(home)[0] == "http://127.0.0.1:8080 admin of-admin"
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:viewer,eve:op"}
    assert log_in(home, **users, AIRFLOW__API__PORT="9090")[0] == "http://127.0.0.1:9090 eve of-eve"


def test_the_address_is_the_one_that_airflow_names(home: Path) -> None:
    named = log_in(home, AIRFLOW__API__BASE_URL="https://airflow.example.com/")
    assert named[0] == "https://airflow.example.com admin of-admin"


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"AIRFLOW__CORE__AUTH_MANAGER": "some.where.ElseManager"}, "has an auth manager of its own"),
        ({"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "/nowhere"}, "cannot be read; has it been started"),
        ({"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "eve:viewer"}, "has no user 'user'"),
    ],
)
def test_elsewhere_it_asks_for_a_token(home: Path, settings: dict[str, str], what: str) -> None:
    (said, _) = log_in(home, **settings)
    assert what in said
    assert "/auth/token" in said
    assert "LEADCAST_TOKEN" in said
