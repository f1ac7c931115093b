"""The sandbox's Bitrix24: addressing, items, search, batch, limits, error bodies."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import requests

from leadcast.sandbox import Sandbox

CODE = "secretwebhookcode"


def call(sandbox: Sandbox, method: str, params: Any = None, *, code: str = CODE) -> requests.Response:
    url = f"{sandbox.bitrix24_url}/rest/1/{code}/{method}"
    return requests.post(url, json=params or {}, timeout=5, allow_redirects=False)


def add_lead(sandbox: Sandbox, **fields: Any) -> dict[str, Any]:
    item: dict[str, Any] = call(sandbox, "crm.item.add.json", {"entityTypeId": 1, "fields": fields}).json()["result"]
    return item["item"]  # type: ignore[no-any-return]


def test_an_added_item_comes_back_whole_and_unknown_fields_are_ignored(sandbox: Sandbox) -> None:
    phone = {"typeId": "PHONE", "valueType": "WORK", "value": "+7999"}
    item = add_lead(sandbox, title="Заявка", originId="k1", ufCrm_1="x", fm=[phone], nonsense="?")

    assert (item["title"], item["originId"], item["stageId"], item["ufCrm_1"]) == ("Заявка", "k1", "NEW", "x")
    assert item["fm"][0]["value"] == "+7999"
    assert "nonsense" not in item
    assert sandbox.stored("bitrix24")["leads"] == [item]


def test_a_deal_has_no_phone_of_its_own(sandbox: Sandbox) -> None:
    params = {"entityTypeId": 2, "fields": {"title": "D", "fm": [{"typeId": "PHONE", "value": "1"}]}}
    assert "fm" not in call(sandbox, "crm.item.add", params).json()["result"]["item"]


def test_an_item_is_found_by_its_origin_one_or_many(sandbox: Sandbox) -> None:
    ids = [add_lead(sandbox, originatorId="LEADCAST", originId=f"k{n}")["id"] for n in range(3)]

    one = {"entityTypeId": 1, "select": ["id"], "filter": {"=originatorId": "LEADCAST", "=originId": "k1"}}
    many = {"entityTypeId": 1, "select": ["id", "originId"], "filter": {"@originId": ["k0", "k2"]}, "start": -1}

    assert call(sandbox, "crm.item.list", one).json()["result"]["items"] == [{"id": ids[1]}]
    assert call(sandbox, "crm.item.list", one).json()["total"] == 1
    answer = call(sandbox, "crm.item.list", many).json()
    assert [item["originId"] for item in answer["result"]["items"]] == ["k0", "k2"]
    assert "total" not in answer


def test_an_unknown_filter_field_is_an_error(sandbox: Sandbox) -> None:
    answer = call(sandbox, "crm.item.list", {"entityTypeId": 1, "filter": {"=nope": "x"}})
    assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_ARG_VALUE")


def test_lists_come_in_pages_of_fifty(sandbox: Sandbox) -> None:
    commands = [f"crm.item.add?entityTypeId=1&fields[title]=t{n}" for n in range(30)]
    for _ in range(2):
        call(sandbox, "batch", {"cmd": commands})

    first = call(sandbox, "crm.item.list", {"entityTypeId": 1}).json()
    rest = call(sandbox, "crm.item.list", {"entityTypeId": 1, "start": first["next"]}).json()

    assert (len(first["result"]["items"]), first["total"], first["next"]) == (50, 60, 50)
    assert len(rest["result"]["items"]) == 10
    assert "next" not in rest


def test_the_old_lead_add_answers_a_bare_id(sandbox: Sandbox) -> None:
    fields = {
        "TITLE": "T",
        "LAST_NAME": "Пример",
        "ORIGIN_ID": "k9",
        "PHONE": [{"VALUE": "+7999", "VALUE_TYPE": "WORK"}],
    }
    answer = call(sandbox, "crm.lead.add", {"fields": fields}).json()

    (lead,) = sandbox.stored("bitrix24")["leads"]
    assert answer["result"] == lead["id"]
    assert (lead["lastName"], lead["originId"], lead["fm"][0]["value"]) == ("Пример", "k9", "+7999")


def test_duplicates_are_found_by_phone_and_nothing_found_is_an_empty_array(sandbox: Sandbox) -> None:
    lead = add_lead(sandbox, fm=[{"typeId": "PHONE", "value": "+7 (999) 1"}])
    params = {"type": "PHONE", "values": ["+79991"]}

    assert call(sandbox, "crm.duplicate.findbycomm", params).json()["result"] == {"LEAD": [lead["id"]]}
    assert call(sandbox, "crm.duplicate.findbycomm", {**params, "values": ["5"]}).json()["result"] == []
    assert call(sandbox, "crm.duplicate.findbycomm", {"values": ["5"]}).status_code == 400


@pytest.mark.parametrize(
    "method", ["profile", "scope", "server.time", "crm.settings.mode.get", "crm.status.list", "CRM.STATUS.LIST.json"]
)
def test_what_a_client_asks_first_is_answered(sandbox: Sandbox, method: str) -> None:
    answer = call(sandbox, method)
    assert answer.status_code == 200
    assert answer.json()["result"]
    assert answer.json()["time"]["operating_reset_at"]


def test_a_batch_runs_in_order_and_reads_earlier_results(sandbox: Sandbox) -> None:
    phone = "fields[fm][0][typeId]=PHONE&fields[fm][0][value]=%2B7"
    commands = {
        "add": f"crm.item.add?entityTypeId=1&fields[title]={quote('A&B + Ромашка')}&{phone}",
        "note": "crm.timeline.comment.add?fields[ENTITY_ID]=$result[add][item][id]&fields[ENTITY_TYPE]=lead"
        "&fields[COMMENT]=ok",
        "bad": "crm.nothing",
    }
    answer = call(sandbox, "batch", {"halt": 0, "cmd": commands})
    result = answer.json()["result"]

    assert answer.status_code == 200
    assert result["result"]["add"]["item"]["title"] == "A&B + Ромашка"
    assert result["result_error"]["bad"]["error"] == "ERROR_METHOD_NOT_FOUND"
    assert result["result_next"] == []
    stored = sandbox.stored("bitrix24")
    assert stored["comments"][0]["entityId"] == stored["leads"][0]["id"]


def test_empty_maps_of_a_batch_are_arrays(sandbox: Sandbox) -> None:
    result = call(sandbox, "batch", {"cmd": ["nope"]}).json()["result"]
    assert result["result"] == []
    assert "0" in result["result_error"]
    assert call(sandbox, "batch", {"cmd": ["scope"]}).json()["result"]["result_error"] == []


def test_a_halting_batch_stops_at_the_first_error_and_keeps_what_was_done(sandbox: Sandbox) -> None:
    commands = {"a": "crm.item.add?entityTypeId=1", "b": "nope", "c": "crm.item.add?entityTypeId=1"}
    result = call(sandbox, "batch", {"halt": 1, "cmd": commands}).json()["result"]

    assert (list(result["result"]), list(result["result_error"])) == (["a"], ["b"])
    assert len(sandbox.stored("bitrix24")["leads"]) == 1


def test_commands_beyond_fifty_and_nested_batches_fail_one_by_one(sandbox: Sandbox) -> None:
    commands = {f"c{n}": "crm.item.add?entityTypeId=1" for n in range(51)}
    errors = call(sandbox, "batch", {"cmd": commands}).json()["result"]["result_error"]
    nested = call(sandbox, "batch", {"cmd": {"n": "batch?cmd[a]=scope"}}).json()["result"]["result_error"]

    assert {key: error["error"] for key, error in errors.items()} == {"c50": "ERROR_BATCH_LENGTH_EXCEEDED"}
    assert nested["n"]["error"] == "ERROR_BATCH_METHOD_NOT_ALLOWED"
    assert len(sandbox.stored("bitrix24")["leads"]) == 50


def test_forms_and_queries_are_read_as_php_reads_them(sandbox: Sandbox) -> None:
    url = f"{sandbox.bitrix24_url}/rest/1/{CODE}/crm.item.add"
    requests.post(url, data="entityTypeId=1&fields[title]=by+form", timeout=5)
    requests.get(f"{url}?entityTypeId=1&fields[title]=by+query&fields[observers][]=2", timeout=5)

    leads = sandbox.stored("bitrix24")["leads"]
    assert [lead["title"] for lead in leads] == ["by form", "by query"]
    assert leads[1]["observers"] == ["2"]


def test_oauth_calls_carry_a_token_which_may_expire_and_be_refreshed_once(sandbox: Sandbox) -> None:
    def scope(token: str) -> requests.Response:
        return requests.post(f"{sandbox.bitrix24_url}/rest/scope.json", json={"auth": token}, timeout=5)

    params = {"grant_type": "refresh_token", "client_id": "app.1", "client_secret": "s", "refresh_token": "r1"}
    assert scope("").json()["error"] == "NO_AUTH_FOUND"
    assert scope("a-token").status_code == 200
    assert (scope("expired-1").status_code, scope("expired-1").json()["error"]) == (401, "expired_token")

    sandbox.fault(service="bitrix24", kind="expired_token", times=None)
    assert scope("a-token").json()["error"] == "expired_token"
    granted = requests.get(f"{sandbox.bitrix24_url}/oauth/token/", params=params, timeout=5).json()
    assert scope(granted["access_token"]).status_code == 200
    again = requests.get(f"{sandbox.bitrix24_url}/oauth/token/", params=params, timeout=5)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def test_a_revoked_webhook_code_answers_401(sandbox: Sandbox) -> None:
    answer = call(sandbox, "scope", code="revoked1")
    assert (answer.status_code, answer.json()["error"]) == (401, "NO_AUTH_FOUND")


def test_an_unknown_method_answers_404(sandbox: Sandbox) -> None:
    answer = call(sandbox, "crm.nothing")
    assert (answer.status_code, answer.json()["error"]) == (404, "ERROR_METHOD_NOT_FOUND")


def test_the_leaky_bucket_refuses_what_overflows(sandbox: Sandbox) -> None:
    sandbox.configure("bitrix24", leaky_bucket=True, burst=3, drain_per_s=0.01)
    answers = [call(sandbox, "scope") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503]
    assert answers[3].json()["error"] == "QUERY_LIMIT_EXCEEDED"


def test_a_renamed_portal_redirects_and_executes_nothing(sandbox: Sandbox) -> None:
    sandbox.fault(service="bitrix24", kind="rename", location="https://new.bitrix24.ru")
    answer = call(sandbox, "crm.item.add", {"entityTypeId": 1})

    assert answer.status_code == 302
    assert answer.headers["Location"] == f"https://new.bitrix24.ru/rest/1/{CODE}/crm.item.add"
    assert sandbox.stored("bitrix24")["leads"] == []


def test_any_error_of_the_portal_can_be_asked_for(sandbox: Sandbox) -> None:
    sandbox.fault(service="bitrix24", kind="error", code="", text="Access denied.", status=400)
    answer = call(sandbox, "crm.lead.add", {"fields": {}})
    assert answer.json() == {"error": "", "error_description": "Access denied."}


def test_a_simple_crm_turns_a_lead_into_a_deal_with_a_contact(sandbox: Sandbox) -> None:
    sandbox.configure("bitrix24", crm_mode="simple")
    add_lead(sandbox, title="T", name="Анна")

    stored = sandbox.stored("bitrix24")
    assert stored["leads"][0]["stageId"] == "CONVERTED"
    assert stored["deals"][0]["contactId"] == stored["contacts"][0]["id"]
    assert call(sandbox, "crm.settings.mode.get").json()["result"] == 2


@pytest.mark.parametrize("path", ["/rest/1/{}/scope", "/rest/1/{}", "/1/{}/scope", "/rest/scope?auth={}"])
def test_the_webhook_code_is_not_readable_afterwards(sandbox: Sandbox, path: str) -> None:
    url = f"{sandbox.bitrix24_url}{path.format(CODE)}"
    requests.post(url, data=f"auth={CODE}", timeout=5)
    assert CODE not in str(sandbox.received("bitrix24")) + requests.get(sandbox.control_url, timeout=5).text
