"""amoCRM: what is filed where, what its answers mean, and how tokens are renewed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from leadcast.core.clock import utc_now
from leadcast.core.errors import Blocked, CredentialsError, RateLimited, RejectedError, TransientError, UnknownOutcome
from leadcast.core.model import Lead, Receipt
from leadcast.core.settings import Language, Settings
from leadcast.integrations.amocrm import AmoCrm, AmoCrmCredentials, AmoCrmSettings
from leadcast.integrations.base import Account, Call, ConnectionFields, TokenPair
from leadcast.sandbox import Sandbox

MakeCall = Callable[..., Call]
TOKENS: dict[str, Any] = {"access_token": "expired-access", "refresh_token": "refresh-0"}


def account_of(base_url: str, **credentials: Any) -> Account[AmoCrmCredentials]:
    given = {
        "subdomain": "example",
        "client_id": "0a0a-1111",
        "client_secret": "client-s3cret",
        "access_token": "access-long-lived",
        "redirect_uri": "https://hook.example.ru/amo",
        **credentials,
    }
    return Account(credentials=AmoCrmCredentials.model_validate(given), base_url=base_url)


def deliver(
    lead: Lead, sandbox: Sandbox, call: Call, *, settings: dict[str, Any] | None = None, **credentials: Any
) -> Receipt:
    return AmoCrm().deliver(
        lead,
        settings=AmoCrmSettings.model_validate(settings or {}),
        account=account_of(sandbox.amocrm_url, **credentials),
        call=call,
    )


def stored_lead(sandbox: Sandbox) -> dict[str, Any]:
    leads = sandbox.stored("amocrm")["leads"]
    assert len(leads) == 1
    return leads[0]


def calls(sandbox: Sandbox) -> list[tuple[str, str, int | None]]:
    return [(entry["method"], entry["path"], entry["status"]) for entry in sandbox.received("amocrm")]


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
    assert found.detail == {"contact_id": receipt.detail["contact_id"]}


def test_a_tag_is_found_among_the_newest_leads_since_the_search_does_not_see_tags(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    call = make_call(accepted_at=utc_now())
    wanted = deliver(lead, sandbox, call)
    for number in range(120):
        deliver(Lead(id=str(number)), sandbox, make_call(key=f"other-{number}"))

    found = AmoCrm().find(lead, settings=AmoCrmSettings(), account=account_of(sandbox.amocrm_url), call=call)

    assert found is not None
    assert found.external_id == wanted.external_id
    pages = [entry["query"].get("page") for entry in sandbox.received("amocrm") if entry["method"] == "GET"]
    assert pages == [None, "1", "2"]


def test_leads_from_before_the_batch_are_not_looked_through(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    for number in range(110):
        deliver(Lead(id=str(number)), sandbox, make_call(key=f"other-{number}"))
    later = make_call(accepted_at=utc_now() + timedelta(hours=2))

    assert AmoCrm().find(lead, settings=AmoCrmSettings(), account=account_of(sandbox.amocrm_url), call=later) is None
    pages = [entry["query"].get("page") for entry in sandbox.received("amocrm") if entry["method"] == "GET"]
    assert pages == [None, "1"]


def test_a_note_that_fails_neither_fails_nor_repeats_the_lead(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="amocrm", kind="status", status=500, match="/notes")

    receipt = deliver(lead, sandbox, make_call())

    assert receipt.external_id == str(stored_lead(sandbox)["id"])
    assert receipt.detail["note"] is False
    assert len(calls(sandbox)) == 2


def test_duplicate_control_is_said_in_the_receipt(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.configure("amocrm", duplicate_control=True)
    first = deliver(lead, sandbox, make_call())
    second = deliver(lead, sandbox, make_call(key="another-1"))

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
        (302, RejectedError),
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
    sandbox.fault(service="amocrm", kind="status", status=status)

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
    sandbox.fault(service="amocrm", kind="non_json", status=200)

    with pytest.raises(UnknownOutcome, match="without naming the lead"):
        deliver(lead, sandbox, make_call())


def test_an_expired_token_is_renewed_once_and_kept(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, vault: Any
) -> None:
    sandbox.configure("amocrm", accept_unknown_tokens=False)

    deliver(lead, sandbox, make_call(), **TOKENS)

    stored_lead(sandbox)
    assert calls(sandbox) == [
        ("POST", "/api/v4/leads/complex", 401),
        ("POST", "/oauth2/access_token", 200),
        ("POST", "/api/v4/leads/complex", 200),
        ("POST", f"/api/v4/leads/{stored_lead(sandbox)['id']}/notes", 200),
    ]
    [(name, pair)] = vault.stored.items()
    assert pair.refresh.get_secret_value() != "refresh-0"
    for part in ("example", "0a0a-1111", "client-s3cret"):
        assert part not in name


def test_the_stored_token_is_used_before_the_requests(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.configure("amocrm", accept_unknown_tokens=False)
    deliver(lead, sandbox, make_call(), **TOKENS)
    before = len(calls(sandbox))

    deliver(lead, sandbox, make_call(key="another-1"), **TOKENS)

    assert [path for _, path, _ in calls(sandbox)[before:]][:1] == ["/api/v4/leads/complex"]
    assert all(status == 200 for _, _, status in calls(sandbox)[before:])


def test_a_stored_token_serves_nobody_who_does_not_know_the_clients_secret(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.configure("amocrm", accept_unknown_tokens=False, clients={"0a0a-1111": "client-s3cret"})
    deliver(lead, sandbox, make_call(), **TOKENS)

    with pytest.raises(CredentialsError):
        deliver(lead, sandbox, make_call(), **TOKENS | {"client_secret": "guessed"})
    stored_lead(sandbox)


def test_a_used_up_refresh_token_asks_for_a_new_connection(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    with pytest.raises(CredentialsError, match="Connect the integration again") as refused:
        deliver(lead, sandbox, make_call(), access_token="expired-a", refresh_token="revoked-r")

    assert refused.value.code == "401"
    assert "Token has been revoked" in refused.value.detail
    assert sandbox.stored("amocrm")["leads"] == []


def test_a_fresh_pair_in_the_request_mends_a_broken_chain(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, vault: Any
) -> None:
    deliver(lead, sandbox, make_call(), **TOKENS)
    [name] = vault.stored
    vault.stored[name] = TokenPair(access=SecretStr("expired-b"), refresh=SecretStr("revoked-b"))

    receipt = deliver(lead, sandbox, make_call(key="another-1"), access_token="expired-c", refresh_token="refresh-new")

    assert receipt.external_id
    assert vault.stored[name].refresh.get_secret_value() not in ("revoked-b", "refresh-new")


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "hang_up_before"}])
def test_a_renewal_that_fails_has_not_sent_the_lead(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, fault: dict[str, Any]
) -> None:
    sandbox.fault(service="amocrm", match="/oauth2/", **fault)

    with pytest.raises(TransientError):
        deliver(lead, sandbox, make_call(), **TOKENS)
    assert sandbox.stored("amocrm")["leads"] == []


def test_a_long_lived_token_that_is_refused_is_not_renewed(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    with pytest.raises(CredentialsError, match="access token"):
        deliver(lead, sandbox, make_call(), access_token="revoked-token")

    assert len(calls(sandbox)) == 1


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
