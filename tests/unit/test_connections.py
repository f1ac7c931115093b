"""Where an account comes from, and where its tokens may go: the operator decides that, not the caller."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leadcast.core.errors import CredentialsError
from leadcast.core.settings import Settings
from leadcast.engine.settings import connections
from leadcast.integrations import registry
from leadcast.sandbox.ports import SandboxPorts
from tests.support.connection_forms import TOKEN, forms

SETTINGS = Settings(telegram_base_url="http://bots.internal", amocrm_base_url="http://amo.internal")


def connect(monkeypatch: pytest.MonkeyPatch, name: str, **fields: object) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


def test_inline_credentials_go_to_the_address_of_the_settings() -> None:
    inline = {"bot_token": "1:inline-token", "chat_id": "@x"}
    account = connections.account(registry.get("telegram"), inline, settings=SETTINGS)
    assert account.base_url == "http://bots.internal"
    assert account.secrets() == ["1:inline-token"]


def test_without_credentials_the_connection_of_that_type_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "leadcast_telegram", conn_type="telegram", password="1:stored-token", host="@sales")
    account = connections.account(registry.get("telegram"), {}, settings=SETTINGS)
    assert account.secrets() == ["1:stored-token"]
    assert account.base_url == "http://bots.internal"


def test_a_connection_may_have_an_address_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"base_url": "http://my-bots.internal"}
    connect(monkeypatch, "leadcast_mine", conn_type="telegram", password="1:stored-token", host="@sales", extra=extra)
    account = connections.account(registry.get("telegram"), {"conn_id": "leadcast_mine"}, settings=SETTINGS)
    assert account.base_url == "http://my-bots.internal"


def test_a_caller_cannot_send_a_connections_token_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "leadcast_mine", conn_type="amocrm", password="stored-token", host="https://example.amocrm.ru")
    inline = {"conn_id": "leadcast_mine", "subdomain": "attacker"}
    with pytest.raises(CredentialsError):
        connections.account(registry.get("amocrm"), inline, settings=SETTINGS)


def test_a_connection_that_is_not_there_is_named_and_who_can_mend_it_is_told_how() -> None:
    named = {"conn_id": "leadcast_webhook"}
    with pytest.raises(CredentialsError, match=r"'leadcast_webhook'.*leadcast test-connection webhook"):
        connections.account(registry.get("webhook"), named, settings=SETTINGS)
    with pytest.raises(CredentialsError, match=r"'leadcast_webhook'.*AIRFLOW_CONN_LEADCAST_WEBHOOK"):
        connections.account(registry.get("webhook"), {}, settings=SETTINGS)
    with pytest.raises(CredentialsError, match=r"'leadcast_webhook'.*AIRFLOW_CONN_LEADCAST_WEBHOOK"):
        connections.of_connection(registry.get("webhook"), "leadcast_webhook", {}, settings=SETTINGS)


@pytest.mark.parametrize(
    ("conn_id", "typed"), [("leadcast_hook", "leadcast_hook"), ("a; rm -rf .", "'a; rm -rf .'"), ("п", "'п'")]
)
def test_the_command_that_finds_out_names_the_connection(conn_id: str, typed: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        connections.account(registry.get("webhook"), {"conn_id": conn_id}, settings=SETTINGS)
    assert caught.value.message.endswith(f": leadcast test-connection webhook --conn-id {typed}")


def test_what_does_not_suffice_is_named_and_never_shown() -> None:
    with pytest.raises(CredentialsError) as caught:
        connections.account(registry.get("telegram"), {"bot_token": "s3cret with spaces"}, settings=SETTINGS)
    assert "bot_token" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_mail_server_comes_from_its_connection_and_the_recipients_from_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extra = {"from_email": "leads@example.com"}
    connect(monkeypatch, "smtp_default", conn_type="smtp", host="mail.internal", password="mail-pass", extra=extra)
    account = connections.account(registry.get("email"), {"emails": ["a@example.com"]}, settings=SETTINGS)
    assert list(account.credentials.emails) == ["a@example.com"]
    assert "mail-pass" in account.secrets()


@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_what_airflows_form_saves_suffices(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    form = forms(SandboxPorts.from_base(9000))[kind]
    connect(monkeypatch, "leadcast_made_in_the_form", **form.fields)
    inline = {"conn_id": "leadcast_made_in_the_form", **form.credentials}
    account = connections.account(registry.get(kind), inline, settings=SETTINGS)
    assert form.standard.get("password", "") in account.secrets()


ADDED = {
    "amocrm": f"amocrm://:{TOKEN}%0A@example.amocrm.ru/?client_id=&requests_per_second=15",
    "bitrix24": "bitrix24://https://b24.example.com/rest/1/c0de/?client_id=",
    "telegram": "telegram://:700%3AS3CRET-telegram-token-of-the-form@-100123?base_url=",
    "email": "smtp://mail.example.com/?from_email=l%40example.com&disable_ssl=true&timeout=&auth_type=",
    "webhook": "http://example.com/hook?headers=%7B%7D&previous_secret=",
}
"""What `airflow connections add --conn-uri` takes, with parts left blank."""


@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_what_is_added_as_a_uri_suffices(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LEADCAST_MINE", ADDED[kind])
    inline = {"conn_id": "leadcast_mine"} | ({"emails": ["a@example.com"]} if kind == "email" else {})
    account = connections.account(registry.get(kind), inline, settings=Settings())
    urls = {"amocrm": "https://example.amocrm.ru", "bitrix24": "https://b24.example.com"}
    assert account.base_url == urls.get(kind, "")


@pytest.mark.parametrize("extra", ["null", "[]", '""', "{}", "", "not JSON"])
def test_an_extra_that_is_no_object_is_empty(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    fields: dict[str, Any] = {"conn_type": "amocrm", "password": TOKEN, "host": "https://example.amocrm.ru"}
    connect(monkeypatch, "leadcast_mine", **fields, extra=extra)
    assert connections.fields("leadcast_mine").extra == {}
