"""Airflow's own trigger: what reaches it behind the guard, and what does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from leadcast.api.trigger_guard import TriggerGuard
from leadcast.core.errors import SettingsError
from leadcast.engine.seal import sealed_conf
from leadcast.engine.seal.sealed_conf import by_caller, of_run
from leadcast.flow.request import validate
from leadcast.store.sealing import Sealer
from tests.api.conftest import ASKING, BODY, BOT_TOKEN, TOKEN

TRIGGER = "/api/v2/dags/send_lead/dagRuns"


async def airflow(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Airflow: answers with what it got."""
    request = Request(scope, receive)
    body = await request.body()
    length = int(request.headers.get("Content-Length", -1))
    await JSONResponse({"body": body.decode("latin-1"), "length": length, "really": len(body)})(scope, receive, send)


def signed_in(app: ASGIApp) -> TestClient:
    return TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.fixture
def sealer(fernet_key: str) -> Sealer:
    return Sealer(fernet_key)


@pytest.fixture
def client(sealer: Sealer) -> TestClient:
    return signed_in(TriggerGuard(airflow, sealer=lambda: sealer, asking=ASKING, find_lead=lambda lead_id: None))


def open_conf(conf: dict[str, Any], sealer: Sealer) -> dict[str, Any]:
    return sealed_conf.open_conf(conf, sealer, for_=by_caller("tester"))


def passed_on(client: TestClient, body: Any, path: str = TRIGGER) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    got = answer.json()
    assert got["length"] == got["really"]
    return json.loads(got["body"])


@pytest.mark.parametrize("root", ["", "/airflow"])
@pytest.mark.parametrize(
    "path", [TRIGGER, f"{TRIGGER}/", f"/airflow{TRIGGER}", "/api/v2/dags/send%5Flead/dagRuns", f"{TRIGGER}%0A"]
)
def test_airflow_sees_sealed_credentials_only(client: TestClient, sealer: Sealer, path: str, root: str) -> None:
    if path.startswith("/airflow"):
        root = "/airflow"
    client = TestClient(client.app, headers=client.headers, root_path=root)
    got = passed_on(client, {"logical_date": None, "conf": BODY, "note": "n"}, path)
    assert BOT_TOKEN not in json.dumps(got)
    assert (got["logical_date"], got["note"]) == (None, "n")
    assert open_conf(got["conf"], sealer) == BODY


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_a_conf_in_another_encoding_is_sealed_as_well(client: TestClient, sealer: Sealer, encoding: str) -> None:
    body = json.dumps({"logical_date": None, "conf": BODY}).encode(encoding)
    answer = client.post(TRIGGER, content=body, headers={"Content-Type": "application/json"})
    assert BOT_TOKEN not in answer.json()["body"]
    assert open_conf(json.loads(answer.json()["body"])["conf"], sealer) == BODY


def test_ornaments_that_no_database_takes_are_sealed_with_the_lead(client: TestClient, sealer: Sealer) -> None:
    """Airflow keeps a conf as JSON, which PostgreSQL takes neither NUL nor half a character in."""
    lead = {"name": None, "comment": "a\x00b \ud83d", "custom": {"rooms": ["1", "2"]}}
    body = json.dumps({"logical_date": None, "conf": BODY | {"lead": lead, "callback_url": ""}})
    answer = client.post(TRIGGER, content=body, headers={"Content-Type": "application/json"})
    got = json.loads(answer.json()["body"])
    assert "lead" not in got["conf"]
    assert open_conf(got["conf"], sealer)["lead"] == lead


def test_a_conf_in_another_charset_and_with_what_stands_twice_in_its_lead_is_sealed_as_well(
    client: TestClient, sealer: Sealer
) -> None:
    lead = '{"name": "Анна", "phone": "1", "phone": "2", "custom": ' + "[" * 150 + "]" * 150 + "}"
    body = json.dumps({"logical_date": None, "conf": BODY | {"lead": "LEAD"}}).replace('"LEAD"', lead).encode("cp1251")
    answer = client.post(TRIGGER, content=body + b"\x00", headers={"Content-Type": "text/json; charset=windows-1251"})
    got = json.loads(answer.json()["body"])
    assert "lead" not in got["conf"]
    opened = open_conf(got["conf"], sealer)["lead"]
    assert (opened["name"], opened["phone"]) == ("Анна", "2")


def test_airflow_reads_what_was_checked_whatever_else_the_bytes_may_mean(client: TestClient) -> None:
    """In another charset, they may hold no conf to be sealed."""
    body = '{"conf": {"lead_id": 1}, "note": "\\u0041"}'
    answer = client.post(TRIGGER, content=b'{"note": "\xd0"}', headers={"Content-Type": "text/json; charset=koi8-r"})
    assert json.loads(answer.json()["body"]) == {"note": "п"}
    for charset in ("utf-7", "unicode_escape", "cp037", "utf-16"):
        answer = client.post(TRIGGER, content=body, headers={"Content-Type": f"text/json; charset={charset}"})
        assert answer.status_code == 422, "a request without integrations"


ORNAMENTS: dict[str, Any] = {
    "lead_id": " 123\u200b",
    "integrations": {"0": {"type": "Telegram"}, "2": {"type": "email", "settings": False}},
    "callback_url": False,
    "priority": "urgent",
}
AIRFLOWS_FORM = {
    "lead_id": (str, int),
    "integrations": (list,),
    "credentials": (dict,),
    "lead": (dict,),
    "callback_url": (str,),
    "priority": (str,),
}


@pytest.mark.parametrize("changed", [{}, {"priority": "High"}, {"lead": False, "priority": []}, {"credentials": 0}])
def test_what_is_mended_passes_airflows_own_check_of_its_form_and_is_the_same_request(
    client: TestClient, sealer: Sealer, changed: dict[str, Any]
) -> None:
    conf = BODY | ORNAMENTS | changed
    got = passed_on(client, {"logical_date": None, "conf": conf})["conf"]
    for name, value in got.items():
        assert isinstance(value, AIRFLOWS_FORM[name]), name
    assert got.get("priority", "normal") in ("high", "normal", "low")
    assert str(got["lead_id"]) == "123", "by which the run is found, to erase it"
    again, first = validate(open_conf(got, sealer)), validate(conf)
    assert (again, again.notes) == (first, first.notes)
    once_more = passed_on(client, {"logical_date": None, "conf": got})["conf"]
    assert once_more | {"credentials": 0} == got | {"credentials": 0}
    assert open_conf(once_more, sealer) == open_conf(got, sealer)


@pytest.mark.parametrize("run", [None, "run-1"], ids=["read in the audit log", "read in a run"])
def test_the_forms_again_is_its_users_alone(client: TestClient, sealer: Sealer, run: str | None) -> None:
    def read_of(caller: str) -> dict[str, Any]:
        for_ = by_caller(caller) if run is None else of_run(run, caller=caller)
        return sealed_conf.seal_conf(BODY, sealer, for_=for_) | {"callback_url": None, "lead": None}

    again = passed_on(client, {"logical_date": None, "conf": read_of("tester")})["conf"]
    assert open_conf(again, sealer) == BODY
    answer = client.post(TRIGGER, json={"logical_date": None, "conf": read_of("boris")})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "conf", "credentials", "sealed"]
    assert "anew" in answer.json()["detail"]


@pytest.mark.parametrize("conf", [None, {}, {"lead_id": None, "credentials": {}, "priority": "normal"}])
def test_a_bell_passes(client: TestClient, conf: Any) -> None:
    assert passed_on(client, {"logical_date": None, "conf": conf}) == {"logical_date": None, "conf": conf}


def test_a_wrong_conf_is_a_problem_with_every_field_and_no_value(client: TestClient) -> None:
    wrong = BODY | {"integrations": [{"type": "telegram", "settings": {"colour": "SECRET"}}]}
    answer = client.post(TRIGGER, json={"logical_date": None, "conf": wrong})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    locations = [error["loc"] for error in answer.json()["errors"]]
    assert ["body", "conf", "integrations", 0, "settings", "colour"] in locations
    assert "SECRET" not in answer.text
    assert BOT_TOKEN not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"conf": {"credentials": {"telegram": {"bot_token": "SECRET"}}}, "conf": {}}',
        b'{"conf": {"lead_id": 1, "credentials": {"a": "SECRET", "a": 1}}}',
        b'{"conf": "SECRET"}',
        b'{"conf": ["SECRET"]}',
        json.dumps(BODY).encode(),
        b'{"conf": {"credentials": "SECRET',
    ],
    ids=["conf twice", "credentials twice", "conf a string", "conf a list", "not in conf", "no JSON"],
)
def test_no_way_of_writing_it_leads_past_the_guard(client: TestClient, body: bytes) -> None:
    for headers in ({"Content-Type": "application/json"}, {"Content-Type": "text/plain"}, {}):
        answer = client.post(TRIGGER, content=body, headers=headers)
        assert answer.status_code == 422
        assert "SECRET" not in answer.text
        assert BOT_TOKEN not in answer.text


def test_more_than_a_mebibyte_is_413_whatever_its_length_is_said_to_be(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(2000):
            yield b" " * 1024

    assert client.post(TRIGGER, content=b" " * (1024 * 1024 + 1)).status_code == 413
    assert client.post(TRIGGER, content=chunks()).status_code == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v2/dags/other/dagRuns"), ("POST", "/api/v2/backfills"), ("PATCH", TRIGGER), ("GET", TRIGGER)],
)
def test_everything_else_is_not_even_read(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path, content=b"{not json", headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert answer.json()["body"] == "{not json"


def test_where_it_cannot_seal_it_refuses_and_says_how_to_send() -> None:
    def no_key() -> Sealer:
        raise SettingsError("There is no key.")

    client = signed_in(TriggerGuard(airflow, sealer=no_key, asking=ASKING))
    answer = client.post(TRIGGER, json={"conf": BODY})
    assert answer.status_code == 422
    assert "conn_id" in answer.json()["detail"]
    assert client.post(TRIGGER, json={"conf": {}}).status_code == 200
