"""Domain names in ASCII, by IDNA 2008: for e-mail addresses, for mail servers, and for what we call ourselves."""

from __future__ import annotations

from typing import Any

import pytest

from leadcast.core.errors import CredentialsError, SettingsError
from leadcast.core.host_name import ehlo_name, host_name
from leadcast.core.settings import Settings
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email import smtp_name
from leadcast.integrations.email.server import MailServer
from leadcast.integrations.email.settings import EmailCredentials
from leadcast.integrations.text.addresses import mail_address
from leadcast.integrations.text.domain import ascii_domain

NAMES = {
    "straße.de": "xn--strae-oqa.de",
    "Straße.de": "xn--strae-oqa.de",
    "βόλος.com": "xn--nxasmm1c.com",
    "faß。de": "xn--fa-hia.de",
    "пример.рф": "xn--e1afmkfd.xn--p1ai",
    "ПРИМЕР.РФ": "xn--e1afmkfd.xn--p1ai",
    "Example.COM": "Example.COM",
    "xn--strae-oqa.de": "xn--strae-oqa.de",
}
NO_NAMES = [
    "i❤.ws",
    "☃.net",
    "-а.рф",
    "а..рф",
    "а_б.рф",
    "пример.рф/x",
    "я" * 64 + ".рф",
    "я." * 200 + "рф",
    "r3--я.рф",
]


@pytest.mark.parametrize(("typed", "said"), NAMES.items())
def test_a_letter_goes_to_the_owner_of_the_domain_that_was_typed(typed: str, said: str) -> None:
    assert mail_address(f"info@{typed}") == f"info@{said}"
    assert EmailCredentials.model_validate({"emails": [f"info@{typed}"]}).emails == (f"info@{said}",)


@pytest.mark.parametrize("typed", NO_NAMES)
def test_a_domain_that_idna_2008_refuses_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="e-mail address"):
        mail_address(f"info@{typed}")
    with pytest.raises(ValueError, match=r"host|domain"):
        host_name(ascii_domain(typed))


def server(**changes: Any) -> MailServer:
    fields: dict[str, Any] = {"conn_id": "my_smtp", "host": "mail.example.com", "login": "leads@example.com"}
    return MailServer.from_connection(ConnectionFields(**fields | changes))


def test_sender_and_mail_server_are_reached_by_the_same_names() -> None:
    reached = server(host="почта.рф", extra={"from_email": "Заявки <info@straße.de>"})
    assert (reached.host, reached.sender.addr_spec) == ("xn--80a1acny.xn--p1ai", "info@xn--strae-oqa.de")
    assert reached.identity == "leads@example.com"


def test_a_host_that_is_none_is_named() -> None:
    with pytest.raises(CredentialsError, match=r"my_smtp.*host"):
        server(host="i❤.ws")


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    smtp_name._full_name_of_this_machine.cache_clear()


@pytest.mark.parametrize("machine", ["worker1.example.com", "worker.пример.рф"])
def test_a_machine_with_a_full_name_says_it(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: machine)
    assert server().name == ascii_domain(machine)


@pytest.mark.parametrize(
    "machine",
    [
        *("worker1", "localhost", "localhost.localdomain", "bc1a2b3c4d5e", "воркер", "", "10.0.0.7", "[127.0.0.1]"),
        *(
            "pod-1.svc.cluster.local",
            "ip-10-0-0-7.eu-west-1.compute.internal",
            "я" * 70 + ".example.com",
            "a_b.example.com",
        ),
    ],
)
def test_a_machine_without_one_says_the_senders_domain(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: machine)
    assert server(extra={"from_email": "info@пример.рф"}).name == "xn--e1afmkfd.xn--p1ai"


def test_a_machine_whose_name_no_resolver_takes_says_the_senders_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    def getfqdn() -> str:
        raise UnicodeEncodeError("idna", "воркер", 0, 1, "label too long")

    monkeypatch.setattr("socket.getfqdn", getfqdn)
    assert server().name == "example.com"


def test_the_connections_own_name_wins_over_the_setting_and_the_setting_over_the_machines() -> None:
    setting = Settings.of({"smtp_ehlo_name": "worker.example.com"}).smtp_ehlo_name
    assert server().told(setting).name == setting
    assert server(extra={"ehlo_name": "воркер.пример.рф"}).told(setting).name == "xn--b1agopkc.xn--e1afmkfd.xn--p1ai"
    assert server(extra={"ehlo_name": None}).told("").told(setting).name == setting


@pytest.mark.parametrize("name", ["mail.example.com", "worker", "[192.0.2.7]", "[IPv6:2001:db8::7]", ""])
def test_a_name_may_be_an_address_in_brackets(name: str) -> None:
    assert ehlo_name(name) == name


@pytest.mark.parametrize(
    "name", ["a b", "a\r\nMAIL FROM:<x@y>", "[worker]", "http://x", "a_b.example.com", "i❤.ws", "."]
)
def test_a_name_that_cannot_be_one_is_refused_where_it_is_set(name: str) -> None:
    with pytest.raises(SettingsError, match="smtp_ehlo_name"):
        Settings.of({"smtp_ehlo_name": name})
    with pytest.raises(CredentialsError, match=r"my_smtp.*ehlo_name"):
        server(extra={"ehlo_name": name})
