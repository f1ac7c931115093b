"""What the base does for an integration that only declares: accounts from connections, and names for them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, SecretStr

from leadcast.integration import (
    Account,
    Call,
    ConnectionFields,
    CredentialsError,
    InConnection,
    Integration,
    Lead,
    Receipt,
    RequestModel,
)

TOKEN = "s3cret-token"


class Settings(RequestModel):
    """None."""


class Credentials(RequestModel):
    token: SecretStr = Field(min_length=8)
    user: str = ""
    channel: str | None = None
    key: SecretStr | None = None
    urgent: bool = False
    tags: list[str] = Field(default_factory=list)


class Pager(Integration[Settings, Credentials]):
    type = "pager"
    in_connection = InConnection(
        {"password": "token", "login": "user", "host": "channel"},
        base_url="extra",
        lacking={"password": "the pager's token"},
    )
    beside_connection = ("channel",)

    def deliver(self, lead: Lead, *, settings: Settings, account: Account[Credentials], call: Call) -> Receipt:
        """Not called here."""
        raise NotImplementedError


class OneAccount(Pager):
    """With an address of its own, whose channels are all one account's."""

    in_connection = InConnection({"password": "token"}, base_url="address", needs="It needs a host.")
    identified_by = ("token", "user", "key")


def connection(**fields: Any) -> ConnectionFields:
    return ConnectionFields(conn_id="mine", **{"password": SecretStr(TOKEN), **fields})


def test_the_models_are_those_that_the_class_names() -> None:
    assert (Pager.settings_model, Pager.credentials_model) == (Settings, Credentials)
    assert (OneAccount.settings_model, OneAccount.credentials_model) == (Settings, Credentials)


def test_a_model_that_is_declared_counts() -> None:
    class Other(Credentials):
        """Another one."""

    class Declared(Integration[Settings, Credentials]):
        credentials_model = Other

    assert (Declared.settings_model, Declared.credentials_model) == (Settings, Other)


def test_fields_lie_where_they_are_declared_and_the_others_in_the_extra() -> None:
    extra = {"key": '{"a": "JSON that is a secret"}', "urgent": True, "tags": '["a", "b"]', "timeout": 5}
    account = Pager.from_connection(connection(login="anna", host="#sales", extra=extra), {})
    own = account.credentials
    assert (own.token.get_secret_value(), own.user, own.channel) == (TOKEN, "anna", "#sales")
    assert own.key is not None
    assert own.key.get_secret_value() == extra["key"]
    assert (own.urgent, own.tags) == (True, ["a", "b"])


def test_what_is_declared_is_read_nowhere_else() -> None:
    extra = {"token": "another-token", "channel": "#others", "user": "eve"}
    own = Pager.from_connection(connection(extra=extra), {}).credentials
    assert (own.token.get_secret_value(), own.user, own.channel) == (TOKEN, "", None)


def test_the_request_wins_where_it_may_and_is_refused_where_not() -> None:
    fields = connection(host="#sales")
    assert Pager.from_connection(fields, {"channel": "#other"}).credentials.channel == "#other"
    with pytest.raises(CredentialsError, match=r"'mine'.*remove from the request: token, user") as caught:
        Pager.from_connection(fields, {"user": "eve", "token": "evil-token", "channel": "#other"})
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message", "code"),
    [
        ({"password": SecretStr("")}, "Connection 'mine' has no password: the pager's token.", "password"),
        (
            {"password": SecretStr("short")},
            "Connection 'mine': password: Input should have a length of at least 8.",
            "password",
        ),
        ({"extra": {"tags": {"a": 1}}}, "Connection 'mine': tags: Input should be a list.", "tags"),
        ({"extra": {"tags": [{}, {"a": 1}]}}, "Connection 'mine': tags.0: Input should be a valid string.", "tags.0"),
        (
            {"extra": {"base_url": "ftp://x"}},
            "Connection 'mine': base_url must begin with https:// or http://.",
            "base_url",
        ),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_form(fields: dict[str, Any], message: str, code: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        Pager.from_connection(connection(**fields), {})
    assert (caught.value.message, caught.value.code) == (message, code)


def test_an_integration_may_say_what_it_needs_in_all() -> None:
    with pytest.raises(CredentialsError) as caught:
        OneAccount.from_connection(connection(password=SecretStr("")), {})
    assert caught.value.message == "Connection 'mine': token: Field required. It needs a host."


def test_an_account_has_the_address_that_the_connection_says() -> None:
    assert Pager.from_connection(connection(extra={"base_url": "http://pager.internal"}), {}).base_url == (
        "http://pager.internal"
    )
    assert Pager.from_connection(connection(host="pager.internal"), {}).base_url == ""
    assert OneAccount.from_connection(connection(host="pager.internal", port=8443), {}).base_url == (
        "https://pager.internal:8443"
    )


def account(base_url: str = "", **credentials: Any) -> Account[Credentials]:
    return Account(credentials=Credentials(token=SecretStr(TOKEN), **credentials), base_url=base_url)


@pytest.mark.parametrize(
    ("base_url", "label"),
    [
        ("", "pager"),
        ("https://Pager.example:443/secret/path?key=s3cret", "pager.example"),
        ("http://pager.example:8080/", "pager.example:8080"),
        ("https://user:s3cret@pager.example/x", "pager.example"),
    ],
)
def test_people_know_an_account_by_its_host(base_url: str, label: str) -> None:
    assert Pager().label(account(base_url)) == label


def test_another_secret_or_address_is_another_account_and_so_is_all_else_unless_it_is_said() -> None:
    for kind in (Pager(), OneAccount()):
        ours = kind.identity(account("https://a.example", user="anna"))
        assert ours == kind.identity(account("https://a.example", user="anna"))
        assert ours != kind.identity(account("https://b.example", user="anna"))
        assert ours != kind.identity(account("https://a.example", user="eve"))
        assert ours != kind.identity(account("https://a.example", user="anna", key=SecretStr("k")))
        assert (ours == kind.identity(account("https://a.example", user="anna", channel="#b"))) is bool(
            kind.identified_by
        )
