"""E-mail: how we call ourselves, how we sign in, and what the server says before it hangs up."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from threading import Thread
from typing import Any

import pytest

from leadcast.core.errors import CredentialsError, DeliveryError, TransientError
from leadcast.core.model import Lead
from leadcast.core.settings import Settings
from leadcast.integrations.base import Call
from leadcast.integrations.email import smtp
from leadcast.integrations.email.server import MailServer, TlsMode
from leadcast.sandbox import Sandbox
from tests.contract.test_email import deliver, letters

MakeCall = Callable[..., Call]
LOGIN, PASSWORD = "робот@пример.рф", "пароль-Й№1"


@pytest.mark.parametrize(
    ("setting", "extra", "said"),
    [
        ("", "", "example.com"),
        ("worker1.example.net", "", "worker1.example.net"),
        ("worker1.example.net", "mx.example.org", "mx.example.org"),
    ],
)
def test_we_say_the_name_that_is_set_or_else_the_senders_domain(
    sandbox: Sandbox,
    lead: Lead,
    make_call: MakeCall,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    extra: str,
    said: str,
) -> None:
    monkeypatch.setattr("leadcast.integrations.email.smtp_name._full_name_of_this_machine", lambda: "")
    settings = Settings(allowed_networks=("127.0.0.0/8",), smtp_ehlo_name=setting)
    deliver(sandbox, lead, make_call(settings=settings), ehlo_name=extra)
    assert [letter["ehlo"] for letter in letters(sandbox)] == [said]


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "auth", "mail", "rcpt", "data"])
def test_a_server_that_is_busy_and_hangs_up_is_heard_and_uses_no_try(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, stage: str
) -> None:
    sandbox.fault(service="smtp", kind="reject", stage=stage, code="421", text="4.7.0 Try again later, closing")
    with pytest.raises(TransientError) as caught:
        deliver(sandbox, lead, make_call(), login="robot", password="hunter2-hunter2")
    assert (caught.value.code, caught.value.counts) == ("421", False)
    assert "Try again later" in caught.value.detail
    assert len(sandbox.received("smtp")) == 1, "nothing was said after it"


def test_a_name_that_a_server_hangs_up_on_is_shown(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="smtp", kind="reject", stage="ehlo", code="421", text="4.7.0 closing (EHLO)", match="worker")
    with pytest.raises(TransientError, match=r"call ourselves worker \(421\)"):
        deliver(sandbox, lead, make_call(), ehlo_name="worker")


@pytest.mark.parametrize(
    ("stage", "code", "word"),
    [("greeting", "554", "machine"), ("ehlo", "550", "smtp_ehlo_name"), ("ehlo", "504", "smtp_ehlo_name")],
)
def test_a_server_that_does_not_want_us_at_all_is_for_a_person(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, stage: str, code: str, word: str
) -> None:
    sandbox.fault(service="smtp", kind="reject", stage=stage, code=code, text="5.7.1 No service", times=None)
    with pytest.raises(CredentialsError, match=word) as caught:
        deliver(sandbox, lead, make_call())
    assert (caught.value.code, caught.value.for_all) == (code, True)
    assert "No service" in caught.value.detail


def test_a_server_older_than_ehlo_is_greeted_as_it_knows(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="smtp", kind="reject", stage="ehlo", code="502", text="5.5.1 What?", times=1)
    assert deliver(sandbox, lead, make_call(), ehlo_name="mx.example.com").detail["accepted"] == 2
    assert letters(sandbox)[0]["ehlo"] == "mx.example.com"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("password", [PASSWORD, "hunter2-hunter2", "p\N{LATIN SMALL LETTER E WITH ACUTE}ss"])
def test_a_login_and_a_password_in_any_script_sign_in(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, mechanism: str, password: str
) -> None:
    sandbox.configure("smtp", user=LOGIN, password=password, mechanisms=[mechanism])
    deliver(sandbox, lead, make_call(), login=LOGIN, password=password)
    assert len(letters(sandbox)) == 1


def test_a_password_composed_in_another_way_signs_in_by_plain(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("smtp", password="пароль-\u0439-1", mechanisms=["PLAIN"])
    deliver(sandbox, lead, make_call(), login="robot", password="пароль-\u0438\u0306-1")
    assert len(letters(sandbox)) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_cyrillic_password_that_is_wrong_is_a_matter_of_credentials_and_stays_secret(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, mechanism: str
) -> None:
    sandbox.configure("smtp", password="hunter2-hunter2", mechanisms=[mechanism])
    with pytest.raises(CredentialsError) as caught:
        deliver(sandbox, lead, make_call(), login="robot", password=PASSWORD)
    assert caught.value.code == "535"
    assert PASSWORD not in f"{caught.value}{caught.value.detail}"


@pytest.mark.parametrize("code", ["501", "525", "550", "554"])
def test_whatever_lasting_refusal_a_login_gets_is_about_the_account(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, code: str
) -> None:
    sandbox.fault(service="smtp", kind="reject", stage="auth", code=code, text="5.7.13 Disabled", times=None)
    with pytest.raises(CredentialsError) as caught:
        deliver(sandbox, lead, make_call(), login="robot", password=PASSWORD)
    assert (caught.value.code, caught.value.for_all) == (code, True)


def test_a_login_that_was_refused_is_heard_although_the_server_then_hangs_up(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("smtp", mechanisms=["PLAIN", "LOGIN"])
    sandbox.fault(
        service="smtp", kind="reject", stage="auth", code="535", text="5.7.8 Wrong", match="PLAIN", times=None
    )
    sandbox.fault(service="smtp", kind="reject", stage="auth", code="421", text="4.7.0 Too many", match="LOGIN")
    with pytest.raises(CredentialsError) as caught:
        deliver(sandbox, lead, make_call(), login="robot", password=PASSWORD)
    assert caught.value.code == "535"


@pytest.fixture
def fips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python where only FIPS-approved algorithms are allowed: there is no MD5."""
    known = hmac.new

    def new(key: bytes, msg: bytes, digestmod: Any) -> hmac.HMAC:
        if digestmod == "md5":
            raise ValueError("[digital envelope routines] unsupported")
        return known(key, msg, digestmod)

    monkeypatch.setattr("hmac.new", new)


@pytest.mark.usefixtures("fips")
@pytest.mark.parametrize("other", ["PLAIN", "LOGIN"])
def test_without_md5_the_next_way_is_taken(sandbox: Sandbox, lead: Lead, make_call: MakeCall, other: str) -> None:
    sandbox.configure("smtp", password=PASSWORD, mechanisms=["CRAM-MD5", other])
    deliver(sandbox, lead, make_call(), login="robot", password=PASSWORD)
    assert len(letters(sandbox)) == 1


@pytest.mark.usefixtures("fips")
def test_without_md5_a_server_that_wants_nothing_else_cannot_be_signed_in_to(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("smtp", password=PASSWORD, mechanisms=["CRAM-MD5"])
    with pytest.raises(DeliveryError) as caught:
        deliver(sandbox, lead, make_call(), login="robot", password=PASSWORD)
    assert (type(caught.value), caught.value.code) == (CredentialsError, "no_auth")


@pytest.fixture
def hangs_up_in_the_message() -> Iterator[int]:
    """The port of a server that says in the middle of a message that it is too big, and reads no further."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as heard:
                connection.sendall(b"220 mx.example.com\r\n")
                for answer in (b"250 mx.example.com", b"250 OK", b"250 OK", b"250 OK", b"354 Go on"):
                    heard.readline()
                    connection.sendall(answer + b"\r\n")
                heard.readline()
                connection.sendall(b"552 5.3.4 Too big, and no more of it\r\n")
                connection.shutdown(socket.SHUT_RD)

        thread = Thread(target=talk, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)


def test_a_server_that_hangs_up_in_the_middle_of_a_message_has_said_why(hangs_up_in_the_message: int) -> None:
    server = MailServer(
        host="127.0.0.1", port=hangs_up_in_the_message, mode=TlsMode.PLAIN, from_email="leads@example.com"
    )
    message = EmailMessage()
    message.set_content("a line\n" * 3_000_000)
    sent = smtp.send(server, message, ["a@example.com", "b@example.com"])
    assert {refusal.code for refusal in sent.refused.values()} == {552}
    assert sent.taken == ()
