"""amoCRM: what is filed where, what its answers mean, and which credentials are taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from leadcast.core.clock import utc_now
from leadcast.core.errors import Blocked, CredentialsError, RateLimited, RejectedError, TransientError, UnknownOutcome
from leadcast.core.limits import Limit
from leadcast.core.model import Lead, Receipt
from leadcast.core.setting_choices import Language
from leadcast.core.settings import Settings
from leadcast.integrations.amocrm.integration import AmoCrm
from leadcast.integrations.amocrm.search import MAX_PAGES, PAGE
from leadcast.integrations.amocrm.settings import AmoCrmSettings
from leadcast.integrations.connection import ConnectionFields
from leadcast.sandbox import Sandbox
from tests.contract.amocrm_deliveries import MakeCall, account_of, calls, deliver, find, other_leads, stored_lead

NO_SEARCH = {"find_contact": False}
LEADS = "/api/v4/leads"
"""In the path of what creates a lead, and not of what looks for its contact."""


def test_a_lead_is_filed_with_its_contact_and_company_and_the_rest_as_a_note(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    receipt = deliver(lead, sandbox, make_call())

    stored = stored_lead(sandbox)
    [contact], [company], [note] = stored["contacts"], stored["companies"], stored["notes"]
    ways = {field["field_code"]: field["values"] for field in contact["custom_fields_values"]}
    assert stored["name"] == contact["name"] == "Анна Пример"
    assert ways == {
        "PHONE": [{"value": "+79990000001", "enum_code": "WORK"}],
        "EMAIL": [{"value": "anna@example.com", "enum_code": "WORK"}],
    }
    assert company["name"] == "ООО Ромашка"
    assert note["note_type"] == "common"
    assert note["params"]["text"].splitlines() == [
        "Comment: Перезвоните <b>завтра</b> & не позже 12:00",
        "Source: landing-a",
        "utm_source: yandex",
        "utm_medium: cpc",
        "utm_extra: x1",
        "Площадь: 42",
        "Срочно: true",
    ]
    assert receipt == Receipt(
        external_id=str(stored["id"]),
        detail={"contact_id": contact["id"], "company_id": company["id"], "note": True},
    )


def test_a_lead_that_says_nothing_has_a_name_of_ours_and_neither_contact_nor_note(
    sandbox: Sandbox, make_call: MakeCall
) -> None:
    receipt = deliver(Lead(id="42"), sandbox, make_call())

    stored = stored_lead(sandbox)
    assert stored["name"] == "Lead 42"
    assert (stored["contacts"], stored["companies"], stored["notes"]) == ([], [], [])
    assert receipt.detail == {}


def test_the_settings_say_how_the_lead_is_filed(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    settings = {
        "priority": "high",
        "pipeline_id": 7001,
        "status_id": 50112,
        "responsible_user_id": 902,
        "tags": ["landing-a", "landing-a"],
        "price": 15000,
    }
    call = make_call()
    deliver(lead, sandbox, call, settings=settings)

    stored = stored_lead(sandbox)
    assert {name: stored[name] for name in settings if name not in ("priority", "tags")} == {
        name: value for name, value in settings.items() if name not in ("priority", "tags")
    }
    assert [tag["name"] for tag in stored["tags"]] == ["landing-a", "priority:high", f"ext:{call.key}"]


@pytest.mark.parametrize("key_field", ["EXT_ID", 88001, "88001"])
def test_the_key_may_be_kept_in_a_field_and_is_found_there(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, key_field: str | int
) -> None:
    call = make_call()
    receipt = deliver(lead, sandbox, call, settings={"key_field": key_field})

    stored = stored_lead(sandbox)
    assert stored["custom_fields_values"][0]["values"] == [{"value": call.key}]
    assert stored["tags"] == []
    found = AmoCrm().find(
        lead,
        settings=AmoCrmSettings.model_validate({"key_field": key_field}),
        account=account_of(sandbox.amocrm_url),
        call=call,
    )
    assert found is not None
    assert found.external_id == receipt.external_id
    assert found.detail == {"contact_id": receipt.detail["contact_id"], "note": True}


def test_a_tag_is_found_among_the_newest_leads_since_the_search_does_not_see_tags(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    call = make_call(accepted_at=utc_now())
    wanted = deliver(lead, sandbox, call, settings=NO_SEARCH)
    other_leads(sandbox, PAGE + 20)

    found = AmoCrm().find(lead, settings=AmoCrmSettings(), account=account_of(sandbox.amocrm_url), call=call)

    assert found is not None
    assert found.external_id == wanted.external_id
    searches = [entry for entry in sandbox.received("amocrm") if (entry["method"], entry["path"]) == ("GET", LEADS)]
    assert [entry["query"].get("page") for entry in searches] == [None, "1", "2"]


def test_leads_from_before_the_batch_are_not_looked_through(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    other_leads(sandbox, PAGE + 10)
    later = make_call(accepted_at=utc_now() + timedelta(hours=2))

    assert AmoCrm().find(lead, settings=AmoCrmSettings(), account=account_of(sandbox.amocrm_url), call=later) is None
    pages = [entry["query"].get("page") for entry in sandbox.received("amocrm") if entry["method"] == "GET"]
    assert pages == [None, "1"]


def test_among_too_many_newer_leads_none_can_be_said_to_be_missing(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    call = make_call(accepted_at=utc_now())
    deliver(lead, sandbox, call, settings=NO_SEARCH)
    other_leads(sandbox, PAGE * MAX_PAGES)

    with pytest.raises(TransientError, match="more than 2500 newer leads") as failed:
        find(lead, sandbox, call)
    assert failed.value.code == "too_many_leads"


def test_a_page_that_is_not_full_and_names_a_next_one_is_not_the_last(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    call = make_call(accepted_at=utc_now())
    wanted = deliver(lead, sandbox, call, settings=NO_SEARCH)
    other_leads(sandbox, PAGE)
    one = {"id": 1, "created_at": int(utc_now().timestamp()), "_embedded": {"tags": []}}
    short = {"_links": {"next": {"href": "https://example.amocrm.ru/"}}, "_embedded": {"leads": [one]}}
    sandbox.fault(service="amocrm", kind="answer", status=200, body=short, match="page=1")

    found = find(lead, sandbox, call)

    assert found is not None
    assert found.external_id == wanted.external_id


def test_the_code_of_the_keys_field_is_read_in_any_case(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    call = make_call()
    receipt = deliver(lead, sandbox, call, settings={"key_field": "EXT_ID"})

    found = find(lead, sandbox, call, key_field="ext_id")

    assert found is not None
    assert found.external_id == receipt.external_id


def test_a_lead_that_was_merged_says_who_wrote_in_its_note(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.configure("amocrm", duplicate_control=True)
    deliver(lead, sandbox, make_call(), settings=NO_SEARCH)
    deliver(replace(lead, name="Пётр Другой"), sandbox, make_call(key="another-1"), settings=NO_SEARCH)

    own, merged = stored_lead(sandbox)["notes"]
    assert "Name: " not in own["params"]["text"]
    assert merged["params"]["text"].splitlines()[:4] == [
        "Name: Пётр Другой",
        "Phone: +79990000001",
        "E-mail: anna@example.com",
        "Company: ООО Ромашка",
    ]


def test_duplicate_control_is_said_in_the_receipt(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.configure("amocrm", duplicate_control=True)
    first = deliver(lead, sandbox, make_call(), settings=NO_SEARCH)
    second = deliver(lead, sandbox, make_call(key="another-1"), settings=NO_SEARCH)

    assert (first.merged, second.merged) == (False, True)
    assert second.external_id == first.external_id


def test_a_refused_lead_names_the_fields_and_the_codes(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    with pytest.raises(RejectedError) as refused:
        deliver(lead, sandbox, make_call(), settings={"key_field": "NO_SUCH_FIELD", "status_id": 999999})

    assert type(refused.value) is RejectedError
    assert refused.value.code == "400"
    assert "custom_fields_values.0.field_code NotSupportedChoice" in str(refused.value)
    assert sandbox.stored("amocrm")["leads"] == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, UnknownOutcome),
        (400, RejectedError),
        (402, CredentialsError),
        (403, CredentialsError),
        (404, RejectedError),
        (405, RejectedError),
        (422, RejectedError),
        (500, UnknownOutcome),
        (502, UnknownOutcome),
        (504, UnknownOutcome),
    ],
)
def test_each_status_means_what_the_table_says(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, status: int, expected: type[Exception]
) -> None:
    sandbox.fault(service="amocrm", kind="status", status=status, match=LEADS)

    with pytest.raises(expected) as failed:
        deliver(lead, sandbox, make_call())
    assert type(failed.value) is expected
    assert failed.value.code == str(status)  # type: ignore[attr-defined]


def test_the_pause_stands_in_the_body(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.fault(service="amocrm", kind="rate_limit", retry_after=300)

    with pytest.raises(RateLimited, match="wait 300 s") as limited:
        deliver(lead, sandbox, make_call())
    assert limited.value.retry_after_s == 300


def test_a_429_that_is_no_json_pauses_for_a_minute(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.fault(service="amocrm", kind="non_json", status=429)

    with pytest.raises(RateLimited) as limited:
        deliver(lead, sandbox, make_call())
    assert limited.value.retry_after_s == 60


def test_a_yes_that_names_no_lead_is_no_yes(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.fault(service="amocrm", kind="non_json", status=200, match=LEADS)

    with pytest.raises(UnknownOutcome, match="without naming the lead"):
        deliver(lead, sandbox, make_call())


@pytest.mark.parametrize(
    "credentials",
    [
        {"subdomain": "evil.example.com/x?"},
        {"subdomain": "evil.example.com#"},
        {"subdomain": "a@evil"},
        {"subdomain": "-a"},
        {"subdomain": "a\nb"},
        {"subdomain": "example.evil"},
        {"domain": "example.com"},
        {"access_token": ""},
        {"refresh_token": "r", "client_secret": ""},
    ],
)
def test_credentials_that_lead_elsewhere_or_cannot_work_are_refused(credentials: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        account_of("", **credentials)


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": "https://example.amocrm.ru"}, "https://example.amocrm.ru"),
        ({"host": "https://example.amocrm.ru/"}, "https://example.amocrm.ru"),
        ({"host": "api-b.amocrm.ru"}, "https://api-b.amocrm.ru"),
        ({"host": "127.0.0.1", "schema": "http", "port": 8091}, "http://127.0.0.1:8091"),
        ({"host": "http://127.0.0.1:8091"}, "http://127.0.0.1:8091"),
        ({"extra": {"subdomain": "example"}}, ""),
    ],
)
def test_a_connection_says_where_and_with_which_token(fields: dict[str, Any], base_url: str) -> None:
    connection = ConnectionFields(conn_id="amo", password=SecretStr("t0ken"), **fields)

    account = AmoCrm.from_connection(connection, {})

    assert account.base_url == base_url
    assert account.credentials.access_token.get_secret_value() == "t0ken"


def test_a_connections_extra_holds_what_renews_the_token() -> None:
    extra = {"client_id": "c", "client_secret": "s", "refresh_token": "r", "redirect_uri": "https://x.example", "a": 1}
    connection = ConnectionFields(conn_id="amo", host="x.amocrm.ru", password=SecretStr("t0ken"), extra=extra)

    assert AmoCrm.from_connection(connection, {}).credentials.refresh_token.get_secret_value() == "r"


def test_a_connection_that_lacks_something_is_told_what() -> None:
    with pytest.raises(CredentialsError, match=r"Connection 'amo': subdomain: .*host"):
        AmoCrm.from_connection(ConnectionFields(conn_id="amo", password=SecretStr("t0ken")), {})
    with pytest.raises(CredentialsError, match=r"Connection 'amo': access_token: .*password"):
        AmoCrm.from_connection(ConnectionFields(conn_id="amo", host="x.amocrm.ru"), {})


def test_a_caller_cannot_send_a_connections_token_elsewhere() -> None:
    connection = ConnectionFields(conn_id="amo", password=SecretStr("t0ken"), extra={"subdomain": "ours"})

    with pytest.raises(CredentialsError, match="remove from the request: subdomain"):
        AmoCrm.from_connection(connection, {"subdomain": "theirs"})


def test_a_base_url_with_a_password_in_it_is_not_used(make_call: MakeCall, lead: Lead) -> None:
    with pytest.raises(Blocked) as blocked:
        AmoCrm().deliver(
            lead, settings=AmoCrmSettings(), account=account_of("https://me:pa55@example.com"), call=make_call()
        )
    assert "pa55" not in str(blocked.value)


def test_the_note_speaks_the_installations_language(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    deliver(lead, sandbox, make_call(settings=Settings(language=Language.RU)))

    assert stored_lead(sandbox)["notes"][0]["params"]["text"].startswith("Комментарий: Перезвоните")


def test_an_integration_has_one_limit_in_an_account_and_its_name_holds_no_secret() -> None:
    def limit(base_url: str = "", **credentials: Any) -> Limit:
        [limit] = AmoCrm().limits(settings=AmoCrmSettings(), account=account_of(base_url, **credentials))
        return limit

    name = limit().name
    assert name.startswith("amocrm example.amocrm.ru 0a0a-1111 #")
    assert "s3cret" not in name
    assert limit() == Limit(name=name, calls=7, period_s=1)
    assert limit(access_token="another", domain="amocrm.ru", subdomain="EXAMPLE") == limit()
    assert limit("https://me:pa55@api-b.amocrm.ru/x", client_id="").name.startswith("amocrm api-b.amocrm.ru #")
    assert limit(domain="kommo.com", requests_per_second=15).calls == 15


def test_who_knows_an_account_only_by_name_uses_up_none_of_its_calls() -> None:
    def name(**credentials: Any) -> str:
        [limit] = AmoCrm().limits(settings=AmoCrmSettings(), account=account_of("", **credentials))
        return limit.name

    assert name(client_secret="guessed", requests_per_second=50) != name()
    assert name(client_secret="", access_token="guessed") != name(client_secret="")


@pytest.mark.parametrize(
    "other",
    [
        {"access_token": "guessed"},
        {"client_secret": "guessed"},
        {"refresh_token": "guessed"},
        {"client_id": "other"},
        {"redirect_uri": "https://other.example"},
        {"subdomain": "other"},
    ],
)
def test_an_account_is_another_one_when_anything_differs_that_amocrm_looks_at(other: dict[str, str]) -> None:
    integration = AmoCrm()
    assert integration.identity(account_of("", **other)) != integration.identity(account_of(""))
    assert integration.identity(account_of("")) == integration.identity(account_of("https://example.amocrm.ru"))


def test_people_know_the_account_by_its_host() -> None:
    assert AmoCrm().label(account_of("", domain="kommo.com")) == "example.kommo.com"
    assert AmoCrm().label(account_of("http://127.0.0.1:8091")) == "127.0.0.1:8091"


@pytest.mark.parametrize("answer", [{"kind": "status", "status": 204}, {"kind": "answer", "status": 200, "body": {}}])
def test_a_probe_of_something_else_than_amocrm_says_so(
    sandbox: Sandbox, make_call: MakeCall, answer: dict[str, Any]
) -> None:
    sandbox.fault(service="amocrm", **answer)

    with pytest.raises(RejectedError, match="does not answer as amoCRM does"):
        AmoCrm().probe(account_of(sandbox.amocrm_url), call=make_call())


def test_a_gateway_may_answer_html_and_nothing_of_it_is_repeated(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="amocrm", kind="non_json", status=403, text="403 Forbidden for Анна Пример", match=LEADS)

    with pytest.raises(UnknownOutcome) as refused:
        deliver(lead, sandbox, make_call())
    assert "Анна" not in f"{refused.value} {refused.value.detail}"


def test_a_redirect_is_not_followed(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.fault(service="amocrm", kind="status", status=301, match=LEADS)

    with pytest.raises(UnknownOutcome, match="may have been filed"):
        deliver(lead, sandbox, make_call(), settings=NO_SEARCH)
    assert len(calls(sandbox)) == 1


def test_a_401_of_something_else_renews_no_token_and_repeats_no_write(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="amocrm", kind="non_json", status=401, match=LEADS, executes=True)

    with pytest.raises(UnknownOutcome, match="may have been filed"):
        deliver(lead, sandbox, make_call(), refresh_token="refresh-0", settings=NO_SEARCH)
    assert [path for _, path, _ in calls(sandbox)] == [f"{LEADS}/complex"]
    stored_lead(sandbox)
