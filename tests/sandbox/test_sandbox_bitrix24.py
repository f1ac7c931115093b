"""The sandbox's Bitrix24: addressing, items, search, batch, limits, error bodies."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import requests

from leadcast.sandbox import Sandbox
from leadcast.sandbox.bitrix24.catalogue import camel_name
from leadcast.sandbox.bitrix24.operating import OperatingTime

CODE = "secretwebhookcode"


def call(sandbox: Sandbox, method: str, params: Any = None, *, code: str = CODE) -> requests.Response:
    url = f"{sandbox.bitrix24_url}/rest/1/{code}/{method}"
    return requests.post(url, json=params or {}, timeout=5, allow_redirects=False)


def add_lead(sandbox: Sandbox, **fields: Any) -> dict[str, Any]:
    item: dict[str, Any] = call(sandbox, "crm.item.add.json", {"entityTypeId": 1, "fields": fields}).json()["result"]
    return item["item"]  # type: ignore[no-any-return]


def test_an_added_item_comes_back_whole_and_unknown_fields_are_ignored(sandbox: Sandbox) -> None:
    phone = {"typeId": "PHONE", "valueType": "WORK", "value": "+7999"}
    item = add_lead(sandbox, title="Заявка", originId="k1", ufCrmCity="x", fm=[phone], nonsense="?")

    assert (item["title"], item["originId"], item["stageId"], item["ufCrmCity"]) == ("Заявка", "k1", "NEW", "x")
    assert item["fm"][0]["value"] == "+7999"
    assert "nonsense" not in item
    assert sandbox.stored("bitrix24")["leads"] == [item]


def test_a_deal_has_no_phone_of_its_own(sandbox: Sandbox) -> None:
    params = {"entityTypeId": 2, "fields": {"title": "D", "fm": [{"typeId": "PHONE", "value": "1"}]}}
    assert "fm" not in call(sandbox, "crm.item.add", params).json()["result"]["item"]


@pytest.mark.parametrize(
    ("original", "camel"),
    [
        ("UF_CRM_3_DIGIT", "ufCrm3Digit"),
        ("UF_CRM_3_DIGIT10", "ufCrm_3_DIGIT10"),
        ("UF_CRM_3_DIGIT_10", "ufCrm_3_DIGIT_10"),
        ("UF_CRM_3_1747309727", "ufCrm3_1747309727"),
        ("UF_CRM_1747309879", "ufCrm_1747309879"),
        ("UF_CRM_CITY", "ufCrmCity"),
    ],
)
def test_user_fields_are_named_as_the_documentation_has_it(original: str, camel: str) -> None:
    assert camel_name(original) == camel


def test_the_fields_are_described_with_both_of_their_names(sandbox: Sandbox) -> None:
    sandbox.configure("bitrix24", user_fields={"UF_CRM_TAGS": "string[]"})

    def described(**params: Any) -> dict[str, Any]:
        fields: dict[str, Any] = call(sandbox, "crm.item.fields", {"entityTypeId": 1, **params}).json()["result"]
        return fields["fields"]  # type: ignore[no-any-return]

    fields = described()
    assert (fields["ufCrmTags"]["upperName"], fields["ufCrmTags"]["isMultiple"]) == ("UF_CRM_TAGS", True)
    assert (fields["utmSource"]["upperName"], fields["id"]["isReadOnly"]) == ("UTM_SOURCE", True)
    assert "UF_CRM_TAGS" in described(useOriginalUfNames="Y")
    assert "ufCrmCity" not in fields


def test_a_user_field_is_written_by_the_name_that_was_asked_for(sandbox: Sandbox) -> None:
    by_camel = {"entityTypeId": 1, "fields": {"ufCrmCity": "Казань", "UF_CRM_AREA": 1}}
    by_original = {"entityTypeId": 1, "fields": {"UF_CRM_CITY": "Казань"}, "useOriginalUfNames": "Y"}

    item = call(sandbox, "crm.item.add", by_camel).json()["result"]["item"]
    assert (item["ufCrmCity"], item["ufCrmArea"]) == ("Казань", None)
    assert call(sandbox, "crm.item.add", by_original).json()["result"]["item"]["UF_CRM_CITY"] == "Казань"


@pytest.mark.parametrize("fields", [{"ufCrmInterests": "one"}, {"contactIds": 5}, {"contacts": [5]}])
def test_one_value_for_many_and_what_cannot_be_written_are_error_100(sandbox: Sandbox, fields: dict[str, Any]) -> None:
    answer = call(sandbox, "crm.item.add", {"entityTypeId": 1, "fields": fields})
    assert (answer.status_code, answer.json()["error"]) == (400, "100")


def test_a_method_that_took_too_long_is_blocked_and_the_others_are_not(sandbox: Sandbox) -> None:
    sandbox.configure("bitrix24", operating_limit_s=100, operating_cost_s=60)
    spent = [call(sandbox, "crm.item.list", {"entityTypeId": 1}).json()["time"]["operating"] for _ in range(2)]
    blocked = call(sandbox, "crm.item.list", {"entityTypeId": 1})

    assert spent == [60, 120]
    assert (blocked.status_code, blocked.json()["error"]) == (429, "OPERATION_TIME_LIMIT")
    assert call(sandbox, "profile").status_code == 200
    assert call(sandbox, "crm.item.list", {"entityTypeId": 1}, code="another").status_code == 200


def test_the_commands_of_a_batch_count_each_and_the_batch_does_not(sandbox: Sandbox) -> None:
    sandbox.configure("bitrix24", operating_limit_s=100, operating_cost_s=60)
    answer = call(sandbox, "batch", {"cmd": dict.fromkeys("abc", "profile")}).json()

    assert answer["result"]["result_error"]["c"]["error"] == "OPERATION_TIME_LIMIT"
    assert answer["result"]["result_time"]["b"]["operating"] == 120
    assert answer["time"]["operating"] == 0


def test_a_methods_time_is_kept_in_ten_buckets_of_a_minute() -> None:
    now = [1_000.0]
    operating = OperatingTime(clock=lambda: now[0])
    assert operating.add("me", "profile", 10) == (10, 1_600)
    now[0] += 59
    assert operating.add("me", "profile", 10) == (20, 1_600)
    now[0] += 1
    assert operating.add("me", "profile", 10) == (30, 1_600)
    now[0] = 1_600.0
    assert operating.spent_s("me", "profile") == 10
    assert operating.add("me", "profile", 1) == (11, 1_660)


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
    shown = requests.get(f"{sandbox.control_url}/page", headers=sandbox.authorization, timeout=5).text
    assert CODE not in str(sandbox.received("bitrix24")) + shown
