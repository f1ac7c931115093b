"""Airflow's audit log, which everybody reads who may look: no secret of a connection of ours is in it, whichever way
the connection was made. Rows about others' connections are as Airflow writes them."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Mapper

from leadcast.engine.seal import logged_connections, shown_rows
from leadcast.engine.seal.logged_requests import words_of
from tests.support.api_server import api_server

HOOK = "https://portal.example/rest/1/N33DLE/"
EXTRA = json.dumps({"refresh_token": "N33DLE-r", "client_secret": "N33DLE-s", "my_own": "N33DLE-o"})
JSON = json.dumps({"conn_type": "bitrix24", "host": HOOK, "extra": json.loads(EXTRA)})
WITHIN = json.dumps({"uri": f"bitrix24://{HOOK}"})
URI = "bitrix24://portal.example/rest/1/N33DLE/?refresh_token=N33DLE"
OF_BITRIX24 = ["portal", "--conn-type", "bitrix24"]
OURS = [
    [*OF_BITRIX24, "--conn-host", HOOK],
    [*OF_BITRIX24, f"--conn-host={HOOK}"],
    [*OF_BITRIX24, "--conn-ho", HOOK],
    [*OF_BITRIX24, f"--conn-h={HOOK}"],
    [*OF_BITRIX24, "--conn-host", HOOK, "--conn-host", "portal.example/N33DLE"],
    [*OF_BITRIX24, "--conn-host", "portal.example?auth=N33DLE"],
    [*OF_BITRIX24, "--conn-host", "https://me:N33DLE@portal.example"],
    [*OF_BITRIX24, "--conn-e", EXTRA],
    [*OF_BITRIX24, f"--conn-extra={EXTRA}", "--conn-host", "portal.example"],
    [*OF_BITRIX24, "--conn-pass", "N33DLE", "--conn-login", "N33DLE", "--conn-sch", "N33DLE"],
    [*OF_BITRIX24, "--conn-description", "the token is N33DLE", "--conn-port=N33DLE?"],
    ["--conn-t=BITRIX24", "--conn-host", HOOK, "portal"],
    ["--conn-type", "bitrix24", "--conn-host", HOOK, "--", "portal"],
    ["--conn-type", "bitrix24", HOOK],
    ["portal", "--conn-uri", URI],
    ["portal", f"--conn-uri={URI}"],
    ["portal", "--conn-u", f" {URI}"],
    ["portal", f"--conn-uri=bitrix24://:N33DLE@portal.example/?__extra__={EXTRA}"],
    ["portal", "--conn-json", JSON],
    ["portal", f"--conn-json={JSON}"],
    ["portal", "--conn-j", JSON],
    ["portal", "--conn-json", WITHIN],
    ["leadcast_bitrix24", "--conn-uri", HOOK],
    ["leadcast_bitrix24", "--conn-type", "bitrix", "--conn-host", HOOK],
    ["leadcast_hook", "--conn-type", "http", "--conn-host", HOOK],
    ["allowed_hook", "--conn-type", "http", "--conn-host", HOOK],
    ["allowed_mail", "--conn-uri", "smtp://me@mail.example/?oauth=N33DLE"],
    ["bot", "--conn-type", "telegram", "--conn-host", "700:N33DLE", "--conn-extra", EXTRA],
    ["crm", "--conn-type", "amocrm", "--conn-extra", EXTRA],
    ["nobodys", "--conn-host", HOOK],
    ["nobodys", f"--conn-json={JSON[:-1]}"],
]
OTHERS = [
    ["theirs", "--conn-type", "http", "--conn-host", HOOK],
    ["theirs", "--conn-type=postgres", "--conn-host", HOOK, "--conn-extra", EXTRA],
    ["theirs", "--conn-uri", "smtp://mail.example/?oauth=N33DLE"],
    ["theirs", "--conn-json", json.dumps({"conn_type": "aws", "host": HOOK})],
    ["leadcast", "--conn-type", "aws", "--conn-e", EXTRA],
    ["allowed_db", "--conn-type", "postgres", "--conn-host", HOOK],
]
BODY = {"connection_id": "portal", "conn_type": "bitrix24", "host": HOOK, "extra": EXTRA, "password": None, "port": 443}
BODIES: list[dict[str, Any]] = [
    BODY,
    BODY | {"connection_id": "leadcast_x", "conn_type": "http", "description": "N33DLE", "login": "N33DLE"},
    BODY | {"connection_id": "allowed_hook", "conn_type": "https"},
    BODY | {"hots": HOOK, "host": "portal.example"},
    BODY | {"extra": {"client_secret": ["N33DLE"]}},
    {"host": HOOK, "connection_id": "portal"},
]
THEIRS = {"connection_id": "theirs", "conn_type": "http", "host": HOOK, "extra": EXTRA, "description": "N33DLE"}


@pytest.fixture
def airflow(send_lead: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Airflow's database, and what Airflow writes there is looked at."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    monkeypatch.setenv("AIRFLOW__LEADCAST__ALLOWED_CONN_IDS", "leadcast_*, allowed_*")
    was_watched = event.contains(Mapper, "init", shown_rows._as_made)
    shown_rows.watch()
    shown_rows.watch_commands()
    yield
    event.remove(Engine, "before_execute", shown_rows._before_execute)
    if not was_watched:
        event.remove(Mapper, "before_insert", shown_rows._before_insert)
        event.remove(Mapper, "init", shown_rows._as_made)
    with create_session() as session:
        session.execute(delete(Log).where(Log.event.contains("connection")))


def last_row() -> str:
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    with create_session() as session:
        return str(session.scalar(select(Log.extra).order_by(Log.id.desc()).limit(1)))


@pytest.fixture
def by_command(airflow: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], tuple[str, str]]:
    """Logs `airflow connections add …` as Airflow does; returns what it would have written, and what it has."""
    from airflow.utils.cli import _build_metrics
    from airflow.utils.cli_action_loggers import default_action_log

    def log(arguments: list[str]) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["airflow", "connections", "add", *arguments])
        metrics = _build_metrics("connections_add", Namespace())  # type: ignore[no-untyped-call]  # Airflow's
        default_action_log(**metrics)
        return json.dumps({name: metrics[name] for name in ("host_name", "full_command")}), last_row()

    return log


@pytest.fixture
def by_rest(airflow: None) -> Callable[..., tuple[str, str]]:
    """The same of a call's body."""
    from airflow.api_fastapi.logging.decorators import _mask_connection_fields
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    def log(body: Any, of: str = "post_connection") -> tuple[str, str]:
        masked = _mask_connection_fields(body)  # type: ignore[no-untyped-call]  # Airflow's
        text = json.dumps({**masked, "method": "POST"})
        with create_session() as session:
            session.add(Log(event=of, extra=text))
        return text, last_row()

    return log


@pytest.mark.airflow
@pytest.mark.parametrize("arguments", OURS)
def test_a_command_about_a_connection_of_ours_is_logged_without_secrets(
    by_command: Callable[[list[str]], tuple[str, str]], arguments: list[str]
) -> None:
    before, after = by_command(arguments)
    assert "N33DLE" in before
    assert "N33DLE" not in after


@pytest.mark.airflow
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            ["--conn-t=bitrix24", "portal", "--conn-h", HOOK],
            ["portal", "--conn-type", "bitrix24", "--conn-host", "***"],
        ),
        (["portal", f"--conn-uri={URI}"], ["portal", "--conn-uri", "bitrix24://***"]),
        (
            ["portal", "--conn-json", JSON],
            ["portal", "--conn-json", '{"conn_type": "bitrix24", "host": "***", "extra": "***"}'],
        ),
    ],
)
def test_which_connection_it_was_can_be_read(
    by_command: Callable[[list[str]], tuple[str, str]], arguments: list[str], shown: list[str]
) -> None:
    _, after = by_command(arguments)
    command = ["airflow", "connections", "add", *shown]
    assert words_of(json.loads(after)["full_command"]) == command


@pytest.mark.airflow
@pytest.mark.parametrize("arguments", OTHERS)
def test_a_command_about_another_s_is_logged_as_it_is(
    by_command: Callable[[list[str]], tuple[str, str]], arguments: list[str]
) -> None:
    before, after = by_command(arguments)
    assert after == before


@pytest.mark.airflow
@pytest.mark.parametrize("of", ["post_connection", "patch_connection", "bulk_connections", "enqueue_connection_test"])
@pytest.mark.parametrize("body", BODIES)
def test_a_call_about_a_connection_of_ours_is_logged_without_secrets(
    by_rest: Callable[..., tuple[str, str]], of: str, body: dict[str, Any]
) -> None:
    if of == "bulk_connections":
        body = {"actions": [{"action": "create", "entities": [body]}, {"action": "delete", "entities": ["portal"]}]}
    before, after = by_rest(body, of)
    assert "N33DLE" in before
    assert "N33DLE" not in after
    shown = json.loads(after)
    [*_, entity] = shown["actions"][0]["entities"] if of == "bulk_connections" else [shown]
    given = body["actions"][0]["entities"][0] if of == "bulk_connections" else body
    assert [entity.get(name) for name in ("connection_id", "conn_type")] == [
        given.get(name) for name in ("connection_id", "conn_type")
    ]


@pytest.mark.airflow
def test_of_several_in_one_call_only_ours_are_masked(by_rest: Callable[..., tuple[str, str]]) -> None:
    before, after = by_rest({"actions": [{"action": "create", "entities": [THEIRS, BODY]}]}, "bulk_connections")
    theirs, ours = json.loads(after)["actions"][0]["entities"]
    assert theirs == json.loads(before)["actions"][0]["entities"][0]
    assert "N33DLE" not in str(ours)


@pytest.mark.airflow
@pytest.mark.parametrize("body", [THEIRS, {"actions": [{"action": "update", "entities": [THEIRS]}]}, {"a": [["N33"]]}])
def test_a_call_about_another_s_is_logged_as_it_is(by_rest: Callable[..., tuple[str, str]], body: Any) -> None:
    before, after = by_rest(body)
    assert after == before


@pytest.mark.parametrize("extra", ["[" * 100_000 + "N33DLE", "N33DLE", '{"host": "N33DLE'])
def test_what_cannot_be_read_is_not_shown(extra: str) -> None:
    for of in ("post_connection", "cli_connections_add"):
        assert "N33DLE" not in logged_connections.masked(of, extra)


def test_a_bare_host_can_be_read() -> None:
    for host in ("portal.example", "https://portal.example/", "mail.example:465"):
        row = logged_connections.masked("post_connection", json.dumps(BODY | {"host": host}))
        assert json.loads(row)["host"] == host


@pytest.mark.airflow
def test_abbreviations_are_read_as_airflow_reads_them() -> None:
    from airflow.cli.cli_config import CONNECTIONS_COMMANDS, ActionCommand

    [add] = [each for each in CONNECTIONS_COMMANDS if each.name == "add"]
    assert isinstance(add, ActionCommand)
    flags = {flag for argument in add.args for flag in argument.flags}
    assert flags == {"conn_id", *(f"--conn-{option}" for option in logged_connections.OPTIONS)}


@pytest.mark.system
def test_who_may_look_reads_none_in_a_real_airflow(tmp_path: Path, postgres_url: str, fernet_key: str) -> None:
    with api_server(tmp_path, postgres_url=postgres_url, fernet_key=fernet_key) as server:
        for number, arguments in enumerate(
            ([*OF_BITRIX24, "--conn-host", HOOK], ["portal", "--conn-ur", URI], ["portal", f"--conn-json={JSON}"])
        ):
            done = server.airflow("connections", "add", f"{arguments[0]}_{number}", *arguments[1:])
            assert done.returncode == 0, done.stderr
        said = [
            server.call("POST", "/api/v2/connections", user="admin", json=BODY),
            server.call("PATCH", "/api/v2/connections/portal", user="admin", json=BODY),
            server.call(
                "PATCH",
                "/api/v2/connections",
                user="admin",
                json={"actions": [{"action": "create", "entities": [BODY | {"connection_id": "leadcast_2"}]}]},
            ),
        ]
        assert [answer.status_code for answer in said] == [201, 200, 200]
        logs = server.call("GET", "/api/v2/eventLogs?limit=100", user="viewer").json()["event_logs"]
        assert [row["event"] for row in logs if "connection" in row["event"]] == [
            *["cli_connections_add"] * 3,
            "post_connection",
            "patch_connection",
            "bulk_connections",
        ]
        assert "N33DLE" not in str(logs)
        assert server.call("GET", "/api/v2/connections/portal", user="admin").json()["host"] == HOOK
