"""What a shell hands to `airflow dags trigger send_lead` is sealed before Airflow writes its audit log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadcast.engine.seal.command_line import seal_arguments
from leadcast.engine.seal.sealed_conf import by_caller, is_sealed, open_conf
from leadcast.engine.seal.shell_user import shell_user
from leadcast.store.sealing import Sealer
from tests.api.conftest import BODY, BOT_TOKEN

CONF = json.dumps(BODY)


@pytest.fixture
def sealer(fernet_key: str) -> Iterator[Sealer]:
    from airflow.configuration import conf

    before = conf.get("core", "fernet_key", fallback="")
    conf.set("core", "fernet_key", fernet_key)
    yield Sealer(fernet_key)
    conf.set("core", "fernet_key", before)


@pytest.mark.parametrize(
    "arguments",
    [
        ["dags", "trigger", "send_lead", "--conf", CONF],
        ["dags", "trigger", "send_lead", "-c", CONF],
        ["dags", "trigger", f"--conf={CONF}", "send_lead"],
        ["dags", "trigger", f"--con={CONF}", "send_lead"],
        ["dags", "trigger", f"-c{CONF}", "send_lead"],
        ["dags", "trigger", f"-c={CONF}", "send_lead"],
        ["dags", "test", "-c", CONF, "send_lead"],
        ["backfill", "create", "--dag-id", "send_lead", "--dag-run-conf", CONF],
        ["backfill", "create", "--dag-id=send_lead", f"--dag-run-conf={CONF}"],
    ],
)
def test_inline_secrets_are_sealed_wherever_the_conf_stands(arguments: list[str], sealer: Sealer) -> None:
    argv = ["airflow", *arguments]
    seal_arguments(argv)

    assert len(argv) == len(arguments) + 1
    assert not any(BOT_TOKEN in argument for argument in argv)
    [text] = [argument[argument.index("{") :] for argument in argv if "{" in argument]
    sealed = json.loads(text)
    assert is_sealed(sealed)
    caller = "dag_test" if "test" in arguments else shell_user()
    assert open_conf(sealed, sealer, for_=by_caller(caller)) == BODY


@pytest.mark.parametrize(
    "arguments",
    [
        ["dags", "trigger", "another", "--conf", '{"lead_id": 1, "integrations": [{"type": "telegram"}]}'],
        ["dags", "trigger", "another", "--conf", '{"lead": {"name": "x"}, "credentials": {"a": "b"}}'],
        ["dags", "trigger", "another", "--conf", "{broken"],
        ["dags", "trigger", "send_lead"],
        ["dags", "trigger", "send_lead", "--conf"],
        ["dags", "trigger", "send_lead", "--conf", ""],
        ["dags", "trigger", "-rabc", "send_lead"],
        ["dags", "trigger", "send_lead", "--conf", "{}"],
        ["dags", "trigger", "send_lead", "--conf", "[]"],
        ["connections", "add", "send_lead", "--conf", "x"],
        ["standalone"],
        [],
    ],
)
def test_any_other_command_is_left_alone(arguments: list[str]) -> None:
    argv = ["airflow", *arguments]
    seal_arguments(argv)
    assert argv == ["airflow", *arguments]


def test_a_conf_that_is_not_json_goes_no_further() -> None:
    with pytest.raises(SystemExit) as caught:
        seal_arguments(["airflow", "dags", "trigger", "send_lead", "--conf", '{"bot_token": "SECRET'])
    assert "SECRET" not in str(caught.value.code)


def test_without_a_key_nothing_is_triggered() -> None:
    from airflow.configuration import conf

    before = conf.get("core", "fernet_key", fallback="")
    conf.set("core", "fernet_key", "")
    try:
        with pytest.raises(SystemExit) as caught:
            seal_arguments(["airflow", "dags", "trigger", "send_lead", "--conf", CONF])
    finally:
        conf.set("core", "fernet_key", before)
    assert "cannot be sealed" in str(caught.value.code)
    assert BOT_TOKEN not in str(caught.value.code)


def test_importing_it_costs_an_airflow_process_next_to_nothing() -> None:
    heavy = {"pydantic", "sqlalchemy", "cryptography", "airflow", "structlog"}
    code = f"import sys, leadcast.engine.seal.command_line; print({heavy} & set(sys.modules))"
    include = Path(__file__).parents[2] / "include"
    found = subprocess.run([sys.executable, "-c", code], cwd=include, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
