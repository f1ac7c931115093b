"""What an operator has set up before there were rules for it: it goes on where that is safe, and else `leadcast doctor`
says what stops it and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from leadcast.core.errors import CredentialsError
from leadcast.core.model import Lead
from leadcast.core.request_errors import InvalidRequest
from leadcast.core.settings import Settings
from leadcast.engine.settings import config, connections
from leadcast.engine.setup import connection_check
from leadcast.engine.setup.finding import Finding, Level
from leadcast.flow.deliver.admit import Admission
from leadcast.flow.inbox import Inbox
from leadcast.flow.request import validate
from leadcast.integrations import registry
from leadcast.integrations.email.settings import EmailCredentials
from leadcast.integrations.text.templating import Templates
from leadcast.store.batches import ledger
from leadcast.store.database import Store
from tests.hostile.test_connections import body, connect, refusal
from tests.support.error_table.cases import LEAD
from tests.support.planned import plan

Use = Callable[..., list[Finding]]


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch) -> Use:
    """What doctor says of connections, under these settings."""

    def examine(**settings: Any) -> list[Finding]:
        monkeypatch.setattr(config, "settings", lambda: Settings(**settings))
        monkeypatch.setattr(connection_check, "_named_by_waiting", dict)
        return list(connection_check.examine())

    return examine


def about(findings: list[Finding], name: str) -> Finding:
    [found] = [finding for finding in findings if finding.what.split(":")[0].endswith(name)]
    return found


# --- doctor judges as egress does

PRIVATE = "http://10.1.2.3"
IN_CLEAR = "http://93.184.215.14"


def connect_default(monkeypatch: pytest.MonkeyPatch, kind: str, url: str) -> None:
    fields: dict[str, dict[str, Any]] = {
        "amocrm": {"conn_type": "amocrm", "host": url, "password": "t", "extra": {"subdomain": "x"}},
        "bitrix24": {"conn_type": "bitrix24", "host": f"{url}/rest/1/c0de/"},
        "telegram": {"conn_type": "telegram", "password": "1:t0ken", "host": "@s", "extra": {"base_url": url}},
        "webhook": {"conn_type": "http", "host": f"{url}/hook"},
    }
    connect(monkeypatch, f"leadcast_{kind}", **fields[kind])


@pytest.mark.parametrize("kind", ["amocrm", "bitrix24", "telegram", "webhook"])
def test_doctor_names_the_setting_that_a_private_address_needs(
    monkeypatch: pytest.MonkeyPatch, examine: Use, kind: str
) -> None:
    connect_default(monkeypatch, kind, PRIVATE)
    found = about(examine(), f"leadcast_{kind}")
    assert found.level is Level.FAIL
    assert f"{PRIVATE} is not a public address" in found.what
    assert "allowed_networks" in found.mend
    assert about(examine(allowed_networks=("10.0.0.0/8",)), f"leadcast_{kind}").level is Level.OK


@pytest.mark.parametrize("kind", ["amocrm", "bitrix24", "telegram"])
def test_doctor_says_that_a_token_would_go_in_clear(monkeypatch: pytest.MonkeyPatch, examine: Use, kind: str) -> None:
    connect_default(monkeypatch, kind, IN_CLEAR)
    found = about(examine(), f"leadcast_{kind}")
    assert (found.level, "has no TLS" in found.what, "https" in found.mend) == (Level.FAIL, True, True)


def test_a_webhook_without_a_token_may_go_in_clear(monkeypatch: pytest.MonkeyPatch, examine: Use) -> None:
    connect_default(monkeypatch, "webhook", IN_CLEAR)
    assert about(examine(), "leadcast_webhook").level is Level.OK


def test_nothing_is_looked_up_for_the_vendors_own_hosts(monkeypatch: pytest.MonkeyPatch, examine: Use) -> None:
    def no_name_server(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    monkeypatch.setattr("leadcast.integrations.http.connecting.resolve", no_name_server)
    connect(monkeypatch, "leadcast_amocrm", conn_type="amocrm", host="https://example.amocrm.ru", password="t")
    connect(monkeypatch, "leadcast_bitrix24", conn_type="bitrix24", host="https://x.bitrix24.ru/rest/1/c0de/")
    connect(monkeypatch, "leadcast_telegram", conn_type="telegram", password="1:t0ken", host="@s")
    findings = examine()
    for kind in ("amocrm", "bitrix24", "telegram"):
        assert about(findings, f"leadcast_{kind}").what.endswith("there, and complete")


@pytest.mark.parametrize("kind", ["amocrm", "bitrix24", "telegram"])
def test_doctor_judges_base_urls_in_the_settings(examine: Use, kind: str) -> None:
    name = f"{kind}_base_url"
    found = about(examine(**{name: PRIVATE}), name)
    assert (found.level, "allowed_networks" in found.mend) == (Level.FAIL, True)
    assert name not in str(examine(**{name: PRIVATE}, allowed_networks=("10.1.2.3/32",)))


@pytest.mark.store
def test_doctor_names_the_connections_of_what_waits(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    names = ("portal_moscow", "leadcast_inside", "leadcast_fine", "leadcast_gone")
    for name in names[:3]:
        host = PRIVATE if name == "leadcast_inside" else "https://x.bitrix24.ru"
        connect(monkeypatch, name, conn_type="bitrix24", host=f"{host}/rest/1/c0de/")
    before = Settings(allowed_conn_ids=("*",))
    for name in (*names, "portal_moscow", "leadcast_bitrix24"):
        Inbox(store, before).accept(body("bitrix24", conn_id=name) | {"lead": {"name": LEAD["name"]}})
    monkeypatch.setattr(config, "settings", Settings)
    monkeypatch.setattr(config, "store", lambda: store)
    said = {found.what.split(":")[0]: f"{found.what} {found.mend}" for found in connection_check._of_waiting()}
    assert sorted(said) == ["connection leadcast_gone", "connection leadcast_inside", "connection portal_moscow"]
    assert "2 that wait for bitrix24" in said["connection portal_moscow"]
    assert "allowed_conn_ids" in said["connection portal_moscow"]
    assert "allowed_networks" in said["connection leadcast_inside"]
    monkeypatch.setattr(connection_check, "MAX_WAITING", 0)
    assert list(connection_check._of_waiting()) == []


# --- types that a connection of the operator's own may have


@pytest.mark.parametrize(
    ("kind", "conn_id", "written"),
    [
        ("bitrix24", "", "https://x.bitrix24.ru/rest/1/c0de/"),
        ("bitrix24", "", "HTTP://x.bitrix24.ru/rest/1/c0de/"),
        ("bitrix24", "leadcast_bitrix24_moscow", "https://x.bitrix24.ru/rest/1/c0de/"),
        ("amocrm", "", "https://:t0ken@example.amocrm.ru"),
        ("amocrm", "leadcast_amocrm_moscow", '{"conn_type": "generic", "host": "example.amocrm.ru", "password": "t"}'),
        ("amocrm", "leadcast_amocrm_moscow", '{"host": "example.amocrm.ru", "password": "t"}'),
        ("telegram", "leadcast_telegram_sales", '{"password": "1:t0ken", "host": "@sales"}'),
        ("email", "", "smtps://mail.example.com/?from_email=l%40example.com"),
        ("email", "leadcast_mail", "smtps://mail.example.com/?from_email=l%40example.com"),
        ("email", "leadcast_email_sales", '{"host": "mail.example.com", "login": "l@example.com"}'),
        ("webhook", "", "webhook://example.com/hook"),
        ("webhook", "leadcast_hook", "webhook://example.com/hook"),
        ("webhook", "leadcast_webhook_shop", '{"conn_type": "generic", "host": "https://example.com/hook"}'),
    ],
)
def test_a_connection_whose_name_says_what_it_is_for_goes_on(
    monkeypatch: pytest.MonkeyPatch, kind: str, conn_id: str, written: str
) -> None:
    integration = registry.get(kind)
    used = conn_id or integration.conn_id()
    monkeypatch.setenv(f"AIRFLOW_CONN_{used.upper()}", written)
    inline: dict[str, Any] = {"emails": ["a@example.com"]} if kind == "email" else {}
    if conn_id:
        inline["conn_id"] = conn_id
    account = connections.account(integration, inline, settings=Settings())
    assert account.source == used


@pytest.mark.parametrize(
    ("kind", "conn_id", "conn_type"),
    [
        ("amocrm", "leadcast_intern", "http"),
        ("amocrm", "leadcast_bitrix24_x", "http"),
        ("amocrm", "leadcast_amocrmx", "https"),
        ("amocrm", "leadcast_amocrm_x", "postgres"),
        ("amocrm", "leadcast_", "generic"),
        ("bitrix24", "leadcast_amocrm", "generic"),
        ("telegram", "leadcast_webhook_shop", "http"),
        ("email", "leadcast_mail", "generic"),
        ("email", "leadcast_email_x", "ssh"),
    ],
)
def test_what_is_called_after_something_else_is_still_for_something_else(
    monkeypatch: pytest.MonkeyPatch, kind: str, conn_id: str, conn_type: str
) -> None:
    connect(monkeypatch, conn_id, conn_type=conn_type, host="h.example", password="t", login="a@example.com")
    assert refusal(kind, conn_id).code == connections.UNUSABLE


def test_of_two_types_that_fit_a_name_the_longer_one_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "leadcast_webhook_slack", conn_type="generic", host="https://example.com/hook")
    webhook = registry.get("webhook")
    assert connections.account(webhook, {"conn_id": "leadcast_webhook_slack"}, settings=Settings()).source
    monkeypatch.setattr(registry, "types", lambda: ("webhook", "webhook_slack"))
    assert refusal("webhook", "leadcast_webhook_slack").code == connections.UNUSABLE


@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_who_names_no_connection_is_told_that_there_is_none_and_how_to_make_it(kind: str) -> None:
    integration = registry.get(kind)
    inline = {"emails": ["a@example.com"]} if kind == "email" else {}
    with pytest.raises(CredentialsError) as caught:
        connections.account(integration, inline, settings=Settings())
    assert caught.value.message.startswith(f"There is no Airflow connection '{integration.conn_id()}'. Make it: ")
    mend = "have the request name another by conn_id." if kind == "email" else "send credentials with the request."
    assert caught.value.message.endswith(f" Or {mend}")
    assert refusal(kind, integration.conn_id()).code == connections.UNUSABLE  # he has named it


# --- subjects with names that there are not

SUBJECTS = ["{{ lead_name }}", "{{ city }}", "{{ utm.utm_source }}", "{{ a['b'].c }}"]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_name_that_there_is_not_is_refused_at_the_door_and_nothing_later(subject: str) -> None:
    asked = body("email", emails=["a@example.com"])
    with pytest.raises(InvalidRequest, match="there is lead"):
        validate(asked | {"integrations": [{"type": "email", "settings": {"subject": subject}}]})
    with pytest.raises(InvalidRequest, match="there is lead"):
        validate(body("email", emails=["a@example.com"], subject=subject))
    with pytest.raises(InvalidRequest, match="there is lead"):
        validate(body("email", conn_id="smtp_default", emails=["a@example.com"], subject=subject))
    validate(asked, defaults={"email": {"subject": subject}})
    kept = EmailCredentials.model_validate({"emails": ["a@example.com"], "subject": subject}).subject
    assert Templates().line(f"New: {kept}!", lead=Lead(id="7", name="Anna")) == "New: !"


def test_a_subject_that_is_more_than_lookups_is_refused_everywhere() -> None:
    with pytest.raises(ValueError, match="no filter here"):
        EmailCredentials.model_validate({"emails": ["a@example.com"], "subject": "{{ lead.name | upper }}"})


@pytest.mark.store
@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("is_requests", [True, False])
def test_what_waits_with_such_a_subject_goes_out(
    monkeypatch: pytest.MonkeyPatch, store: Store, subject: str, is_requests: bool
) -> None:
    own = {"subject": subject}
    settings = Settings() if is_requests else Settings(integration_settings={"email": own})
    request = body("email", emails=["a@example.com"]) | {"lead": {"name": LEAD["name"]}}
    request["integrations"] = [{"type": "email", "settings": own if is_requests else {}}]
    with monkeypatch.context() as older:
        older.setattr(
            "leadcast.integrations.text.caller_lines._ROOTS", ("lead", "placeholders", "lead_name", "city", "utm", "a")
        )
        accepted = Inbox(store, settings).accept(request)
    plan(store, settings, run_id="r1")
    admission = Admission(
        store=store,
        settings=settings,
        accounts=lambda integration, inline: connections.account(integration, inline, settings=settings),
        hide=lambda secret: None,
    )
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", "smtp://mail.example.com/?from_email=l%40example.com")
    with store.begin() as connection:
        due = ledger.due(connection, f"{accepted.batch_id}-0", now=datetime.now(UTC))
    assert due is not None
    assert admission.route(due, registry.get("email")).settings.subject == subject


def test_doctor_says_what_a_request_can_bring_in_place_of_a_connection(examine: Use) -> None:
    found = examine()
    assert about(found, "smtp_default").what.endswith("none, so requests must name another for email by conn_id")
    assert about(found, "leadcast_webhook").what.endswith("none, so requests must bring credentials for webhook")
