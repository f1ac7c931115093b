"""aioamocrm and amocrm-api-wrapper against the sandbox: leads, contacts, notes, pages, errors, tokens that rotate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aioamocrm
import pytest
from aioamocrm import (
    AmoCRMClient,
    AuthError,
    Company,
    Contact,
    Embedded,
    ForbiddenError,
    Lead,
    LongLivedToken,
    MemoryTokenStorage,
    Note,
    NotFoundError,
    OAuth2,
    PaymentRequiredError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    Tag,
    TokenSet,
)
from amocrm_api import AmoOAuthClient
from amocrm_api.errors import AmoException

from leadcast.sandbox import Sandbox

CLIENT_ID = "0a0a0a0a-1111-2222-3333-444444444444"
CLIENT_SECRET = "sandbox-client-secret"
REDIRECT_URI = "https://hook.example.com/amo"
OLD = TokenSet(access_token="expired-access", refresh_token="def50200old", expires_at=4_000_000_000)
T = TypeVar("T")


def run(
    sandbox: Sandbox, use: Callable[[AmoCRMClient], Awaitable[T]], *, auth: aioamocrm.Auth | None = None, tries: int = 1
) -> T:
    """What aioamocrm makes of `use`, with the sandbox as its account."""

    async def main() -> T:
        async with AmoCRMClient(
            auth=auth or LongLivedToken("a-long-lived-token"),
            base_url=sandbox.amocrm_url,
            rate_limit=None,
            retry=RetryPolicy(max_attempts=tries, backoff_base=0),
        ) as amo:
            return await use(amo)

    return asyncio.run(main())


def oauth(storage: MemoryTokenStorage) -> OAuth2:
    return OAuth2(CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, storage)


def wrapper(sandbox: Sandbox, **given: Any) -> AmoOAuthClient:
    tokens = {"access_token": OLD.access_token, "refresh_token": OLD.refresh_token}
    app = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "redirect_uri": REDIRECT_URI}
    client = AmoOAuthClient(crm_url=sandbox.amocrm_url, **{**tokens, **app, **given})
    client.max_retries, client.retry_sleep_base, client.retry_sleep_429 = 1, 0.0, 0.0
    return client


def a_lead(name: str = "Заявка 7781") -> Lead:
    contact = Contact(first_name="Анна", last_name="Пример")
    contact.set_field("PHONE", "+79990000001", enum_code="WORK")
    contact.set_field("EMAIL", "anna@example.com", enum_code="WORK")
    lead = Lead(
        name=name,
        price=15_000,
        pipeline_id=7001,
        status_id=50112,
        responsible_user_id=902,
        embedded=Embedded(tags=[Tag(name="сайт")], contacts=[contact], companies=[Company(name="ООО Ромашка")]),
    )
    lead.set_field("EXT_ID", "key-1")
    return lead


def test_a_lead_with_contact_and_company_is_created_and_read_back(sandbox: Sandbox) -> None:
    async def create_and_read(amo: AmoCRMClient) -> tuple[aioamocrm.ComplexLeadResult, Lead, Contact]:
        [result] = await amo.leads.create_complex([a_lead()])
        assert result.id is not None
        assert result.contact_id is not None
        lead = await amo.leads.get(result.id, with_=["contacts"])
        return result, lead, await amo.contacts.get(result.contact_id)

    result, lead, contact = run(sandbox, create_and_read)

    assert result.merged is False
    assert result.request_id == ["0"]
    assert (lead.name, lead.price, lead.pipeline_id, lead.status_id) == ("Заявка 7781", 15_000, 7001, 50112)
    assert lead.field_value("EXT_ID") == "key-1"
    assert [tag.name for tag in lead.embedded.tags] == ["сайт"]
    assert [(item.id, item.is_main) for item in lead.embedded.contacts] == [(result.contact_id, True)]
    assert contact.field_value("PHONE", enum_code="WORK") == "+79990000001"
    assert contact.field_value("EMAIL") == "anna@example.com"


def test_a_batch_is_cut_and_every_lead_gets_its_id(sandbox: Sandbox) -> None:
    results = run(sandbox, lambda amo: amo.leads.create_complex([a_lead(f"Заявка {n}") for n in range(70)]))
    assert len({result.id for result in results}) == 70
    assert len(sandbox.received("amocrm")) == 2


def test_pages_are_walked_to_the_end(sandbox: Sandbox) -> None:
    async def walk(amo: AmoCRMClient) -> list[str | None]:
        await amo.leads.create([Lead(name=f"Заявка {n}") for n in range(25)])
        return [lead.name async for lead in amo.leads.iterate(limit=10)]

    assert sorted(run(sandbox, walk), key=str) == sorted(f"Заявка {n}" for n in range(25))
    assert [call["query"]["page"] for call in sandbox.received("amocrm")[1:]] == ["1", "2", "3"]


def test_a_search_that_finds_nothing_is_an_empty_page(sandbox: Sandbox) -> None:
    async def search(amo: AmoCRMClient) -> tuple[int, int]:
        await amo.contacts.create([a_lead().embedded.contacts[0]])
        found = await amo.contacts.get_page(query="79990000001")
        return len(found), len(await amo.contacts.get_page(query="79990000002"))

    assert run(sandbox, search) == (1, 0)


def test_a_contact_is_created_linked_and_changed(sandbox: Sandbox) -> None:
    async def link(amo: AmoCRMClient) -> tuple[Lead, Contact]:
        [lead], [contact] = await amo.leads.create([Lead(name="L")]), await amo.contacts.create([Contact(name="C")])
        assert lead.id is not None
        assert contact.id is not None
        [made] = await amo.leads.link(lead.id, "contacts", contact.id, metadata={"is_main": True})
        assert (made.entity_id, made.to_entity_id, made.to_entity_type) == (lead.id, contact.id, "contacts")
        await amo.contacts.update([Contact(id=contact.id, first_name="Анна")])
        return await amo.leads.get(lead.id, with_="contacts"), await amo.contacts.get(contact.id)

    lead, contact = run(sandbox, link)
    assert [item.id for item in lead.embedded.contacts] == [contact.id]
    assert contact.first_name == "Анна"


def test_a_note_is_written_and_read(sandbox: Sandbox) -> None:
    async def write(amo: AmoCRMClient) -> tuple[int | None, list[Note]]:
        [lead] = await amo.leads.create([Lead(name="L")])
        assert lead.id is not None
        await amo.leads.notes.create([Note.common(lead.id, "Перезвоните завтра")])
        return lead.id, [note async for note in amo.leads.notes.iterate(entity_id=lead.id)]

    lead_id, notes = run(sandbox, write)
    assert [(note.entity_id, note.note_type, note.text) for note in notes] == [
        (lead_id, "common", "Перезвоните завтра")
    ]


def test_the_set_up_of_the_account_is_read(sandbox: Sandbox) -> None:
    async def read(amo: AmoCRMClient) -> None:
        account = await amo.account.get(with_=["version", "is_api_filter_enabled"])
        assert (account.id, account.subdomain) == (31000001, "sandbox")
        [pipeline] = await amo.pipelines.list()
        assert pipeline.is_main is True
        assert {142, 143, 50111} <= {status.id for status in pipeline.statuses}
        assert [user.id async for user in amo.users.iterate()] == [901, 902]
        codes = {field.code: field async for field in amo.contacts.custom_fields.iterate()}
        assert codes["PHONE"].enum_id("WORK") is not None

    run(sandbox, read)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 401}, AuthError),
        ({"kind": "status", "status": 402}, PaymentRequiredError),
        ({"kind": "status", "status": 403}, ForbiddenError),
        ({"kind": "status", "status": 404}, NotFoundError),
        ({"kind": "rate_limit", "retry_after": 300}, RateLimitError),
        ({"kind": "status", "status": 500}, ServerError),
        ({"kind": "status", "status": 504}, ServerError),
        ({"kind": "hang_up_after"}, aioamocrm.NetworkError),
    ],
)
def test_what_goes_wrong_has_a_name_of_its_own(
    sandbox: Sandbox, fault: dict[str, Any], error: type[aioamocrm.AmoCRMError]
) -> None:
    sandbox.fault(service="amocrm", **fault)
    with pytest.raises(error):
        run(sandbox, lambda amo: amo.leads.create([Lead(name="L")]))


def test_a_429_says_in_its_body_how_long(sandbox: Sandbox) -> None:
    sandbox.fault(service="amocrm", kind="rate_limit", retry_after=300)
    with pytest.raises(RateLimitError) as caught:
        run(sandbox, lambda amo: amo.leads.create([Lead(name="L")]))
    assert caught.value.body["retry_after"] == 300
    assert caught.value.retry_after is None  # no header: amoCRM documents none


def test_a_refused_field_is_named(sandbox: Sandbox) -> None:
    leads: list[Lead | dict[str, Any]] = [Lead(name="good"), {"name": "bad", "status_id": "soon"}]
    with pytest.raises(aioamocrm.ValidationError) as caught:
        run(sandbox, lambda amo: amo.leads.create(leads))
    assert [(issue.request_id, issue.code, issue.path) for issue in caught.value.errors] == [
        ("1", "InvalidType", "status_id")
    ]
    assert not sandbox.stored("amocrm")["leads"]


def test_more_than_the_limit_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(aioamocrm.ValidationError, match="Limit 50 per page"):
        run(sandbox, lambda amo: amo.leads.create_complex([a_lead()] * 51, batch_size=60))


def test_a_lead_that_is_not_there_is_not_found(sandbox: Sandbox) -> None:
    with pytest.raises(NotFoundError):
        run(sandbox, lambda amo: amo.leads.get(1))


def test_more_than_seven_calls_a_second_are_too_many(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", requests_per_second=7, retry_after_s=1)

    async def many(amo: AmoCRMClient) -> list[Any]:
        return await asyncio.gather(*(amo.account.get() for _ in range(40)), return_exceptions=True)

    outcomes = run(sandbox, many)
    assert any(isinstance(outcome, RateLimitError) for outcome in outcomes)
    assert any(isinstance(outcome, aioamocrm.Account) for outcome in outcomes)


def test_a_code_becomes_tokens_once(sandbox: Sandbox) -> None:
    storage = MemoryTokenStorage()
    tokens = run(sandbox, lambda amo: amo.exchange_code("def50200code"), auth=oauth(storage))

    assert asyncio.run(storage.load()) == tokens
    assert run(sandbox, lambda amo: amo.account.get(), auth=oauth(storage)).id == 31000001
    with pytest.raises(AuthError, match="Authorization code has been revoked"):
        run(sandbox, lambda amo: amo.exchange_code("def50200code"), auth=oauth(MemoryTokenStorage()))


def test_an_expired_token_is_renewed_the_pair_stored_and_the_old_one_refused(sandbox: Sandbox) -> None:
    storage = MemoryTokenStorage(OLD)
    [lead] = run(sandbox, lambda amo: amo.leads.create([Lead(name="L")]), auth=oauth(storage))

    assert [item["id"] for item in sandbox.stored("amocrm")["leads"]] == [lead.id]
    renewed = asyncio.run(storage.load())
    assert renewed is not None
    assert renewed.access_token != OLD.access_token
    assert renewed.refresh_token != OLD.refresh_token
    with pytest.raises(AuthError, match="Token has been revoked"):
        run(sandbox, lambda amo: amo.account.get(), auth=oauth(MemoryTokenStorage(OLD)))


def test_a_token_that_runs_out_is_renewed_before_it_is_used(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", access_token_lifetime_s=30)
    storage = MemoryTokenStorage()
    first = run(sandbox, lambda amo: amo.exchange_code("def50200code"), auth=oauth(storage))
    run(sandbox, lambda amo: amo.account.get(), auth=oauth(storage))

    second = asyncio.run(storage.load())
    assert second is not None
    assert second.refresh_token != first.refresh_token
    assert [call["status"] for call in sandbox.received("amocrm")] == [200, 200, 200]


def test_many_calls_at_once_renew_the_token_once(sandbox: Sandbox) -> None:
    async def many(amo: AmoCRMClient) -> list[aioamocrm.Account]:
        return await asyncio.gather(*(amo.account.get() for _ in range(8)))

    accounts = run(sandbox, many, auth=oauth(MemoryTokenStorage(OLD)))
    assert len(accounts) == 8
    paths = [call["path"] for call in sandbox.received("amocrm")]
    assert paths.count("/oauth2/access_token") == 1


def test_a_wrong_client_is_refused(sandbox: Sandbox) -> None:
    sandbox.configure("amocrm", clients={CLIENT_ID: "another secret"})
    with pytest.raises(AuthError, match="Авторизация клиента не прошла") as caught:
        run(sandbox, lambda amo: amo.account.get(), auth=oauth(MemoryTokenStorage(OLD)))
    assert caught.value.status_code == 401


def test_the_wrapper_creates_leads_with_contacts_and_notes(sandbox: Sandbox) -> None:
    # it reads nothing: its GETs hand httpx a body, which httpx does not take
    client = wrapper(sandbox, access_token="a-long-lived-token")
    [lead] = client.create_leads_complex([a_lead().to_api()])
    made = client.create_leads([{"name": f"Заявка {n}"} for n in range(12)])
    client.create_entity_note("leads", [{"note_type": "common", "params": {"text": "Перезвоните"}}], lead["id"])

    assert len(made["_embedded"]["leads"]) == 12
    stored = sandbox.stored("amocrm")["leads"][0]
    assert (stored["id"], stored["contacts"][0]["id"]) == (lead["id"], lead["contact_id"])
    assert [note["params"]["text"] for note in stored["notes"]] == ["Перезвоните"]


def test_the_wrapper_renews_its_token_and_hands_the_pair_over(sandbox: Sandbox) -> None:
    kept: list[tuple[str, str]] = []
    client = wrapper(sandbox, token_store=lambda access, refresh: kept.append((access, refresh)))
    client.create_leads([{"name": "L"}])

    assert len(sandbox.stored("amocrm")["leads"]) == 1
    assert kept == [(client.access_token, client.refresh_token)]
    assert client.refresh_token != OLD.refresh_token
    wrapper(sandbox, access_token=kept[0][0], refresh_token=kept[0][1]).create_leads([{"name": "L"}])
    with pytest.raises(AmoException) as caught:
        wrapper(sandbox).create_leads([{"name": "L"}])
    assert caught.value.code == 401
    assert caught.value.error_data["hint"] == "Token has been revoked"


def test_the_wrapper_is_told_what_is_wrong(sandbox: Sandbox) -> None:
    client = wrapper(sandbox, access_token="a-long-lived-token")
    with pytest.raises(AmoException) as caught:
        client.create_leads([{"name": "L", "pipeline_id": "x"}])
    assert caught.value.code == 400
    assert caught.value.error_data["validation-errors"][0]["errors"][0]["path"] == "pipeline_id"


def test_the_wrapper_comes_again_after_a_429(sandbox: Sandbox) -> None:
    sandbox.fault(service="amocrm", kind="rate_limit", retry_after=300)
    client = wrapper(sandbox, access_token="a-long-lived-token")
    client.create_leads([{"name": "L"}])
    assert [call["status"] for call in sandbox.received("amocrm")] == [429, 200]
