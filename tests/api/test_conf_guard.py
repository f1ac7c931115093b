"""Sealing a run's conf, and telling a request from a bell."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.fernet import Fernet

from leadcast.core.request_errors import InvalidRequest
from leadcast.engine.seal import conf_guard, sealed_conf
from leadcast.engine.seal.sealed_conf import body_of, by_caller, has_secrets, is_sealed
from leadcast.store.sealing import Sealer
from tests.api.conftest import BODY, BOT_TOKEN

CALLBACK = "https://example.com/hook?token=a-secret-in-a-url"
CONF: dict[str, Any] = BODY | {"callback_url": CALLBACK}
FORM_LEFT_EMPTY = {
    "lead_id": None, "integrations": None, "credentials": None, "lead": None, "callback_url": None, "priority": "normal"
}  # fmt: skip


ANNA = by_caller("anna")


@pytest.fixture
def sealer(fernet_key: str) -> Sealer:
    return Sealer(fernet_key)


def seal_conf(conf: dict[str, Any], sealer: Sealer) -> dict[str, Any]:
    return sealed_conf.seal_conf(conf, sealer, for_=ANNA)


def open_conf(conf: dict[str, Any], sealer: Sealer) -> dict[str, Any]:
    return sealed_conf.open_conf(conf, sealer, for_=ANNA)


def checked(conf: dict[str, Any], sealer: Sealer) -> dict[str, Any]:
    return conf_guard.checked(conf, sealer, caller="anna")


def test_a_sealed_conf_holds_no_secret_and_opens_to_the_same(sealer: Sealer) -> None:
    sealed = seal_conf(CONF, sealer)
    text = json.dumps(sealed)
    assert BOT_TOKEN not in text
    assert CALLBACK not in text
    assert sealed["integrations"] == CONF["integrations"]
    assert list(sealed["credentials"]) == ["sealed"]
    assert open_conf(sealed, sealer) == CONF


def test_what_is_sealed_stays_the_same_request(sealer: Sealer) -> None:
    sealed = seal_conf(CONF, sealer)
    again = checked(sealed, sealer)
    assert again | {"credentials": 0} == sealed | {"credentials": 0}
    assert open_conf(again, sealer) == CONF


def test_a_callback_url_that_comes_later_is_sealed_too_and_wins(sealer: Sealer) -> None:
    again = seal_conf(CONF, sealer) | {"callback_url": "https://example.com/other-secret"}
    assert has_secrets(again)
    sealed = checked(again, sealer)
    assert "other-secret" not in json.dumps(sealed)
    assert open_conf(sealed, sealer) == CONF | {"callback_url": "https://example.com/other-secret"}


def test_a_form_that_leaves_the_callback_url_empty_keeps_the_sealed_one(sealer: Sealer) -> None:
    assert open_conf(seal_conf(CONF, sealer) | {"callback_url": None}, sealer) == CONF


def test_a_conf_without_secrets_is_left_alone(sealer: Sealer) -> None:
    conf = {"lead_id": 1, "integrations": [{"type": "email"}], "credentials": {}}
    assert seal_conf(conf, sealer) == conf


@pytest.mark.parametrize(
    "conf", [None, {}, FORM_LEFT_EMPTY, {"priority": "high"}, {"airflow/task_span_detail_level": 2}, {"lead_id": ""}]
)
def test_a_conf_that_asks_for_nothing_is_a_bell(conf: dict[str, Any] | None) -> None:
    assert body_of(conf) is None


def test_what_the_form_leaves_empty_is_not_part_of_the_request() -> None:
    integrations = [{"type": "email"}]
    conf = FORM_LEFT_EMPTY | {"lead_id": "7", "integrations": integrations, "lead": {}, "airflow/x": 1}
    assert body_of(conf) == {"lead_id": "7", "integrations": integrations, "priority": "normal"}


LINEAGE = {
    "parentRunId": "01941f29-7c00-7087-8906-40e512c257bd",
    "parentJobNamespace": "default",
    "parentJobName": "others.send",
    "rootParentRunId": None,
}


def test_what_openlineage_adds_to_a_run_is_no_part_of_the_request(sealer: Sealer) -> None:
    conf = {"lead_id": 1, "integrations": [{"type": "email"}], "openlineage": LINEAGE}
    assert "openlineage" not in (body_of(conf) or {})
    assert checked(conf, sealer) == conf
    assert body_of({"openlineage": LINEAGE}) is None


@pytest.mark.parametrize(
    "lineage",
    [
        "text",
        ["text"],
        LINEAGE | {"parentRunId": {"bot_token": BOT_TOKEN}},
        LINEAGE | {"parentRunId": "x" * 1001},
        LINEAGE | {"parentRunId": json.dumps(CONF)[:1000]},
        dict.fromkeys(map(str, range(21)), "x"),
        LINEAGE | {json.dumps(CONF)[:1000]: None},
        LINEAGE | {"x" * 1001: ""},
    ],
)
def test_under_its_name_nothing_else_comes_in(sealer: Sealer, lineage: Any) -> None:
    conf = {"lead_id": 1, "integrations": [{"type": "email"}], "openlineage": lineage}
    with pytest.raises(InvalidRequest) as caught:
        checked(conf, sealer)
    assert BOT_TOKEN not in str(caught.value)


def test_what_phps_arrays_and_empty_fields_leave_is_not_shown_to_airflow(sealer: Sealer) -> None:
    conf = {"lead_id": 1, "integrations": [{"type": "email"}]}
    nothing: tuple[Any, ...] = ("", " ", [], False, 0)
    for none in nothing:
        empty = dict.fromkeys(("credentials", "lead", "callback_url", "priority"), none)
        assert checked(conf | empty, sealer) == conf


def test_a_priority_that_there_is_none_of_is_sealed_as_it_came(sealer: Sealer) -> None:
    conf = {"lead_id": 1, "integrations": [{"type": "email"}], "priority": ["urgent"]}
    sealed = checked(conf, sealer)
    assert sealed.keys() == {"lead_id", "integrations", "credentials"}
    assert open_conf(sealed, sealer) == conf
    assert open_conf(sealed | {"priority": "high"}, sealer)["priority"] == "high"


@pytest.mark.parametrize(("given", "kept"), [(1.0, "1"), (" 1", "1"), (1, 1), ("1", "1")])
def test_a_lead_is_known_in_airflow_by_the_id_that_it_is_erased_by(sealer: Sealer, given: Any, kept: Any) -> None:
    sealed = checked({"lead_id": given, "integrations": [{"type": "email"}], "lead": {"name": "A"}}, sealer)
    assert sealed["lead_id"] == kept


@pytest.mark.parametrize("bell", [FORM_LEFT_EMPTY, {"airflow/task_span_detail_level": "2"}, {}])
def test_a_bell_passes_the_check(sealer: Sealer, bell: dict[str, Any]) -> None:
    assert checked(bell, sealer) == bell


@pytest.mark.parametrize(
    "wrong",
    [
        {"lead_id": 1},
        {"credentials": {"telegram": {"bot_token": BOT_TOKEN}}},
        CONF | {"nope": 1},
        CONF | {"credentials": [BOT_TOKEN]},
        CONF | {"credentials": {"sealed": "gAAAA", "telegram": {}}},
    ],
)
def test_a_wrong_request_is_refused_sealed_or_not(sealer: Sealer, wrong: dict[str, Any]) -> None:
    for conf in (wrong, seal_conf(wrong, sealer)):
        with pytest.raises(InvalidRequest) as caught:
            checked(conf, sealer)
        assert BOT_TOKEN not in str(caught.value)


def sealed_elsewhere() -> str:
    return Sealer(Fernet.generate_key().decode()).seal({"credentials": {}}, for_=ANNA)


@pytest.mark.parametrize("text", ["", "gAAAA", "not base64 at all", sealed_elsewhere()])
def test_what_another_key_sealed_is_refused(sealer: Sealer, text: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be opened here"):
        checked(CONF | {"credentials": {"sealed": text}}, sealer)


@pytest.mark.parametrize("inside", [b'"a password"', b"a password", b"[1]", b'{"password": "x"}'])
def test_nothing_but_what_we_sealed_for_a_conf_is_opened(sealer: Sealer, fernet_key: str, inside: bytes) -> None:
    stolen = Fernet(fernet_key).encrypt(inside).decode()
    with pytest.raises(InvalidRequest):
        open_conf({"credentials": {"sealed": stolen}}, sealer)


def test_an_integration_of_that_name_is_not_mistaken_for_a_seal() -> None:
    assert not is_sealed({"credentials": {"sealed": {"token": "x"}}})
    assert not is_sealed({"credentials": {"sealed": "x", "email": {}}})
