"""Which Airflow connections a request may use, where their secrets may go, and what who may not see them learns."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest

from leadcast.core.conn_ids import ConnIds, fits, unusable
from leadcast.core.errors import AttemptFailed, Blocked, CredentialsError, DeliveryError, SettingsError, TransientError
from leadcast.core.request_errors import InvalidRequest
from leadcast.core.settings import Settings
from leadcast.engine.settings import connections
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.flow.request import validate
from leadcast.integrations import operators_words, registry
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email import smtp
from leadcast.integrations.email.server import MailServer
from leadcast.integrations.http.egress import Egress
from leadcast.integrations.webhook.integration import Webhook
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.batches import views
from leadcast.store.database import Store
from tests.contract.conftest import make_call, vault  # noqa: F401  # fixtures
from tests.store.conftest import Service
from tests.support.error_table.cases import LEAD
from tests.support.planned import plan
from tests.unit.test_egress import OK, answering

INTERNAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 30\r\n\r\nINTERNAL-SECRET-REPORT salaries"
PASSWORD = "S3CRET-of-somebody-else"
SERVER_TYPES = ("postgres", "mysql", "ssh", "aws", "redis", "generic", "")
RULE = Settings().conn_ids()


def connect(monkeypatch: pytest.MonkeyPatch, name: str, **fields: object) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


def refusal(kind: str, conn_id: str, settings: Settings | None = None) -> CredentialsError:
    beside = {"emails": ["victim@outside.example"]} if kind == "email" else {}
    with pytest.raises(CredentialsError) as caught:
        connections.account(registry.get(kind), {"conn_id": conn_id, **beside}, settings=settings or Settings())
    return caught.value


def body(kind: str, **credentials: Any) -> dict[str, Any]:
    return {"lead_id": "7", "integrations": [{"type": kind}], "credentials": {kind: credentials}}


def errors_of(data: dict[str, Any], rule: ConnIds = RULE) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(InvalidRequest) as caught:
        validate(data, conn_ids=rule)
    return {error.loc: error.msg for error in caught.value.errors}


# --- whose mail, whose password


def test_a_letter_does_not_go_out_as_another_department(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"from_email": "ceo@company.example"}
    connect(monkeypatch, "mail_other_team", conn_type="smtp", host="mail.internal", password=PASSWORD, extra=extra)
    found = refusal("email", "mail_other_team")
    assert (found.code, found.message) == (connections.UNUSABLE, unusable("mail_other_team", "email"))
    at_the_door = body("email", conn_id="mail_other_team", emails=["victim@outside.example"])
    assert errors_of(at_the_door) == {("credentials", "email", "conn_id"): found.message}


@pytest.mark.parametrize("kind", ["amocrm", "bitrix24"])
def test_a_password_for_another_host_goes_nowhere(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with answering(INTERNAL) as server:
        connect(
            monkeypatch, "leadcast_intern", conn_type="http", host=f"http://127.0.0.1:{server.port}", password=PASSWORD
        )
        found = refusal(kind, "leadcast_intern", Settings(allowed_networks=("127.0.0.0/8",)))
    assert found.code == connections.UNUSABLE
    assert server.requests == []


@pytest.mark.parametrize("kind", registry.SHIPPED)
@pytest.mark.parametrize("conn_type", SERVER_TYPES)
def test_what_is_for_something_else_and_what_is_not_there_are_refused_alike(
    monkeypatch: pytest.MonkeyPatch, kind: str, conn_type: str
) -> None:
    connect(
        monkeypatch, "leadcast_there", conn_type=conn_type, host="10.1.2.3", port=22213, login="u", password=PASSWORD
    )
    everything = Settings(allowed_conn_ids=("*",))
    there, absent = refusal(kind, "leadcast_there", everything), refusal(kind, "leadcast_absent", everything)
    not_allowed = refusal(kind, "leadcast_there", Settings(allowed_conn_ids=("x",)))
    assert there.code == absent.code == not_allowed.code
    assert there.message.replace("leadcast_there", "leadcast_absent") == absent.message
    assert there.message == not_allowed.message
    assert there.detail == absent.detail == not_allowed.detail == ""


@pytest.mark.parametrize("broken", ["smtp://[::1", "not a uri", "{", '{"conn_type": "smtp", "port": "x"}'])
def test_what_cannot_be_read_is_refused_as_what_is_not_there(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LEADCAST_BROKEN", broken)
    assert refusal("email", "leadcast_broken").message == unusable("leadcast_broken", "email")


@pytest.mark.parametrize(
    "conn_id",
    [
        "leadcast_airflow",
        "leadcast_AIRFLOW",
        "leadcast_Airflow",
        "leadcast_a\u0131rflow",
        "leadcast-airflow",
        "LEADCAST_AIRFLOW",
    ],
)
@pytest.mark.parametrize("allowed", ["leadcast_*", "*", "leadcast_airflow", "leadcast_a*,leadcast-*,LEADCAST_*"])
def test_airflows_own_user_is_nobodys_however_he_is_written(
    monkeypatch: pytest.MonkeyPatch, conn_id: str, allowed: str
) -> None:
    connect(
        monkeypatch, "leadcast_airflow", conn_type="http", host="http://127.0.0.1:8080", login="user", password=PASSWORD
    )
    settings = Settings.of({"allowed_conn_ids": allowed})
    assert refusal("webhook", conn_id, settings).message == unusable(conn_id, "webhook")


def test_the_lead_tables_connection_is_nobodys_and_the_notifications_only_by_its_full_name() -> None:
    table = {"leads_conn_id": "leadcast_crm", "leads_table": "people"}
    rule = Settings.of({**table, "notify_conn_id": "leadcast_notices", "allowed_conn_ids": "leadcast_*"}).conn_ids()
    asked = ("leadcast_crm", "LEADCAST_crm", "leadcast_notices", "leadcast_Notices", "leadcast_amocrm")
    assert [name for name in asked if rule.may_be_named(name, default="smtp_default")] == ["leadcast_amocrm"]
    named = Settings.of({"notify_conn_id": "company_mail", "allowed_conn_ids": "leadcast_*,company_mail"}).conn_ids()
    assert named.may_be_named("company_mail", default="smtp_default")
    assert RULE.may_be_named("smtp_default", default="smtp_default")  # notify_conn_id's default, too


def test_an_integrations_default_is_not_another_ones() -> None:
    rule = Settings(allowed_conn_ids=()).conn_ids()
    assert rule.may_be_named("leadcast_webhook", default="leadcast_webhook")
    assert not rule.may_be_named("leadcast_webhook", default="leadcast_slack")


@pytest.mark.parametrize(
    "conn_id", ["", ".", "..", "../x", "a/b", "a b", "a\n", "-x", "x" * 251, "a*", "leadcast_\x00"]
)
@pytest.mark.parametrize("allowed", ["*", "leadcast_*"])
def test_what_is_no_name_is_not_looked_for(conn_id: str, allowed: str) -> None:
    assert not Settings.of({"allowed_conn_ids": allowed}).conn_ids().may_be_named(conn_id, default="smtp_default")


@pytest.mark.parametrize("conn_id", [7, True, ["leadcast_x"], {"a": 1}, 1.5])
def test_what_is_no_text_is_no_name_at_the_door(conn_id: Any) -> None:
    assert ("credentials", "telegram", "conn_id") in errors_of(body("telegram", conn_id=conn_id))


@pytest.mark.parametrize(
    ("conn_id", "pattern", "is_it"),
    [
        ("leadcast_a", "leadcast_*", True),
        ("leadcast_", "leadcast_*", True),
        ("xleadcast_a", "leadcast_*", False),
        ("portal", "portal", True),
        ("portal2", "portal", False),
        ("a.b", "a?b", False),
        ("ab", "a*b", True),
        ("aXbYc", "a*b*c", True),
        ("ac", "a*b*c", False),
        ("aba", "ab*ba", False),
        ("abba", "ab*ba", True),
        ("Leadcast_a", "leadcast_*", False),
        ("leadcastXa", "leadcast.a", False),
        ("anything", "**", True),
    ],
)
def test_only_the_star_means_something(conn_id: str, pattern: str, is_it: bool) -> None:
    assert fits(conn_id, pattern) is is_it


@pytest.mark.parametrize("allowed", ["a b", "a?", "[a-z]", "leadcast_/x", "x" * 251])
def test_a_pattern_that_can_fit_no_name_is_a_wrong_setting(allowed: str) -> None:
    with pytest.raises(SettingsError, match="allowed_conn_ids"):
        Settings.of({"allowed_conn_ids": allowed})


# --- what people have by our docs goes on


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("webhook", "https://example.com/hook"),
        ("webhook", "HTTP://example.com/hook"),
        ("email", "email://mail.example.com/?from_email=l%40example.com"),
        ("email", "SMTP://mail.example.com/?from_email=l%40example.com"),
        ("telegram", '{"conn_type": "Telegram", "password": "1:token", "host": "@sales"}'),
        ("amocrm", '{"conn_type": " amocrm ", "password": "t", "host": "https://example.amocrm.ru"}'),
    ],
)
def test_a_type_may_be_written_in_any_way_that_airflow_takes(
    monkeypatch: pytest.MonkeyPatch, kind: str, written: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LEADCAST_MINE", written)
    beside = {"emails": ["a@example.com"]} if kind == "email" else {}
    inline = {"conn_id": "leadcast_mine", **beside}
    assert connections.account(registry.get(kind), inline, settings=Settings()).source == "leadcast_mine"


@pytest.mark.parametrize("conn_type", ["", "generic"])
def test_a_default_connection_without_a_type_is_what_its_name_says(
    monkeypatch: pytest.MonkeyPatch, conn_type: str
) -> None:
    connect(monkeypatch, "leadcast_amocrm", conn_type=conn_type, host="https://example.amocrm.ru", password="t")
    connect(monkeypatch, "leadcast_other", conn_type=conn_type, host="https://example.amocrm.ru", password="t")
    assert connections.account(registry.get("amocrm"), {}, settings=Settings()).base_url
    assert refusal("amocrm", "leadcast_other").code == connections.UNUSABLE


def test_a_default_connection_of_another_type_is_no_mail_server(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(
        monkeypatch, "smtp_default", conn_type="postgres", host="db.internal", login="a@b.example", password=PASSWORD
    )
    with pytest.raises(CredentialsError, match="cannot be used for email") as caught:
        connections.account(registry.get("email"), {"emails": ["a@example.com"]}, settings=Settings())
    assert "db.internal" not in str(caught.value)


@pytest.mark.parametrize(
    ("conn_id", "conn_type", "may"),
    [
        ("leadcast_scripted", "http", True),
        ("leadcast_scripted", "", True),
        ("leadcast_second", "scripted", True),
        ("leadcast_second", "http", False),
        ("leadcast_second", "generic", False),
        ("leadcast_airflow", "scripted", False),
    ],
)
def test_an_integration_of_ones_own_that_declares_nothing_has_its_own_connections_only(
    monkeypatch: pytest.MonkeyPatch, conn_id: str, conn_type: str, may: bool
) -> None:
    connect(monkeypatch, conn_id, conn_type=conn_type, host="h.example", password=PASSWORD)
    if may:
        assert connections.account(Service(), {"conn_id": conn_id}, settings=Settings()).source == conn_id
    else:
        with pytest.raises(CredentialsError) as caught:
            connections.account(Service(), {"conn_id": conn_id}, settings=Settings())
        assert caught.value.code == connections.UNUSABLE


def test_the_operator_is_told_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "leadcast_db", conn_type="postgres", host="db.internal", password=PASSWORD)

    def said(conn_id: str) -> str:
        with pytest.raises(CredentialsError) as caught:
            connections.of_connection(registry.get("telegram"), conn_id, {}, settings=Settings())
        return caught.value.message

    assert said("leadcast_db") == "Connection 'leadcast_db' is of the type postgres; telegram takes telegram."
    assert said("leadcast_none").startswith("There is no Airflow connection 'leadcast_none'.")


# --- what stands beside conn_id


@pytest.mark.parametrize(
    ("kind", "beside", "at_fault"),
    [
        ("amocrm", {"subdomain": "attacker"}, ["subdomain"]),
        ("amocrm", {"junk": 1, "base_url": "http://evil.example"}, ["junk", "base_url"]),
        ("bitrix24", {"webhook_url": "https://evil.bitrix24.ru/rest/1/c/"}, ["webhook_url"]),
        ("telegram", {"chat_id": "@sales", "base_url": "http://evil.example"}, ["base_url"]),
        ("telegram", {"chat_id": "no chat"}, ["chat_id"]),
        ("webhook", {"url": "https://evil.example"}, ["url"]),
        ("webhook", {"secret": "none"}, ["secret"]),
        ("email", {"emails": ["a@example.com"], "host": "evil.example"}, ["host"]),
        ("email", {"emails": ["nobody"]}, ["emails"]),
    ],
)
def test_junk_beside_a_connection_is_refused_at_the_door(
    kind: str, beside: dict[str, Any], at_fault: list[str]
) -> None:
    found = errors_of(body(kind, conn_id=registry.get(kind).conn_id(), **beside))
    assert sorted({str(loc[2]) for loc in found}) == sorted(at_fault)
    assert "evil.example" not in str(found)


@pytest.mark.parametrize(
    ("kind", "beside"),
    [
        ("telegram", {"chat_id": -1001}),
        ("webhook", {"headers": {"X-A": "b"}}),
        ("email", {"emails": "a@example.com, b@example.com", "subject": "Hi"}),
        ("email", {"template": "new_lead"}),
        ("amocrm", {}),
        ("bitrix24", {}),
    ],
)
def test_what_may_stand_beside_a_connection_is_taken(kind: str, beside: dict[str, Any]) -> None:
    validate(body(kind, conn_id=registry.get(kind).conn_id(), **beside), conn_ids=RULE)


# --- where a token may go


def account_of(monkeypatch: pytest.MonkeyPatch, kind: str, url: str) -> Account[Any]:
    fields: dict[str, dict[str, Any]] = {
        "amocrm": {"conn_type": "amocrm", "host": url, "password": PASSWORD, "extra": {"subdomain": "x"}},
        "bitrix24": {"conn_type": "bitrix24", "host": f"{url}/rest/1/S3CRETcode/"},
        "telegram": {"conn_type": "telegram", "password": "1:S3CRET", "host": "@sales", "extra": {"base_url": url}},
    }
    connect(monkeypatch, f"leadcast_{kind}", **fields[kind])
    return connections.account(registry.get(kind), {"conn_id": f"leadcast_{kind}"}, settings=Settings())


def blocked(kind: str, account: Account[Any], call: Call) -> DeliveryError:
    integration: Integration[Any, Any] = registry.get(kind)
    with pytest.raises((Blocked, TransientError)) as caught:
        integration.probe(account, call=call)
    return caught.value


KINDS_WITH_A_BASE_URL = ["amocrm", "bitrix24", "telegram"]


@pytest.mark.parametrize("kind", KINDS_WITH_A_BASE_URL)
def test_a_base_url_of_a_connection_is_public_unless_its_network_is_opened(
    monkeypatch: pytest.MonkeyPatch,
    make_call: Any,  # noqa: F811
    kind: str,
) -> None:
    with answering(OK) as server:
        account = account_of(monkeypatch, kind, f"http://127.0.0.1:{server.port}")
        assert blocked(kind, account, make_call(egress=Egress())).code == "private_address"
        assert server.requests == []


@pytest.mark.parametrize("kind", KINDS_WITH_A_BASE_URL)
def test_a_token_goes_in_clear_to_an_opened_network_only(
    monkeypatch: pytest.MonkeyPatch,
    make_call: Any,  # noqa: F811
    kind: str,
) -> None:
    account = account_of(monkeypatch, kind, "http://93.184.215.14:8080")
    inside = Egress(allowed_networks=[ip_network("127.0.0.0/8")])
    assert blocked(kind, account, make_call(egress=inside)).code == "clear_text"


def test_what_an_integration_of_ones_own_calls_is_public_unless_it_says_otherwise() -> None:
    with answering(OK) as server, pytest.raises(Blocked, match="not a public address"):
        Egress().send("POST", f"http://127.0.0.1:{server.port}/")
    assert server.requests == []


@pytest.mark.parametrize(
    "host", ["example.amocrm.ru.evil.example", "amocrm.ru.", "evil-amocrm.ru", "example.amocrm.ru@127.0.0.1"]
)
def test_what_only_looks_like_a_vendors_host_is_none(host: str) -> None:
    from leadcast.integrations.amocrm.client import PUBLIC_HOSTS
    from leadcast.integrations.http.address import is_vendors

    assert not is_vendors(f"https://{host}", PUBLIC_HOSTS)
    assert not is_vendors("http://example.amocrm.ru", PUBLIC_HOSTS)
    assert is_vendors("https://Example.amoCRM.ru./", PUBLIC_HOSTS)


# --- what viewers read

HOST = "10.9.8.7"
SECRETIVE: dict[str, dict[str, Any]] = {
    "amocrm": {"conn_type": "amocrm", "host": f"http://{HOST}:8091", "password": PASSWORD, "extra": {"subdomain": "x"}},
    "bitrix24": {"conn_type": "bitrix24", "host": f"http://{HOST}:8092/rest/1/c0de/"},
    "telegram": {
        "conn_type": "telegram",
        "password": "1:t0ken",
        "host": "@s",
        "extra": {"base_url": f"http://{HOST}:8093"},
    },
    "webhook": {"conn_type": "http", "host": HOST, "port": 8094, "schema": "http"},
    "email": {
        "conn_type": "smtp",
        "host": HOST,
        "port": 2525,
        "login": "robot@company.example",
        "extra": {"emails": ["a@example.com"]},
    },
}


@pytest.mark.parametrize("kind", registry.SHIPPED)
@pytest.mark.parametrize(
    "text",
    [
        f"Cannot reach http://{HOST}:8091, http://{HOST}:8092, http://{HOST}:8093 or http://{HOST}:8094: refused.",
        f"The name of HTTP://{HOST} cannot be resolved",
        f"{HOST}:2525 is not there, nor is {HOST}, says {HOST}.",
        f"refused by http://{HOST}:8091/path?x=1",
        "220 robot",
    ],
)
def test_no_text_of_an_attempt_names_an_address_of_a_connection(
    monkeypatch: pytest.MonkeyPatch, kind: str, text: str
) -> None:
    connect(monkeypatch, "leadcast_some", **SECRETIVE[kind])
    integration = registry.get(kind)
    account = connections.account(integration, {"conn_id": "leadcast_some"}, settings=Settings())
    error = TransientError(text, detail=text)
    operators_words.in_error(error, integration, account)
    for shown in (error.message, error.detail):
        assert HOST not in shown
        assert ("leadcast_some" in shown) is (HOST in text)
    label = operators_words.in_label(integration.label(account), integration, account)
    assert HOST not in label
    assert label.startswith("bot ") or label == "leadcast_some"


def test_a_login_that_is_an_address_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "leadcast_some", **SECRETIVE["email"])
    account = connections.account(registry.get("email"), {"conn_id": "leadcast_some"}, settings=Settings())
    shown = operators_words.in_text("535 robot@company.example unknown", registry.get("email"), account)
    assert shown == "535 'leadcast_some' unknown"


def test_a_short_host_is_no_word_that_is_taken_out_of_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "leadcast_some", **SECRETIVE["email"] | {"host": "mail", "port": 25})
    account = connections.account(registry.get("email"), {"conn_id": "leadcast_some"}, settings=Settings())
    text = "The mail server refuses 1 of 1 recipients, says mail:25."
    shown = operators_words.in_text(text, registry.get("email"), account)
    assert shown == "The mail server refuses 1 of 1 recipients, says 'leadcast_some'."
    assert operators_words.in_label("mail", registry.get("email"), account) == "leadcast_some"


def test_the_vendors_own_address_and_a_callers_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "leadcast_amocrm", conn_type="amocrm", host="https://example.amocrm.ru", password="t")
    text = "Cannot reach https://example.amocrm.ru: connection refused; nothing was sent."
    amocrm = registry.get("amocrm")
    account = connections.account(amocrm, {}, settings=Settings())
    assert operators_words.in_text(text, amocrm, account) == text
    assert operators_words.in_label(amocrm.label(account), amocrm, account) == "example.amocrm.ru"
    webhook = Webhook()
    own = connections.account(webhook, {"url": "https://my.example/x"}, settings=Settings())
    assert operators_words.in_text("Cannot reach https://my.example", webhook, own) == "Cannot reach https://my.example"


def test_a_base_url_of_the_settings_is_named_by_its_setting() -> None:
    amocrm = registry.get("amocrm")
    settings = Settings(amocrm_base_url="http://10.1.1.1:80")
    inline = {"subdomain": "x", "access_token": "t"}
    account = connections.account(amocrm, inline, settings=settings)
    text = "Cannot reach http://10.1.1.1: connection refused"
    assert operators_words.in_text(text, amocrm, account) == "Cannot reach 'amocrm_base_url': connection refused"


def test_a_mail_server_is_called_by_its_connection() -> None:
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "a@example.com"}
    server = MailServer.from_connection(ConnectionFields(conn_id="team_mail", host="127.0.0.1", port=9, extra=extra))
    with pytest.raises(TransientError) as caught:
        smtp.sign_in(server, timeout_s=5)
    assert caught.value.message.startswith("Cannot talk to mail server 'team_mail': ")
    assert "127.0.0.1" not in caught.value.message


# --- however long ago the request came


@pytest.mark.store
def test_a_stored_batch_that_is_sent_later_is_asked_again_and_its_error_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    connect(monkeypatch, "team_bot", conn_type="telegram", password="1:t0ken", host="@sales")
    then, now = Settings(allowed_conn_ids=("team_*",)), Settings()
    request = body("telegram", conn_id="team_bot") | {"lead": {"name": LEAD["name"]}}
    accepted = Inbox(store, then).accept(request)
    with pytest.raises(InvalidRequest):
        Inbox(store, now).accept(request)
    plan(store, now, run_id="r1")
    deliverer = Deliverer(
        store=store,
        settings=now,
        accounts=lambda integration, inline: connections.account(integration, inline, settings=now),
        tokens=StoredTokens(store),
        hide=lambda secret: None,
        worker="test",
    )
    with pytest.raises(AttemptFailed) as caught:
        deliverer.deliver(
            f"{accepted.batch_id}-0",
            integration=registry.get("telegram"),
            last_in_run=True,
            run_id="r1",
        )
    assert caught.value.error.message == unusable("team_bot", "telegram")
    with store.begin() as connection:
        batch = views.batch(connection, accepted.batch_id)
    assert batch is not None
    kept = batch.deliveries[0].error
    assert kept is not None
    assert (kept["code"], kept["message"]) == (connections.UNUSABLE, unusable("team_bot", "telegram"))


def test_a_signing_secret_of_a_connection_does_not_leave_by_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "leadcast_hook", conn_type="http", host="https://example.com", password=PASSWORD, login="u")
    with pytest.raises(CredentialsError) as caught:
        connections.account(Webhook(), {"conn_id": "leadcast_hook"}, settings=Settings())
    assert PASSWORD not in str(caught.value)
