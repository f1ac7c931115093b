"""fast-bitrix24 against the sandbox: single calls, batches, pages, limits, a token that runs out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import pytest
from fast_bitrix24 import BitrixAsync
from fast_bitrix24.server_response import ErrorInServerResponseException

from leadcast.sandbox import Sandbox

T = TypeVar("T")


def run(
    sandbox: Sandbox,
    use: Callable[[BitrixAsync], Awaitable[T]],
    *,
    path: str = "rest/1/secretwebhookcode/",
    **options: Any,
) -> T:
    """What fast-bitrix24 makes of `use`, with the sandbox as its portal."""

    async def main() -> T:
        return await use(BitrixAsync(f"{sandbox.bitrix24_url}/{path}", verbose=False, **options))

    return asyncio.run(main())


def a_lead(number: int = 0) -> dict[str, Any]:
    phone = {"typeId": "PHONE", "valueType": "WORK", "value": f"+799900000{number:02}"}
    fields = {"title": f"Заявка & {number}", "originatorId": "LEADCAST", "originId": f"k{number}", "fm": [phone]}
    return {"entityTypeId": 1, "fields": fields}


def add_leads(sandbox: Sandbox, count: int) -> Any:
    return run(sandbox, lambda b24: b24.call("crm.item.add", [a_lead(number) for number in range(count)]))


def test_one_lead_is_created_whole(sandbox: Sandbox) -> None:
    item = run(sandbox, lambda b24: b24.call("crm.item.add", a_lead(), raw=True))["result"]["item"]
    assert (item["title"], item["originId"], item["stageId"]) == ("Заявка & 0", "k0", "NEW")
    assert item["fm"][0]["value"] == "+79990000000"
    assert [lead["id"] for lead in sandbox.stored("bitrix24")["leads"]] == [item["id"]]


def test_many_leads_go_in_batches_and_each_is_answered(sandbox: Sandbox) -> None:
    answers = add_leads(sandbox, 70)

    # the client joins its batches in the order in which they end
    assert sorted(answer["originId"] for answer in answers) == sorted(f"k{number}" for number in range(70))
    assert {lead["title"] for lead in sandbox.stored("bitrix24")["leads"]} == {f"Заявка & {n}" for n in range(70)}
    assert [call["path"].rsplit("/")[-1] for call in sandbox.received("bitrix24")] == ["batch", "batch"]


def test_a_deal_with_its_contact_is_one_batch(sandbox: Sandbox) -> None:
    commands = {
        "who": "crm.item.add?entityTypeId=3&fields[name]=Анна&fields[fm][0][typeId]=PHONE&fields[fm][0][value]=%2B7999",
        "deal": "crm.item.add?entityTypeId=2&fields[title]=A%26B&fields[contactId]=$result[who][item][id]",
        "note": "crm.timeline.comment.add?fields[ENTITY_ID]=$result[deal][item][id]"
        "&fields[ENTITY_TYPE]=deal&fields[COMMENT]=ok",
    }
    answers = run(sandbox, lambda b24: b24.call_batch({"halt": 1, "cmd": commands}))

    stored = sandbox.stored("bitrix24")
    assert stored["deals"][0]["title"] == "A&B"
    assert int(stored["deals"][0]["contactId"]) == stored["contacts"][0]["id"] == answers["who"]["item"]["id"]
    assert stored["comments"][0]["entityId"] == answers["deal"]["item"]["id"]


def test_a_list_is_read_over_all_its_pages(sandbox: Sandbox) -> None:
    add_leads(sandbox, 130)
    params = {"entityTypeId": 1, "select": ["id", "originId"], "filter": {"=originatorId": "LEADCAST"}}
    items = run(sandbox, lambda b24: b24.get_all("crm.item.list", params))
    assert {item["originId"] for item in items} == {f"k{number}" for number in range(130)}


def test_a_short_list_and_an_empty_one_are_lists(sandbox: Sandbox) -> None:
    add_leads(sandbox, 3)
    found = {"entityTypeId": 1, "filter": {"@originId": ["k0", "k2"]}}
    nothing = {"entityTypeId": 1, "filter": {"=originId": "nobody"}}
    assert len(run(sandbox, lambda b24: b24.get_all("crm.item.list", found))) == 2
    assert run(sandbox, lambda b24: b24.get_all("crm.item.list", nothing)) == []


def test_items_are_read_by_their_ids(sandbox: Sandbox) -> None:
    ids = [answer["id"] for answer in add_leads(sandbox, 3)]
    params = {"entityTypeId": 1}
    items = run(sandbox, lambda b24: b24.get_by_ID("crm.item.get", ids, ID_field_name="id", params=params))
    assert {str(key): item["item"]["originId"] for key, item in items.items()} == {
        str(item_id): f"k{number}" for number, item_id in enumerate(ids)
    }


def test_a_duplicate_is_found_by_phone(sandbox: Sandbox) -> None:
    [lead] = add_leads(sandbox, 1)
    wanted = {"type": "PHONE", "values": ["79990000000"], "entity_type": "LEAD"}
    found = run(sandbox, lambda b24: b24.call("crm.duplicate.findbycomm", wanted, raw=True))
    assert found["result"] == {"LEAD": [lead["id"]]}
    nobody = {**wanted, "values": ["70000000000"]}
    assert run(sandbox, lambda b24: b24.call("crm.duplicate.findbycomm", nobody, raw=True))["result"] == []


def test_what_a_command_is_refused_for_is_told(sandbox: Sandbox) -> None:
    with pytest.raises(ErrorInServerResponseException, match="CRM_FIELD_ERROR_VALUE_NOT_VALID"):
        run(sandbox, lambda b24: b24.call("crm.item.add", [{"entityTypeId": 1, "fields": {"opportunity": "much"}}]))
    assert not sandbox.stored("bitrix24")["leads"]


@pytest.mark.parametrize(
    ("method", "code", "status"),
    [("profile", "revokedcode", 401), ("crm.nothing.add", "secretwebhookcode", 404)],
)
def test_a_refused_call_has_its_status(sandbox: Sandbox, method: str, code: str, status: int) -> None:
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        run(sandbox, lambda b24: b24.call(method, {}, raw=True), path=f"rest/1/{code}/")
    assert caught.value.status == status


def test_too_many_queries_are_taken_back_and_sent_again(sandbox: Sandbox) -> None:
    sandbox.fault(service="bitrix24", kind="rate_limit")
    run(sandbox, lambda b24: b24.call("crm.item.add", a_lead(), raw=True))

    assert [call["status"] for call in sandbox.received("bitrix24")] == [503, 200]
    assert len(sandbox.stored("bitrix24")["leads"]) == 1


def test_a_client_that_keeps_to_the_limits_meets_none(sandbox: Sandbox) -> None:
    sandbox.configure("bitrix24", leaky_bucket=True)

    async def twenty(b24: BitrixAsync) -> list[Any]:
        return await asyncio.gather(*(b24.call("profile", {}, raw=True) for _ in range(20)))

    run(sandbox, twenty)
    assert {call["status"] for call in sandbox.received("bitrix24")} == {200}


def test_an_application_renews_the_token_that_has_expired(sandbox: Sandbox) -> None:
    """OAuth: the library asks a function of ours for a token, again after a 401; the token goes as `auth`."""
    pair = {"access_token": "expired-access", "refresh_token": "refresh-1"}
    asked: list[str] = []

    async def token() -> str:
        if asked:
            app = {"client_id": "app.1", "client_secret": "secret", "refresh_token": pair["refresh_token"]}
            url, params = f"{sandbox.bitrix24_url}/oauth/token/", {"grant_type": "refresh_token", **app}
            async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url, params=params) as got:
                pair.update(await got.json())
        asked.append(pair["access_token"])
        return pair["access_token"]

    run(sandbox, lambda b24: b24.call("crm.item.add", a_lead(), raw=True), path="rest/", token_func=token)

    assert len(asked) == 2
    assert pair["refresh_token"] != "refresh-1"
    assert [call["status"] for call in sandbox.received("bitrix24")] == [401, 200, 200]
    assert len(sandbox.stored("bitrix24")["leads"]) == 1
