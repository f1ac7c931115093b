"""Bitrix24's own SDK against the sandbox: webhook and application, leads, deals, batches, pages, errors.

It speaks HTTPS only, to the portal and to oauth.bitrix24.tech, so it goes through a proxy (tls_front.py); and it does
not fit beside Airflow, so it runs in an environment of its own (own_environment.py).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leadcast.sandbox import Sandbox
from leadcast.sandbox.smtp.tls import Certificate
from tests.clients.own_environment import python_with
from tests.clients.tls_front import TlsFront, tls_front

PORTAL, MOVED, OAUTH = "example.bitrix24.ru", "renamed.bitrix24.ru", "oauth.bitrix24.tech"
WEBHOOK = {"domain": PORTAL, "webhook_token": "1/secretwebhookcode"}
APPLICATION = {
    "domain": PORTAL,
    "auth_token": "expired-access",
    "refresh_token": "refresh-1",
    "client_id": "app.1",
    "client_secret": "secret",
}
HERE = Path(__file__).parent
TIMEOUT_S = 60

Answer = dict[str, Any]
Sdk = Callable[..., Answer]


@pytest.fixture(scope="session")
def sdk_python() -> Path:
    return python_with(HERE / "b24pysdk.txt")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Path]:
    made = Certificate.self_signed(PORTAL, MOVED, OAUTH)
    path = tmp_path_factory.mktemp("tls") / "trusted.pem"
    path.write_bytes(made.certificate_pem)
    return made, path


@pytest.fixture
def front(sandbox: Sandbox, certificate: tuple[Certificate, Path]) -> Iterator[TlsFront]:
    with tls_front(port=sandbox.ports.bitrix24, certificate=certificate[0]) as front:
        yield front


@pytest.fixture
def sdk(front: TlsFront, certificate: tuple[Certificate, Path], sdk_python: Path) -> Sdk:
    """Makes calls with the SDK, in a process of its own; answers what came of each, and the token afterwards."""

    def run(*steps: Answer, credentials: Answer = WEBHOOK) -> Answer:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "HTTPS_PROXY": front.url,
            "REQUESTS_CA_BUNDLE": str(certificate[1]),
        }
        done = subprocess.run(
            [sdk_python, HERE / "b24pysdk_script.py"],
            input=json.dumps({"credentials": credentials, "steps": steps}),
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: Answer = json.loads(done.stdout)
        return answer

    return run


def add(number: int = 0, *, kind: int = 1, **fields: Any) -> Answer:
    given = {"title": f"Заявка & {number}", "originatorId": "LEADCAST", "originId": f"k{number}", **fields}
    return {"method": "crm.item.add", "arguments": {"entity_type_id": kind, "fields": given}}


def find(**conditions: Any) -> Answer:
    arguments = {"entity_type_id": 1, "filter": conditions, "select": ["id", "originId"]}
    return {"method": "crm.item.list", "arguments": arguments}


def results(answer: Answer) -> list[Any]:
    assert not [outcome for outcome in answer["outcomes"] if "raised" in outcome]
    return [outcome["result"] for outcome in answer["outcomes"]]


def test_a_lead_is_created_found_and_commented(sandbox: Sandbox, sdk: Sdk) -> None:
    phone = {"typeId": "PHONE", "valueType": "WORK", "value": "+79990000001"}
    comment = {"ENTITY_ID": 342, "ENTITY_TYPE": "lead", "COMMENT": "Перезвоните"}
    answer = sdk(
        add(fm=[phone]),
        find(**{"=originatorId": "LEADCAST", "=originId": "k0"}),
        {"method": "crm.item.get", "arguments": {"bitrix_id": 342, "entity_type_id": 1}},
        {"method": "crm.duplicate.findbycomm", "arguments": {"type": "PHONE", "values": ["79990000001"]}},
        {"method": "crm.timeline.comment.add", "arguments": {"fields": comment}},
        {"method": "profile"},
        {"method": "crm.settings.mode.get"},
    )
    added, found, read, same, commented, profile, mode = results(answer)

    assert (added["item"]["id"], added["item"]["title"], added["item"]["stageId"]) == (342, "Заявка & 0", "NEW")
    assert found["items"] == [{"id": 342, "originId": "k0"}]
    assert read["item"]["fm"][0]["value"] == "+79990000001"
    assert same["LEAD"] == [342]
    assert sandbox.stored("bitrix24")["comments"][0]["id"] == commented
    assert profile["ID"] == "1"
    assert mode == 1


def test_a_deal_has_a_contact(sandbox: Sandbox, sdk: Sdk) -> None:
    [contact] = results(sdk(add(kind=3, name="Анна", fm=[{"typeId": "EMAIL", "value": "a@example.com"}])))
    [deal] = results(sdk(add(kind=2, contactId=contact["item"]["id"], opportunity=15_000)))
    assert deal["item"]["contactId"] == contact["item"]["id"]
    assert [item["opportunity"] for item in sandbox.stored("bitrix24")["deals"]] == [15_000]


def test_the_old_way_to_add_answers_a_bare_id(sandbox: Sandbox, sdk: Sdk) -> None:
    fields = {"TITLE": "Заявка", "STATUS_ID": "NEW", "PHONE": [{"VALUE": "+7999", "VALUE_TYPE": "WORK"}]}
    [lead_id] = results(sdk({"method": "crm.lead.add", "arguments": {"fields": fields}}))
    [lead] = sandbox.stored("bitrix24")["leads"]
    assert (lead["id"], lead["title"], lead["fm"][0]["value"]) == (lead_id, "Заявка", "+7999")


def test_a_batch_answers_each_command(sandbox: Sandbox, sdk: Sdk) -> None:
    parts = {"one": add(1), "two": add(2, opportunity="much"), "three": add(3)}
    [outcome] = sdk({"as": "batch", "parts": parts})["outcomes"]

    assert sorted(outcome["result"]) == ["one", "three"]
    assert outcome["errors"]["two"]["error"] == "CRM_FIELD_ERROR_VALUE_NOT_VALID"
    assert [lead["originId"] for lead in sandbox.stored("bitrix24")["leads"]] == ["k1", "k3"]


def test_a_batch_that_halts_leaves_the_rest_undone(sandbox: Sandbox, sdk: Sdk) -> None:
    parts = {"one": add(1), "two": add(2, opportunity="much"), "three": add(3)}
    [outcome] = sdk({"as": "batch", "halt": True, "parts": parts})["outcomes"]
    assert (sorted(outcome["result"]), sorted(outcome["errors"])) == (["one"], ["two"])
    assert [lead["originId"] for lead in sandbox.stored("bitrix24")["leads"]] == ["k1"]


def test_a_batch_without_errors_says_so_in_php_s_way(sdk: Sdk) -> None:
    [outcome] = sdk({"as": "batch", "parts": {"one": add(1)}})["outcomes"]
    assert outcome["errors"] == []


@pytest.mark.parametrize("way", ["list", "list_fast"])
def test_a_list_is_read_over_all_its_pages(sdk: Sdk, way: str) -> None:
    answer = sdk({"as": "batches", "parts": [add(n) for n in range(130)]}, {**find(), "as": way})
    items = answer["outcomes"][1]["result"]
    assert sorted(item["originId"] for item in items) == sorted(f"k{n}" for n in range(130))


def test_what_goes_wrong_has_a_name_of_its_own(sandbox: Sandbox, sdk: Sdk) -> None:
    answers = [
        (401, "NO_AUTH_FOUND", "BitrixOAuthNoAuthFound"),
        (401, "PAYMENT_REQUIRED", "BitrixAPIPaymentRequired"),
        (401, "authorization_error", "BitrixAPIAuthorizationError"),
        (403, "ACCESS_DENIED", "BitrixAPIAccessDenied"),
        (403, "insufficient_scope", "BitrixAPIInsufficientScope"),
        (403, "user_access_error", "BitrixAPIUserAccessError"),
        (429, "OPERATION_TIME_LIMIT", "BitrixAPIOperationTimeLimit"),
        (500, "INTERNAL_SERVER_ERROR", "BitrixAPIInternalServerError"),
        (410, "PORTAL_DELETED", "BitrixAPIPortalDeleted"),
    ]
    for status, code, _ in answers:
        sandbox.fault(service="bitrix24", kind="error", status=status, code=code)
    outcomes = sdk(*(add(number) for number in range(len(answers))))["outcomes"]

    assert [outcome["raised"][0] for outcome in outcomes] == [name for _, _, name in answers]
    assert not sandbox.stored("bitrix24")["leads"]


def test_what_the_portal_itself_refuses_has_a_name_too(sandbox: Sandbox, sdk: Sdk) -> None:
    wrong_field = add(opportunity="much")
    wrong_filter = find(**{"=nope": "x"})
    no_such_item = {"method": "crm.item.get", "arguments": {"bitrix_id": 1, "entity_type_id": 1}}
    no_such_method = {"method": "crm.calllist.get", "arguments": {"bitrix_id": 1}}
    raised = [
        outcome["raised"][0] for outcome in sdk(wrong_field, wrong_filter, no_such_item, no_such_method)["outcomes"]
    ]
    assert raised == ["BitrixAPIBadRequest", "BitrixAPIInvalidArgValue", "BitrixAPINotFound", "BitrixAPINotFound"]

    [revoked] = sdk(add(), credentials={**WEBHOOK, "webhook_token": "1/revokedcode"})["outcomes"]
    assert "BitrixAPIUnauthorized" in revoked["raised"]


def test_a_gateway_page_is_no_json(sandbox: Sandbox, sdk: Sdk) -> None:
    sandbox.fault(service="bitrix24", kind="status", status=504)
    [outcome] = sdk(add())["outcomes"]
    assert "BitrixResponseJSONDecodeError" in outcome["raised"]


def test_too_many_queries_are_sent_again(sandbox: Sandbox, sdk: Sdk) -> None:
    sandbox.fault(service="bitrix24", kind="rate_limit")
    sdk(add())
    assert [call["status"] for call in sandbox.received("bitrix24")] == [503, 200]
    assert len(sandbox.stored("bitrix24")["leads"]) == 1


def test_too_many_queries_for_long_are_query_limit_exceeded(sandbox: Sandbox, sdk: Sdk) -> None:
    sandbox.fault(service="bitrix24", kind="rate_limit", times=None)
    [outcome] = sdk(add())["outcomes"]
    assert outcome["raised"][0] == "BitrixAPIQueryLimitExceeded"


def test_a_portal_that_moved_is_followed(sandbox: Sandbox, sdk: Sdk, front: TlsFront) -> None:
    sandbox.fault(service="bitrix24", kind="rename", location=f"https://{MOVED}")
    answer = sdk(add())

    assert answer["token"]["domain"] == MOVED
    assert front.asked_for == [f"{PORTAL}:443", f"{MOVED}:443"]
    assert len(sandbox.stored("bitrix24")["leads"]) == 1


def test_an_application_renews_its_token_and_keeps_the_new_pair(sandbox: Sandbox, sdk: Sdk, front: TlsFront) -> None:
    answer = sdk(add(1), add(2), credentials=APPLICATION)

    assert [item["item"]["originId"] for item in results(answer)] == ["k1", "k2"]
    assert answer["token"]["access_token"] != APPLICATION["auth_token"]
    assert answer["token"]["refresh_token"] not in ("", APPLICATION["refresh_token"])
    assert front.asked_for == [f"{PORTAL}:443", f"{OAUTH}:443", f"{PORTAL}:443", f"{PORTAL}:443"]
    assert len(sandbox.stored("bitrix24")["leads"]) == 2

    pair = {"auth_token": answer["token"]["access_token"], "refresh_token": answer["token"]["refresh_token"]}
    sandbox.fault(service="bitrix24", kind="expired_token")
    again = sdk(add(3), credentials={**APPLICATION, **pair})
    assert results(again)[0]["item"]["originId"] == "k3"
    assert again["token"]["refresh_token"] != pair["refresh_token"]


def test_a_refresh_token_that_was_used_is_an_invalid_grant(sdk: Sdk) -> None:
    sdk(add(1), credentials=APPLICATION)
    [outcome] = sdk(add(2), credentials=APPLICATION)["outcomes"]
    assert outcome["raised"][0] == "BitrixOAuthInvalidGrant"


def test_a_code_becomes_a_pair_for_the_portal(sdk: Sdk) -> None:
    [pair] = results(sdk({"as": "oauth_code", "code": "0b1c"}, credentials=APPLICATION))
    assert pair["scope"] == ["crm", "user"]
    assert pair["oauth_token"]["refresh_token"]
