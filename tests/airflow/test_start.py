"""What Airflow's processes do with section `[leadcast]` as they start: real commands, each in an Airflow of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

pytestmark = pytest.mark.airflow
BIN = Path(sys.executable).parent
SECRET = "s3cret"
SIGNING = "whsec_bGVhZGNhc3QtY2FsbGJhY2stc2VjcmV0LTI0Kys="
BACKEND = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
MANY = {"AIRFLOW__LEADCAST__TRIES": "50"}
TOO_MANY = "[leadcast] tries: Input should be less than or equal to 20 (you gave 50)"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An AIRFLOW_HOME in which nothing is set."""
    return tmp_path / "airflow"


def run(home: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "LEADCAST")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    env = kept | {"AIRFLOW_HOME": str(home), "LEADCAST_HOME": str(home / "stack")} | variables
    program = str(BIN / command[0])
    # a server that starts all the same is ended, and the test has failed
    return subprocess.run(
        [program, *command[1:]], env=env, cwd=home.parent, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        ("airflow", "api-server"),
        ("airflow", "scheduler"),
        ("airflow", "dag-processor"),
        ("airflow", "triggerer"),
        ("airflow", "celery", "worker"),
        ("airflow", "standalone"),
    ],
    ids=" ".join,
)
def test_a_server_with_a_wrong_setting_ends_at_once_with_one_line(home: Path, command: tuple[str, ...]) -> None:
    done = run(home, *command, **MANY)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"leadcast: {TOO_MANY}. Mend it and start again; see docs/settings.md"]
    assert done.stdout == ""


@pytest.mark.parametrize("command", [("up",), ("init",), ("doctor",), ("send", os.devnull)], ids=" ".join)
def test_so_does_the_command_leadcast(home: Path, command: tuple[str, ...]) -> None:
    done = run(home, "leadcast", *command, **MANY)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"✗ {TOO_MANY}"]


def test_a_short_command_is_not_stopped_so_that_one_can_look(home: Path) -> None:
    done = run(home, "airflow", "config", "get-value", "leadcast", "tries", **MANY)
    assert (done.returncode, done.stdout.strip()) == (0, "50")


@pytest.mark.parametrize(
    ("variables", "file", "words"),
    [
        ({"TRIEZ": "5"}, "", "triez: there is no such setting. Is tries meant? (AIRFLOW__LEADCAST__TRIEZ)"),
        ({}, "triez = 5", "triez: there is no such setting. Is tries meant? (airflow.cfg)"),
        ({"TRIES_SECRET": SECRET}, "", "tries_secret: there is no such setting"),
        ({"OVERRIDES": '{"amocrmm": {"tries": 5}}'}, "", "overrides: there is no integration 'amocrmm'. There are: "),
        ({"OVERRIDES": '{"amocrm": {"tries": 50}}'}, "", "overrides, 'amocrm': tries: Input should be less than"),
        ({"FERNET_KEY": SECRET}, "", "fernet_key (or [core] fernet_key, where that is empty): 32 bytes in URL-safe"),
        ({"STORE_URL": f"mysql+pymysql://u:{SECRET}@h/d"}, "", "store_url points to mysql; the store needs PostgreSQL"),
        ({"STORE_URL": f"postgresql+pg8000://u:{SECRET}@h/d"}, "", "store_url"),
        ({}, f"store_url = postgresql://u:{SECRET}%40@h/d", "store_url: cannot be read (in airflow.cfg, % is written"),
        ({"NOTIFIER_KWARGS": f'{{"token": "{SECRET}'}, "", "notifier_kwargs: not JSON: Unterminated string"),
        (
            {"CALLBACK_SECRET": SECRET},
            "",
            "callback_secret: must be whsec_ and the base64 of 24 to 64 random bytes; docs",
        ),
        ({"STORE_URL_SECRET": SECRET}, "", "store_url: there is nothing where AIRFLOW__LEADCAST__STORE_URL_SECRET"),
        ({"STORE_URL_CMD": f"ls /{SECRET}"}, "", "store_url: AIRFLOW__LEADCAST__STORE_URL_CMD cannot be resolved"),
        ({}, f"store_url_cmd = ls /{SECRET}", "store_url: store_url_cmd cannot be resolved"),
    ],
)
def test_whatever_is_wrong_is_named_and_no_secret_is(
    home: Path, variables: dict[str, str], file: str, words: str
) -> None:
    if file:
        home.mkdir()
        (home / "airflow.cfg").write_text(f"[leadcast]\n{file}\n")
    done = run(
        home, "airflow", "scheduler", **{f"AIRFLOW__LEADCAST__{name}": value for name, value in variables.items()}
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"leadcast: [leadcast] {words}")
    assert SECRET not in line


def test_an_airflow_that_was_never_started_is_not_refused_for_the_key_it_has_still_to_make(home: Path) -> None:
    done = run(home, "airflow", "triggerer")
    assert "leadcast:" not in done.stderr
    assert (home / "airflow.cfg").exists()


READ = """
import json
from airflow.configuration import conf as core
from airflow.sdk.configuration import conf as sdk
from leadcast.engine.settings import config, connections

found = config.settings()
names = ("store_url", "fernet_key", "callback_secret", "notifier_kwargs")
print(json.dumps({
    "settings": {name: getattr(found, name).get_secret_value() for name in names},
    "hidden": repr(found),
    "known to both": all(
        {("leadcast", name) for name in names} <= conf.sensitive_config_values for conf in (core, sdk)
    ),
    "accounts": {
        conn_id: connections.fields(conn_id).password.get_secret_value()
        for conn_id in ("leadcast_amocrm", "leadcast_telegram", "smtp_default")
    },
}))
"""


def test_every_secret_may_come_from_a_secrets_backend_or_a_command(home: Path, tmp_path: Path) -> None:
    key = Fernet.generate_key().decode()
    url = "postgresql+psycopg2://u:p%40ss@h/leadcast"
    (tmp_path / "configs.json").write_text(json.dumps({"url": url, "arguments": '{"token": "s3cret-token"}'}))
    accounts = {
        "leadcast_amocrm": {"conn_type": "amocrm", "host": "https://example.amocrm.ru", "password": "s3cret-amocrm"},
        "leadcast_telegram": {"conn_type": "telegram", "host": "@sales", "password": "s3cret-bot"},
        "smtp_default": {"conn_type": "smtp", "host": "mail.example.com", "password": "s3cret-mail"},
    }
    (tmp_path / "accounts.json").write_text(json.dumps(accounts))
    files = {"configs_file_path": f"{tmp_path}/configs.json", "connections_file_path": f"{tmp_path}/accounts.json"}
    home.mkdir()
    (home / "airflow.cfg").write_text(
        f"[leadcast]\nnotifier_kwargs_secret = arguments\ncallback_secret_cmd = echo {SIGNING}\n"
    )
    variables = {
        "AIRFLOW__SECRETS__BACKEND": BACKEND,
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(files),
        "AIRFLOW__LEADCAST__STORE_URL_SECRET": "url",
        "AIRFLOW__LEADCAST__FERNET_KEY_CMD": f"echo {key}",
    }

    done = run(home, "python", "-c", READ, **variables)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["settings"] == {
        "store_url": url,
        "fernet_key": key,
        "callback_secret": SIGNING,
        "notifier_kwargs": {"token": "s3cret-token"},
    }
    assert found["known to both"]
    assert not [value for value in (url, key, SIGNING, "s3cret-token") if value in found["hidden"]]
    assert found["accounts"] == {conn_id: account["password"] for conn_id, account in accounts.items()}
    # and as Airflow itself shows it
    shown = run(home, "airflow", "config", "get-value", "leadcast", "store_url", **variables)
    assert shown.stdout.strip() == url
