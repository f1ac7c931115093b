"""What stands in a conf beside the request, or instead of one: nothing of it lies in Airflow's database in clear."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from leadcast.core.request_errors import InvalidRequest
from leadcast.engine.seal import command_line, sealed_conf
from leadcast.engine.seal.conf_guard import checked
from leadcast.engine.seal.sealed_conf import body_of, kept
from leadcast.engine.seal.triggering_tasks import inline_secrets
from leadcast.flow.request import SendBatch
from leadcast.store.sealing import Sealer
from tests.api.conftest import BODY, BOT_TOKEN

OPEN = {"lead_id": 1, "integrations": [{"type": "telegram"}]}
SPAN = "airflow/task_span_detail_level"
HIDDEN: list[dict[str, Any]] = [
    {"airflow/x": BODY},
    {"airflow/credentials": BODY["credentials"]},
    {"airflow/lead": BODY["lead"]},
    {"airflow/": BOT_TOKEN},
    {f"airflow/{BOT_TOKEN}": None},
    {SPAN: BODY},
    {SPAN: BOT_TOKEN},
    {SPAN: [1]},
    {SPAN: 10**20},
    {SPAN: -1},
]
LONE = [BODY, [BODY], BOT_TOKEN, "urgent", 7]


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(Fernet.generate_key().decode())


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("beside", [{}, OPEN, BODY], ids=["alone", "beside an open one", "beside a request"])
def test_what_is_called_airflows_and_is_not_is_refused(
    sealer: Sealer, hidden: dict[str, Any], beside: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(beside | hidden, sealer, caller="anna")
    assert BOT_TOKEN not in f"{caught.value} {caught.value.errors}"
    assert "airflow/…" in inline_secrets(beside | hidden)


@pytest.mark.parametrize("priority", LONE)
def test_a_priority_alone_is_one_that_there_is(sealer: Sealer, priority: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked({"priority": priority}, sealer, caller="anna")
    assert [error.loc for error in caught.value.errors] == [("priority",)]
    assert BOT_TOKEN not in str(caught.value)


@pytest.mark.parametrize("conf", [{}, OPEN])
@pytest.mark.parametrize("nothing", [None, "", {}])
def test_a_name_that_is_no_fields_goes_with_its_nothing(sealer: Sealer, conf: dict[str, Any], nothing: Any) -> None:
    assert checked(conf | {json.dumps(BODY): nothing, "lead": None}, sealer, caller="anna") == conf | (
        {"lead": None} if not conf else {}
    )


@pytest.mark.parametrize("level", [2, "2", 0, None])
def test_airflows_own_key_stays(sealer: Sealer, level: Any) -> None:
    sealed = checked(BODY | {SPAN: level}, sealer, caller="anna")
    assert sealed[SPAN] == level
    assert BOT_TOKEN not in json.dumps(sealed)
    assert checked({SPAN: level}, sealer, caller="anna") == {SPAN: level}


def test_our_list_of_fields_is_the_requests() -> None:
    assert set(SendBatch.model_fields) == sealed_conf._FIELDS


def test_airflows_keys_are_all_that_it_takes() -> None:
    from airflow._shared.observability.traces import TASK_SPAN_DETAIL_LEVEL_KEY

    assert TASK_SPAN_DETAIL_LEVEL_KEY == sealed_conf._SPAN_DETAIL


@pytest.mark.parametrize("conf", [HIDDEN[0], HIDDEN[1], {"priority": BODY}])
def test_no_bell_of_a_shells_is_logged_with_it(conf: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line._sealed(json.dumps(conf), caller="anna")
    assert BOT_TOKEN not in "".join(capsys.readouterr())


@pytest.mark.parametrize("conf", [HIDDEN[0], {"priority": BODY}])
def test_nor_is_one_written_whatever_brings_it(conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy

    from leadcast.engine.seal import conf_guard

    row = SimpleNamespace(
        persistent=False, attrs=SimpleNamespace(conf=SimpleNamespace(history=SimpleNamespace(has_changes=lambda: True)))
    )
    monkeypatch.setattr(sqlalchemy, "inspect", lambda target: row)
    mapper: Any = SimpleNamespace(
        local_table=SimpleNamespace(name="dag_run"), class_=SimpleNamespace(__module__="airflow.models.dagrun")
    )
    target = SimpleNamespace(dag_id="send_lead", conf=conf, run_id="x", triggered_by="operator")
    with pytest.raises(InvalidRequest):
        conf_guard._before_write(mapper, None, target)  # type: ignore[arg-type]
    target.conf = {json.dumps(BODY): None}
    monkeypatch.setattr(conf_guard, "_note", lambda run_id: None)
    conf_guard._before_write(mapper, None, target)  # type: ignore[arg-type]
    assert target.conf == {}


def test_what_is_kept_asks_for_the_same() -> None:
    assert body_of(kept(BODY | {"note": ""})) == body_of(BODY)
