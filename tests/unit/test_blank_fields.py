"""What is left blank in a connection is absent, for every type; what stands around a value is no part of it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError
from leadcast.integrations import registry
from leadcast.integrations.base import Account
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email.integration import EmailAccount
from leadcast.integrations.email.server import TlsMode
from leadcast.integrations.text.blanks import filled_in, trimmed

WHSEC = "whsec_" + "YWJj" * 8
TOKEN = "123456:AAF-abcdefghijklmnopqrstuvwxyz01234"
REQUIRED: dict[str, dict[str, Any]] = {
    "amocrm": {"host": "https://example.amocrm.ru", "password": "t0ken"},
    "bitrix24": {"host": "https://example.bitrix24.ru/rest/1/c0de/"},
    "telegram": {"host": "@sales", "password": TOKEN},
    "email": {"host": "mail.example.com", "extra": {"from_email": "leads@example.com"}},
    "webhook": {"host": "https://example.com/hook"},
}
"""The least that makes a connection of each type."""
OPTIONAL: dict[str, tuple[str, ...]] = {
    "amocrm": (
        "subdomain",
        "domain",
        "client_id",
        "client_secret",
        "access_token",
        "refresh_token",
        "redirect_uri",
        "requests_per_second",
    ),
    "bitrix24": ("webhook_url", "domain", "access_token", "refresh_token", "client_id", "client_secret"),
    "telegram": ("base_url",),
    "email": (
        "emails",
        "template",
        "subject",
        "timeout",
        "disable_tls",
        "disable_ssl",
        "ssl_context",
        "auth_type",
        "access_token",
        "client_id",
        "client_secret",
        "tenant_id",
        "scope",
    ),
    "webhook": ("headers", "previous_secret"),
}
"""All else that is read of an extra."""
INLINE = {"email": {"emails": ["a@example.com"]}}


def account(kind: str, **fields: Any) -> Account[Any]:
    """What an integration makes of a connection."""
    fields = fields | {"password": SecretStr(fields.get("password", ""))}
    return registry.get(kind).from_connection(ConnectionFields(conn_id="mine", **fields), INLINE.get(kind, {}))


@pytest.mark.parametrize("blank", [None, "", "  ", "\n", "\u200b", "\xa0\ufeff"], ids=ascii)
@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_a_blank_in_the_extra_is_absent(kind: str, blank: str | None) -> None:
    fields = REQUIRED[kind]
    extra = dict.fromkeys(OPTIONAL[kind], blank) | fields.get("extra", {})
    assert account(kind, **fields | {"extra": extra}) == account(kind, **fields)


@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_false_in_a_field_that_is_no_flag_is_absent(kind: str) -> None:
    fields = REQUIRED[kind]
    extra = dict.fromkeys(OPTIONAL[kind], False) | fields.get("extra", {})
    assert account(kind, **fields | {"extra": extra}) == account(kind, **fields)


@pytest.mark.parametrize("port", [0, None])
@pytest.mark.parametrize("blank", ["", "  ", "\n"], ids=ascii)
@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_a_blank_beside_the_extra_is_absent(kind: str, blank: str, port: int | None) -> None:
    fields = REQUIRED[kind]
    left_empty = {"login": blank, "password": blank, "schema": blank, "port": port}
    assert account(kind, **left_empty | fields) == account(kind, **fields)


@pytest.mark.parametrize("around", [" ", "\n", "\r\n", "\t", "\u200b", "\ufeff", "\xa0"], ids=ascii)
@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_what_stands_around_a_pasted_value_is_no_part_of_it(kind: str, around: str) -> None:
    fields = REQUIRED[kind] | ({"password": WHSEC} if kind == "webhook" else {})
    pasted = {name: around + value + around if isinstance(value, str) else value for name, value in fields.items()}
    assert account(kind, **pasted) == account(kind, **fields)


def test_a_mail_servers_password_may_have_blanks_at_its_ends_but_no_line_ends() -> None:
    server = account("email", **REQUIRED["email"], login="robot", password=" pass word \n")
    assert isinstance(server, EmailAccount)
    assert server.server.password.get_secret_value() == " pass word "


def test_text_is_taken_where_a_number_is_meant_and_a_number_where_text_is() -> None:
    extra = {"requests_per_second": "15", "client_id": 31337, "client_secret": 99, "refresh_token": 7}
    credentials = account("amocrm", **REQUIRED["amocrm"], extra=extra).credentials
    assert credentials.requests_per_second == 15
    assert (credentials.client_id, credentials.refresh_token.get_secret_value()) == ("31337", "7")


@pytest.mark.parametrize(
    ("disable_ssl", "disable_tls", "mode"),
    [
        ("true", "True", TlsMode.PLAIN),
        ("true", "false", TlsMode.STARTTLS),
        ("true", None, TlsMode.STARTTLS),
        ("False", "", TlsMode.TLS),
        (None, None, TlsMode.TLS),
    ],
)
def test_flags_may_be_texts(disable_ssl: str | None, disable_tls: str | None, mode: TlsMode) -> None:
    extra = {"from_email": "leads@example.com", "disable_ssl": disable_ssl, "disable_tls": disable_tls, "timeout": "20"}
    found = account("email", host="mail.example.com", extra=extra)
    assert isinstance(found, EmailAccount)
    assert (found.server.mode, found.server.timeout_s) == (mode, 20)


@pytest.mark.parametrize("text", ["{}", " {} ", '{"X-Tenant": null}', '{"X-Tenant": ""}'])
def test_headers_that_say_nothing_are_absent(text: str) -> None:
    assert account("webhook", **REQUIRED["webhook"], extra={"headers": text}).credentials.headers == {}


def test_headers_may_be_written_as_text_and_what_is_no_object_is_said() -> None:
    found = account("webhook", **REQUIRED["webhook"], extra={"headers": '{"X-Tenant": "acme"}'})
    assert found.credentials.headers["X-Tenant"].get_secret_value() == "acme"
    with pytest.raises(CredentialsError, match="'mine': headers"):
        account("webhook", **REQUIRED["webhook"], extra={"headers": "X-Tenant: acme"})


@pytest.mark.parametrize("emails", ["a@example.com, b@example.com", '["a@example.com", "b@example.com", ""]'])
def test_recipients_may_be_written_as_text(emails: str) -> None:
    fields = ConnectionFields(conn_id="mine", host="h", extra={"from_email": "l@example.com", "emails": emails})
    credentials = registry.get("email").from_connection(fields, {}).credentials
    assert credentials.emails == ("a@example.com", "b@example.com")


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "example.com"}, "https://example.com"),
        ({"host": " example.com/hook \n"}, "https://example.com/hook"),
        ({"host": "http://127.0.0.1", "port": 8443}, "http://127.0.0.1:8443"),
        ({"host": "http://127.0.0.1:1/a?b", "port": 2}, "http://127.0.0.1:1/a?b"),
        ({"host": "example.com?to=http://x", "port": 2}, "https://example.com:2?to=http://x"),
        ({"host": "[2001:db8::1]", "port": 2}, "https://[2001:db8::1]:2"),
        ({"host": "example.com", "schema": "HTTP"}, "http://example.com"),
        ({"host": "example.com", "schema": "https://"}, "https://example.com"),
        ({"host": "https://example.com", "schema": "http"}, "https://example.com"),
        ({"host": "https://example.com", "schema": "rest/1/c0de/"}, "https://example.com/rest/1/c0de/"),
        ({"host": "example.com", "schema": "hook"}, "https://example.com/hook"),
        ({"host": "", "schema": "http", "port": 80}, ""),
    ],
)
def test_the_address_is_made_of_host_schema_and_port(fields: dict[str, Any], url: str) -> None:
    connection = ConnectionFields(conn_id="mine", **fields)
    assert connection.address == url
    assert connection.base_url == url.rstrip("/")


def test_what_may_be_meant_stays() -> None:
    assert filled_in({"flag": False, "count": 0, "no": None}) == {"flag": False, "count": 0}
    assert filled_in({"list": ["a ", None, " ", {"b": ""}], "in": {"c": " d "}}) == {
        "list": ["a", {}],
        "in": {"c": "d"},
    }


def test_what_stands_inside_stays() -> None:
    assert trimmed("\u200b a \u200b b\n") == "a \u200b b"
