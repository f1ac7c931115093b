"""Whatever a shell hands to Airflow's command: no secret of a request gets as far as Airflow's audit log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadcast.engine.seal.command_line import seal_arguments
from leadcast.engine.seal.sealed_conf import is_sealed

NEEDLES = ("N33DLE", "+79995550000")
REQUEST = {
    "lead_id": "needle-1",
    "lead": {"name": "N33DLE Person", "phone": "+79995550000"},
    "integrations": [{"type": "telegram"}, {"type": "webhook"}],
    "credentials": {
        "telegram": {"bot_token": "700:N33DLE-telegram-token-of-the-tests", "chat_id": "@sales"},
        "webhook": {"url": "https://receiver.example/N33DLE", "headers": {"X-Key": "N33DLE"}},
    },
    "callback_url": "https://receiver.example/hook?token=N33DLE",
}
CONF = json.dumps(REQUEST)
OTHERS = [
    {"integrations": ["billing"], "customer": 7},
    {"integrations": [{"type": "crm"}], "since": "2026"},
    {"integrations": [{"type": "email"}], "since": "2026"},
    {"integrations": [{"type": "email"}], "lead_id": 7, "since": "2026"},
    {"integrations": [{"type": "crm"}], "credentials": {"user": "a", "password": "b"}},
]


@pytest.fixture(autouse=True)
def key(fernet_key: str) -> Iterator[None]:
    from airflow.configuration import conf

    before = conf.get("core", "fernet_key", fallback="")
    conf.set("core", "fernet_key", fernet_key)
    yield
    conf.set("core", "fernet_key", before)


def shown(argv: list[str]) -> list[str]:
    return [needle for needle in NEEDLES if any(needle in argument for argument in argv)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["trigger", "-vc", CONF, "send_lead"],
        ["trigger", f"-vc{CONF}", "send_lead"],
        ["trigger", f"-vc={CONF}", "send_lead"],
        ["trigger", "send_lead", "-vvc", CONF],
        ["trigger", f"-c{CONF}", "send_lead"],
        ["trigger", f"--conf={CONF}", "send_lead"],
        ["trigger", "--co", CONF, "send_lead"],
        ["trigger", f"--co={CONF}", "send_lead"],
        ["trigger", "--verbose", "-r", "some-run", "-o", "json", "send_lead", "-c", CONF],
        ["trigger", "send_lead", "-rsome-run", "-ojson", "-c", f" \n {CONF} "],
        ["test", "send_lead", "-c", CONF],
        ["test", "send_lead", "--mark-success-pattern", "plan", "-vc", CONF],
    ],
)
@pytest.mark.parametrize(
    "started",
    [
        ["python", "/usr/local/bin/airflow"],
        ["python", "airflow"],
        ["python", "-m", "airflow"],
        ["python", "-Im", "airflow.__main__"],
        ["python", "-mairflow"],
        ["python", "/site-packages/airflow/__main__.py"],
    ],
)
def test_a_conf_for_send_lead_is_sealed_whatever_stands_before_it(started: list[str], arguments: list[str]) -> None:
    by_module = any(word.startswith("-") for word in started)
    argv = ["-m" if by_module else started[-1], "dags", *arguments]
    seal_arguments(argv, started_as=[*started, *argv[1:]])
    assert shown(argv) == []
    [text] = [argument[argument.index("{") :] for argument in argv if "{" in argument]
    assert is_sealed(json.loads(text))


@pytest.mark.parametrize(
    "arguments",
    [
        ["dags", "trigger", "send_laed", "-c", CONF],
        ["dags", "trigger", "send_lead ", "-c", CONF],
        ["dags", "trigger", "-vc", CONF],
        ["dags", "trigger", "send_laed", "-c", json.dumps([REQUEST])],
        ["dags", "trigger", "send_laed", "-c", json.dumps({"conf": {"conf": [REQUEST]}})],
        ["dags", "trigger", "send_laed", "-c", json.dumps({"conf": CONF})],
        ["dags", "trigger", "send_laed", "-c", json.dumps(CONF)],
        ["dags", "trigger", "send_laed", "-c", CONF[:-1]],
        ["dags", "trigger", "send_laed", "-c", str(REQUEST)],
        ["dags", "trigger", "send_laed", "-c", CONF.replace("integrations", "\\u0069ntegrations")],
        ["dags", "trigger", "send_laed", "-c", CONF.replace("credentials", "credentails").replace('"lead"', '"laed"')],
        ["dags", "trigger", "send_laed", "--config", CONF],
        ["dags", "trigger", "send_lead", "--config", CONF],
        ["dags", "trigger", "send_lead", "-r", CONF],
        ["dags", "trigger", "send_lead", CONF],
        ["dags", "trigger", "send_lead", "-c", "{}", CONF],
        ["tasks", "test", "send_lead", "plan", "-t", CONF],
        ["tasks", "render", "another", "plan", f"--task-params={CONF}"],
        ["backfill", "create", "--dag-id", "retry_leads", "--dag-run-conf", CONF],
        ["variables", "set", "request", CONF],
        ["dgas", "trigger", "send_laed", "-c", CONF],
    ],
)
def test_a_request_elsewhere_goes_no_further(arguments: list[str]) -> None:
    argv = ["airflow", *arguments]
    with pytest.raises(SystemExit) as caught:
        seal_arguments(argv)
    assert "nothing was done" in str(caught.value.code)
    assert shown([str(caught.value.code)]) == []


@pytest.mark.parametrize(
    "conf",
    [
        CONF[:-1],
        CONF[1:],
        str(REQUEST),
        "{lead_id:",
        "lead_id=1",
        CONF + "}",
        json.dumps([REQUEST]),
        CONF.replace("{", '{"lead_id": 2, ', 1),
        json.dumps({"conf": REQUEST}),
        json.dumps({"credential" if name == "credentials" else name: value for name, value in REQUEST.items()}),
        json.dumps({name: value for name, value in REQUEST.items() if name != "integrations"}),
    ],
)
@pytest.mark.parametrize("option", ["-c", "-vc", "--conf"])
def test_a_conf_that_is_wrong_ends_before_anything_is_logged(option: str, conf: str) -> None:
    with pytest.raises(SystemExit) as caught:
        seal_arguments(["airflow", "dags", "trigger", "send_lead", option, conf])
    assert "Nothing was triggered" in str(caught.value.code)
    assert shown([str(caught.value.code)]) == []


def test_what_stands_twice_is_not_left_in_the_text() -> None:
    """Airflow would log the text as it is, and read the last of both."""
    argv = [
        "airflow",
        "dags",
        "trigger",
        "send_lead",
        "-c",
        '{"lead": {"name": "N33DLE"}, "lead": null, "priority": "low"}',
    ]
    with pytest.raises(SystemExit) as caught:
        seal_arguments(argv)
    assert shown([str(caught.value.code)]) == []


@pytest.mark.parametrize(
    "argv",
    [
        ["leadcast", "send", CONF],
        ["/site-packages/leadcast/__main__.py", "send", CONF],
        ["-m", "send", CONF],
        ["python", "script.py", CONF],
        *(["script.py", group, "do", CONF] for group in ("assets", "backfill", "dags", "tasks", "variables")),
        ["/home/airflow/script", "tasks", "add", CONF],
        ["/home/airflow/tool/__main__.py", "tasks", "add", CONF],
        ["airflow.py", "tasks", "add", CONF],
        *(["airflow", "dags", "trigger", "another", "-c", json.dumps(conf)] for conf in OTHERS),
        *(["airflow", "variables", "set", "theirs", json.dumps(conf)] for conf in OTHERS),
        ["airflow", "dags", "trigger", "another", "-c", str(OTHERS[-1])[:-1]],
        ["airflow", "dags", "trigger", "another", "-c", '{"integrations": [{"type": "x"}], "lead_id": 7}'],
        [],
    ],
)
def test_what_is_none_of_ours_is_left_alone(argv: list[str]) -> None:
    given = list(argv)
    seal_arguments(given)
    assert given == argv


@pytest.mark.parametrize("module", ["tool", "airflow.tool", "airflow_tool", "-mtool", "airflow.providers.airflow"])
def test_another_module_s_arguments_are_its_own(module: str) -> None:
    argv = ["-m", "tasks", "add", CONF]
    seal_arguments(argv, started_as=["python", "-m", module, *argv[1:]])
    seal_arguments(argv)
    assert argv == ["-m", "tasks", "add", CONF]


def test_looking_at_another_command_loads_nothing() -> None:
    heavy = {"pydantic", "sqlalchemy", "cryptography", "airflow", "structlog"}
    argv = ["airflow", "tasks", "list", "another", "--conf", '{"a": [1]}']
    code = (
        f"import sys; sys.argv = {argv!r}\nimport leadcast.engine.seal.command_line; print({heavy} & set(sys.modules))"
    )
    include = Path(__file__).parents[2] / "include"
    found = subprocess.run([sys.executable, "-c", code], cwd=include, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_command_by_another_name_is_airflows_too(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "airflow"
    command.touch()
    (tmp_path / "af3").symlink_to(command)
    code = "from airflow.__main__ import main; main()"
    for program, started_as in ((str(tmp_path / "af3"), []), ("-c", ["python", "-c", code])):
        argv = [program, "dags", "trigger", "-c", CONF, "send_lead"]
        seal_arguments(argv, started_as=[*started_as, *argv[1:]])
        assert shown(argv) == []
    argv = ["-c", "tasks", "add", CONF]
    seal_arguments(argv, started_as=["python", "-c", "print('airflow')", *argv[1:]])
    assert argv[-1] == CONF
