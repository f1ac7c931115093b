"""Bitrix24: what is filed where, what its codes mean, where its secrets may go, and how tokens are renewed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from leadcast.core.errors import (
    Blocked,
    CredentialsError,
    DeliveryError,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Lead, Receipt
from leadcast.core.tidy import tidy
from leadcast.integrations.bitrix24.integration import Bitrix24, Bitrix24Credentials, Bitrix24Settings
from leadcast.integrations.bitrix24.portal import is_vendors_host
from leadcast.integrations.connection import ConnectionFields
from leadcast.sandbox import Sandbox
from tests.contract.bitrix24 import (
    ADD,
    CODE,
    NO_SEARCH,
    OAUTH,
    WEBHOOK,
    MakeCall,
    account_of,
    deliver,
    find,
    methods,
    only,
)


def test_a_lead_is_filed_with_all_that_it_says_under_our_key(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    call = make_call()
    receipt = deliver(lead, sandbox, call)

    item = only(sandbox.stored("bitrix24")["leads"])
    assert receipt == Receipt(external_id=str(item["id"]))
    assert {name: item[name] for name in ("title", "name", "companyTitle", "sourceId", "sourceDescription")} == {
        "title": "Анна Пример",
        "name": "Анна Пример",
        "companyTitle": "ООО Ромашка",
        "sourceId": "WEB",
        "sourceDescription": "landing-a",
    }
    assert (item["originatorId"], item["originId"], item["opened"]) == ("LEADCAST", call.key, "Y")
    assert (item["utmSource"], item["utmMedium"], item["utmCampaign"]) == ("yandex", "cpc", None)
    assert [(way["typeId"], way["valueType"], way["value"]) for way in item["fm"]] == [
        ("PHONE", "WORK", "+79990000001"),
        ("EMAIL", "WORK", "anna@example.com"),
    ]
    assert item["comments"].splitlines() == [
        "Comment: Перезвоните <\u2060b>завтра<\u2060/b> & не позже 12:00",
        "Source: landing-a",
        "utm_extra: x1",
        "Площадь: 42",
        "Срочно: true",
    ]


def test_a_deal_has_a_contact_of_its_own(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    call = make_call()
    receipt = deliver(lead, sandbox, call, settings={"entity": "deal", "category_id": 0, "assigned_by_id": 6})

    stored = sandbox.stored("bitrix24")
    contact, deal = only(stored["contacts"]), only(stored["deals"])
    assert stored["leads"] == []
    assert receipt == Receipt(external_id=str(deal["id"]), detail={"contact_id": contact["id"]})
    assert (deal["contactId"], deal["categoryId"], deal["assignedById"]) == (contact["id"], 0, 6)
    assert deal["comments"].startswith("Company: ООО Ромашка\n")
    assert (contact["name"], contact["originId"]) == ("Анна Пример", f"{call.key}-contact")
    assert [way["value"] for way in contact["fm"]] == ["+79990000001", "anna@example.com"]


def test_a_deal_of_nobody_has_no_contact(sandbox: Sandbox, make_call: MakeCall) -> None:
    receipt = deliver(Lead(id="42", comment="?"), sandbox, make_call(), settings={"entity": "deal"})

    assert sandbox.stored("bitrix24")["contacts"] == []
    assert receipt.detail == {}
    assert only(sandbox.stored("bitrix24")["deals"])["title"] == "Lead 42"


def test_a_contact_without_a_deal_is_used_by_the_next_attempt(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="bitrix24", kind="hang_up_before", match='"entityTypeId":2')
    with pytest.raises(UnknownOutcome):
        deliver(lead, sandbox, make_call(), settings={"entity": "deal"})
    assert find(lead, sandbox, make_call(), entity="deal") is None

    receipt = deliver(lead, sandbox, make_call(attempt=2), settings={"entity": "deal"})

    contact = only(sandbox.stored("bitrix24")["contacts"])
    assert receipt.detail == {"contact_id": contact["id"]}
    assert find(lead, sandbox, make_call(), entity="deal") == receipt


def test_the_settings_say_how_the_lead_is_filed(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    settings = {"stage_id": "IN_PROCESS", "source_id": "CALLBACK", "title": "Сайт: {lead_name}", "category_id": 3}
    deliver(lead, sandbox, make_call(), settings=settings)

    item = only(sandbox.stored("bitrix24")["leads"])
    assert (item["stageId"], item["sourceId"], item["title"]) == ("IN_PROCESS", "CALLBACK", "Сайт: Анна Пример")


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NO_AUTH_FOUND", 401, CredentialsError),
        ("INVALID_CREDENTIALS", 403, CredentialsError),
        ("insufficient_scope", 401, CredentialsError),
        ("insufficient_scope", 200, CredentialsError),
        ("ACCESS_DENIED", 400, CredentialsError),
        ("PAYMENT_REQUIRED", 401, CredentialsError),
        ("OVERLOAD_LIMIT", 503, CredentialsError),
        ("PORTAL_DELETED", 500, CredentialsError),
        ("SOMETHING_NEW", 403, CredentialsError),
        ("CRM_FIELD_ERROR_VALUE_NOT_VALID", 400, RejectedError),
        ("CRM_FIELD_ERROR_REQUIRED", 200, RejectedError),
        ("100", 400, RejectedError),
        ("", 400, RejectedError),
        ("ERROR_METHOD_NOT_FOUND", 404, RejectedError),
        ("QUERY_LIMIT_EXCEEDED", 503, RateLimited),
        ("query_limit_exceeded", 200, RateLimited),
        ("OPERATION_TIME_LIMIT", 429, TransientError),
        ("operation_time_limit", 200, TransientError),
        ("SOMETHING_NEW", 429, RateLimited),
        ("INTERNAL_SERVER_ERROR", 500, UnknownOutcome),
        ("ERROR_UNEXPECTED_ANSWER", 200, UnknownOutcome),
        ("SOMETHING_NEW", 502, UnknownOutcome),
    ],
)
def test_the_code_decides_what_an_error_means_whatever_the_status(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, code: str, status: int, expected: type[DeliveryError]
) -> None:
    sandbox.fault(
        service="bitrix24", kind="error", match=ADD, code=code, status=status, text=f"no: {lead.phone} {CODE}"
    )

    with pytest.raises(DeliveryError) as failed:
        deliver(lead, sandbox, make_call())

    assert type(failed.value) is expected
    assert failed.value.code == (code.upper() or str(status))
    assert sandbox.stored("bitrix24")["leads"] == []


def test_the_portals_words_are_repeated_without_secrets_and_the_leads_data(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    text = f"Поле Телефон: {lead.phone} {CODE}"
    sandbox.fault(service="bitrix24", kind="error", match=ADD, code="CRM_FIELD_ERROR_VALUE_NOT_VALID", text=text)

    with pytest.raises(RejectedError) as refused:
        deliver(lead, sandbox, make_call())
    assert str(refused.value) == ("Bitrix24 refused the lead (CRM_FIELD_ERROR_VALUE_NOT_VALID): Поле Телефон: *** ***.")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateways_page_leaves_the_outcome_open(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, status: int
) -> None:
    sandbox.fault(service="bitrix24", kind="non_json", match=ADD, status=status)

    with pytest.raises(UnknownOutcome):
        deliver(lead, sandbox, make_call())


def test_a_yes_that_names_no_item_is_no_yes(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.fault(service="bitrix24", kind="non_json", match=ADD, status=200)

    with pytest.raises(UnknownOutcome, match="cannot be read"):
        deliver(lead, sandbox, make_call())


@pytest.mark.parametrize("entity", ["lead", "deal"])
@pytest.mark.parametrize("email", ["нет", "anna@example", "anna@@example.com", "Анна <anna@example>"])
def test_what_is_no_address_does_not_lose_the_lead_and_is_said_in_the_comment(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, entity: str, email: str
) -> None:
    deliver(replace(lead, email=email), sandbox, make_call(), settings={"entity": entity})

    stored = sandbox.stored("bitrix24")
    item = only(stored[f"{entity}s"])
    assert item["comments"].replace("\u2060", "").startswith(f"E-mail: {email}\n")
    ways = (item if entity == "lead" else only(stored["contacts"]))["fm"]
    assert [way["typeId"] for way in ways] == ["PHONE"]


@pytest.mark.parametrize(
    ("email", "filed"),
    [
        ("anna@example.com ", "anna@example.com"),
        ("\u200banna@example.com", "anna@example.com"),
        ("mailto:anna@example.com", "anna@example.com"),
        ("anna@почта.рф", "anna@xn--80a1acny.xn--p1ai"),
        ("anna@example.c", ""),
        (f"anna@example.{'c' * 21}", ""),
    ],
)
def test_the_address_that_is_filed_is_the_one_that_was_checked(
    sandbox: Sandbox, make_call: MakeCall, email: str, filed: str
) -> None:
    deliver(tidy({"name": "Анна", "email": email}).lead("7781"), sandbox, make_call())
    item = only(sandbox.stored("bitrix24")["leads"])
    assert [way["value"] for way in item["fm"] or []] == ([filed] if filed else [])


def test_an_address_that_was_stored_with_a_blank_loses_no_lead_either(sandbox: Sandbox, make_call: MakeCall) -> None:
    deliver(Lead(id="7781", email="anna@example.com "), sandbox, make_call())
    assert [way["value"] for way in only(sandbox.stored("bitrix24")["leads"])["fm"]] == ["anna@example.com"]


@pytest.mark.parametrize("name", ["   ", "\u00a0", "\u200b", "\u202e", "\u3164", None])
def test_a_lead_whose_name_nobody_sees_has_a_title(sandbox: Sandbox, make_call: MakeCall, name: str | None) -> None:
    deliver(tidy({"name": name, "phone": "+79990000001"}).lead("7781"), sandbox, make_call())
    assert only(sandbox.stored("bitrix24")["leads"])["title"] == "Lead 7781"


def test_a_mapped_title_of_blanks_leaves_our_own(sandbox: Sandbox, make_call: MakeCall) -> None:
    settings = {"fields": {"title": "{lead_name} {lead_company}"}}
    deliver(Lead(id="7781"), sandbox, make_call(), settings=settings)
    assert only(sandbox.stored("bitrix24")["leads"])["title"] == "Lead 7781"


def test_an_id_may_come_as_text(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    for contact, item in (("275", "342"), (275, 342)):
        sandbox.reset()
        made = {"kind": "answer", "status": 200, "match": ADD}
        sandbox.fault(service="bitrix24", **made, body={"result": {"item": {"id": contact}}})
        sandbox.fault(service="bitrix24", **made, body={"result": {"item": {"id": item}}})

        receipt = deliver(lead, sandbox, make_call(), settings=NO_SEARCH | {"entity": "deal"})
        assert receipt == Receipt(external_id="342", detail={"contact_id": 275})

        listed = {"id": item, "originId": make_call().key, "contactId": contact}
        sandbox.fault(service="bitrix24", kind="answer", status=200, body={"result": {"items": [listed]}})
        assert find(lead, sandbox, make_call(), entity="deal") == receipt


@pytest.mark.parametrize("no_error", [None, "", False, 0, []])
def test_an_error_that_says_nothing_beside_a_result_is_none(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, no_error: Any
) -> None:
    body = {"result": {"item": {"id": 342}}, "error": no_error, "error_description": ""}
    sandbox.fault(service="bitrix24", kind="answer", status=200, match=ADD, body=body)

    assert deliver(lead, sandbox, make_call(), settings=NO_SEARCH).external_id == "342"


@pytest.mark.parametrize("no_code", [None, "", False, {"code": "X"}])
def test_an_error_without_a_code_is_one_where_there_is_no_result(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, no_code: Any
) -> None:
    body = {"error": no_code, "error_description": "Access denied."}
    sandbox.fault(service="bitrix24", kind="answer", status=400, match=ADD, body=body)

    with pytest.raises(RejectedError, match=r"\(400\): Access denied") as refused:
        deliver(lead, sandbox, make_call(), settings=NO_SEARCH)
    assert refused.value.code == "400"


@pytest.mark.parametrize("item_id", ["", "x", 0, "0", None, True, []])
def test_what_is_no_id_is_none(sandbox: Sandbox, make_call: MakeCall, lead: Lead, item_id: Any) -> None:
    sandbox.fault(service="bitrix24", kind="answer", status=200, match=ADD, body={"result": {"item": {"id": item_id}}})

    with pytest.raises(UnknownOutcome, match="without naming the item"):
        deliver(lead, sandbox, make_call())


@pytest.mark.parametrize(
    ("settings", "category"),
    [
        ({"stage_id": "C9:NEW"}, 9),
        ({"stage_id": "C9:UC_ABC", "category_id": 9}, 9),
        ({"stage_id": "NEW", "category_id": 0}, 0),
        ({"stage_id": "NEW"}, None),
    ],
)
def test_a_deal_is_in_the_category_of_its_stage(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, settings: dict[str, Any], category: int | None
) -> None:
    deliver(lead, sandbox, make_call(), settings={**settings, "entity": "deal"})

    deal = only(sandbox.stored("bitrix24")["deals"])
    assert (deal["stageId"], deal["categoryId"]) == (settings["stage_id"], category)


def test_a_stage_of_another_category_is_refused_at_the_door() -> None:
    with pytest.raises(ValidationError, match="another category"):
        Bitrix24Settings.model_validate({"entity": "deal", "stage_id": "C9:NEW", "category_id": 5})


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_server_in_front_may_redirect_with_another_status(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, status: int
) -> None:
    there = {"Location": f"{sandbox.bitrix24_url}/rest/1/{CODE}/{ADD}.json"}
    sandbox.fault(service="bitrix24", kind="answer", status=status, headers=there)

    deliver(lead, sandbox, make_call(), settings=NO_SEARCH)

    assert methods(sandbox) == [("crm.item.add.json", status), ("crm.item.add.json", 200)]


def test_a_portal_that_moved_is_followed_once_with_the_whole_request(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="bitrix24", kind="rename")

    receipt = deliver(lead, sandbox, make_call(), settings=NO_SEARCH)

    assert receipt.external_id == str(only(sandbox.stored("bitrix24")["leads"])["id"])
    assert methods(sandbox) == [("crm.item.add.json", 302), ("crm.item.add.json", 200)]


def test_a_portal_that_keeps_moving_is_left(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.fault(service="bitrix24", kind="rename", times=None)

    with pytest.raises(RejectedError, match="redirects"):
        deliver(lead, sandbox, make_call())
    assert len(methods(sandbox)) == 2


@pytest.mark.parametrize(
    "location",
    ["https://evil.example/rest/", "http://example.bitrix24.ru/", "https://bitrix24.ru.evil.example/"],
)
def test_a_secret_does_not_follow_to_a_strange_host(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, location: str
) -> None:
    sandbox.fault(service="bitrix24", kind="rename", location=location)

    with pytest.raises(RejectedError, match="not its own"):
        deliver(lead, sandbox, make_call())
    assert len(methods(sandbox)) == 1


@pytest.mark.parametrize(
    ("host", "is_theirs"),
    [
        ("example.bitrix24.ru", True),
        ("Example.Bitrix24.COM", True),
        ("b24-abc.bitrix24.com.br", True),
        ("bitrix24.ru", False),
        ("evilbitrix24.ru", False),
        ("example.bitrix24.ru.evil.example", False),
        ("example.bitrix24.evil", False),
        ("", False),
    ],
)
def test_which_hosts_are_the_vendors(host: str, is_theirs: bool) -> None:
    assert is_vendors_host(host) is is_theirs


@pytest.mark.parametrize(
    "credentials",
    [
        {"webhook_url": "https://evil.example/rest/1/abc/"},
        {"webhook_url": "http://example.bitrix24.ru/rest/1/abc/"},
        {"webhook_url": "https://127.0.0.1/rest/1/abc/"},
        OAUTH | {"domain": "evil.example"},
    ],
)
def test_without_the_operators_word_only_the_vendors_hosts_are_sent_to(
    make_call: MakeCall, lead: Lead, credentials: dict[str, str]
) -> None:
    with pytest.raises(Blocked, match="bitrix24_base_url"):
        Bitrix24().deliver(lead, settings=Bitrix24Settings(), account=account_of("", **credentials), call=make_call())


@pytest.mark.parametrize(
    "credentials",
    [
        {"webhook_url": "https://example.bitrix24.ru/"},
        {"webhook_url": "https://example.bitrix24.ru/rest/1/abc/?x=1"},
        {"webhook_url": "https://u:p@example.bitrix24.ru/rest/1/abc/"},
        {"webhook_url": "https://example.bitrix24.ru/rest/1/../../abc/"},
        {"webhook_url": "ftp://example.bitrix24.ru/rest/1/abc/"},
        {"webhook_url": WEBHOOK["webhook_url"] + "\nx"},
        {"webhook_url": "https://evil.example\\.bitrix24.ru/rest/1/abc/"},
        {"webhook_url": "https://evil.example[.bitrix24.ru/rest/1/abc/"},
        WEBHOOK | OAUTH,
        WEBHOOK | {"domain": "example.bitrix24.ru"},
        {"domain": "example.bitrix24.ru"},
        {"access_token": "a"},
        OAUTH | {"domain": "evil.example/x?"},
        OAUTH | {"domain": "a@evil.example"},
        OAUTH | {"client_secret": ""},
    ],
)
def test_credentials_must_be_one_whole_form(credentials: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        Bitrix24Credentials.model_validate(credentials)
    assert CODE not in str(refused.value)


def test_no_credentials_are_no_form() -> None:
    with pytest.raises(ValidationError, match="either webhook_url"):
        Bitrix24Credentials()


def test_an_expired_token_is_renewed_once_and_kept(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, vault: Any
) -> None:
    deliver(lead, sandbox, make_call(), settings=NO_SEARCH, **OAUTH)
    deliver(lead, sandbox, make_call(key="another-1"), settings=NO_SEARCH, **OAUTH)

    assert len(sandbox.stored("bitrix24")["leads"]) == 2
    assert methods(sandbox) == [
        ("crm.item.add.json", 401),
        ("token", 200),
        ("crm.item.add.json", 200),
        ("crm.item.add.json", 200),
    ]
    [pair] = vault.stored.values()
    assert pair.refresh.get_secret_value() != "refresh-0"


def test_a_used_up_refresh_token_asks_for_a_new_installation(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    with pytest.raises(CredentialsError, match="Install the application again") as refused:
        deliver(lead, sandbox, make_call(), **OAUTH | {"refresh_token": "revoked-r"})
    assert refused.value.code == "INVALID_GRANT"


def test_a_renewal_that_fails_has_not_sent_the_lead(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    for fault in ({"kind": "status", "status": 502}, {"kind": "hang_up_before"}, {"kind": "non_json", "status": 200}):
        sandbox.fault(service="bitrix24", match="/oauth/", **fault)
        with pytest.raises(TransientError):
            deliver(lead, sandbox, make_call(), **OAUTH)
    assert sandbox.stored("bitrix24")["leads"] == []


def test_an_expired_token_without_a_refresh_token_says_so(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    token: dict[str, Any] = {"domain": "example.bitrix24.ru", "access_token": "expired-access"}

    with pytest.raises(CredentialsError, match="has expired"):
        deliver(lead, sandbox, make_call(), **token)
    assert len(methods(sandbox)) == 1


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": WEBHOOK["webhook_url"]}, ""),
        ({"host": WEBHOOK["webhook_url"].removeprefix("https://")}, ""),
        ({"password": SecretStr(WEBHOOK["webhook_url"])}, ""),
        ({"extra": WEBHOOK}, ""),
        ({"host": f"https://box.example:8443/rest/1/{CODE}/"}, "https://box.example:8443"),
        ({"host": f"http://127.0.0.1:8092/rest/1/{CODE}"}, "http://127.0.0.1:8092"),
        (
            {"host": "http://127.0.0.1:8092", "password": SecretStr(WEBHOOK["webhook_url"])},
            "http://127.0.0.1:8092",
        ),
    ],
)
def test_a_connection_may_hold_a_webhooks_url(fields: dict[str, Any], base_url: str) -> None:
    account = Bitrix24.from_connection(ConnectionFields(conn_id="b24", **fields), {})

    assert account.base_url == base_url
    assert CODE in account.credentials.webhook_url.get_secret_value()


@pytest.mark.parametrize(
    ("host", "base_url"), [("example.bitrix24.ru", ""), ("https://box.example:8443", "https://box.example:8443")]
)
def test_a_connection_may_hold_oauth_tokens(host: str, base_url: str) -> None:
    extra = {"client_id": "c", "client_secret": "s", "refresh_token": "r"}
    connection = ConnectionFields(conn_id="b24", host=host, password=SecretStr("t0ken"), extra=extra)

    account = Bitrix24.from_connection(connection, {})

    assert account.base_url == base_url
    assert account.credentials.access_token.get_secret_value() == "t0ken"
    assert account.credentials.domain == host.removeprefix("https://").partition(":")[0]


def test_a_connection_that_lacks_something_is_told_what() -> None:
    with pytest.raises(CredentialsError, match=r"Connection 'b24': .*webhook's URL as host or password"):
        Bitrix24.from_connection(ConnectionFields(conn_id="b24", host="example.bitrix24.ru"), {})


def test_a_caller_cannot_send_a_connections_secret_elsewhere() -> None:
    connection = ConnectionFields(conn_id="b24", host="example.bitrix24.ru", password=SecretStr("t0ken"))

    with pytest.raises(CredentialsError, match="remove from the request: domain"):
        Bitrix24.from_connection(connection, {"domain": "theirs.bitrix24.ru"})
