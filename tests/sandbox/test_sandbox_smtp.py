"""The sandbox's mail server: letters it keeps, refusals, greylisting, hang-ups, login, STARTTLS."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from typing import Any

import pytest
import requests

from leadcast.sandbox import Sandbox


def a_letter(to: str = "anna@example.ru") -> EmailMessage:
    letter = EmailMessage()
    letter["Subject"] = "Новая заявка №1"
    letter["From"] = "Лиды <leads@example.ru>"
    letter["To"] = to
    letter["Reply-To"] = "client@example.ru"
    letter["Message-ID"] = "<batch-0@leadcast>"
    letter.set_content("Текст\n")
    letter.add_alternative("<p>Текст</p>", subtype="html")
    return letter


def client(sandbox: Sandbox) -> smtplib.SMTP:
    return smtplib.SMTP(sandbox.smtp_host, sandbox.smtp_port, timeout=5)


def send(sandbox: Sandbox, *recipients: str) -> dict[str, tuple[int, bytes]]:
    with client(sandbox) as connection:
        return connection.send_message(a_letter(", ".join(recipients or ("anna@example.ru",))))


def test_a_letter_is_kept_with_envelope_headers_and_both_parts(sandbox: Sandbox) -> None:
    assert send(sandbox) == {}

    (letter,) = sandbox.received("smtp")
    assert letter["subject"] == "Новая заявка №1"
    assert (letter["from"], letter["to"]) == ("Лиды <leads@example.ru>", "anna@example.ru")
    assert (letter["reply_to"], letter["message_id"]) == ("client@example.ru", "<batch-0@leadcast>")
    assert (letter["text"].strip(), letter["html"].strip()) == ("Текст", "<p>Текст</p>")
    assert (letter["mail_from"], letter["rcpt_tos"]) == ("leads@example.ru", ["anna@example.ru"])
    assert (letter["status"], letter["executed"], letter["repeat"]) == (250, True, False)


def test_a_letter_with_a_known_message_id_is_marked_as_a_repeat(sandbox: Sandbox) -> None:
    send(sandbox)
    send(sandbox)
    assert [letter["repeat"] for letter in sandbox.received("smtp")] == [False, True]


def test_a_letter_that_cannot_be_read_is_kept_all_the_same(sandbox: Sandbox) -> None:
    garbage = b"Subject: =?nope?b?!!?=\r\nContent-Type: text/plain; charset=nope\r\nTo: <<\r\n\r\n\xff\xfe\r\n"
    with client(sandbox) as connection:
        connection.sendmail("a@x.ru", ["b@x.ru"], garbage)
    assert len(sandbox.stored("smtp")["letters"]) == 1


def test_one_recipient_may_be_refused_while_the_other_is_accepted(sandbox: Sandbox) -> None:
    sandbox.fault(service="smtp", kind="reject", match="bad@", code=550, text="5.1.1 No such user")
    refused = send(sandbox, "bad@example.ru", "good@example.ru")

    assert refused == {"bad@example.ru": (550, b"5.1.1 No such user")}
    assert sandbox.stored("smtp")["letters"][0]["rcpt_tos"] == ["good@example.ru"]


def test_a_recipient_may_be_refused_for_now(sandbox: Sandbox) -> None:
    sandbox.fault(service="smtp", kind="reject", code=452)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        send(sandbox)
    assert caught.value.recipients["anna@example.ru"][0] == 452
    assert send(sandbox) == {}


@pytest.mark.parametrize(
    ("stage", "error"),
    [("mail", smtplib.SMTPSenderRefused), ("rcpt", smtplib.SMTPRecipientsRefused), ("data", smtplib.SMTPDataError)],
)
def test_a_refusal_can_come_at_any_stage(sandbox: Sandbox, stage: str, error: type[Exception]) -> None:
    sandbox.fault(service="smtp", kind="reject", code=554, stage=stage)
    with pytest.raises(error):
        send(sandbox)
    assert sandbox.stored("smtp")["letters"] == []
    assert sandbox.received("smtp")[0]["status"] == 554


def test_greylisting_refuses_the_first_attempt_for_each_recipient(sandbox: Sandbox) -> None:
    sandbox.fault(service="smtp", kind="greylist")
    for recipient in ("one@example.ru", "two@example.ru"):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            send(sandbox, recipient)
        assert caught.value.recipients[recipient][0] == 451
        assert send(sandbox, recipient) == {}


@pytest.mark.parametrize("kind", ["drop_after_dot", "hang_up_after"])
def test_a_letter_may_be_kept_though_its_sender_is_never_told(sandbox: Sandbox, kind: str) -> None:
    sandbox.fault(service="smtp", kind=kind)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(sandbox)
    (letter,) = sandbox.received("smtp")
    assert (letter["executed"], letter["status"], letter["fault"]) == (True, None, kind)


def test_the_connection_may_close_before_anything_is_kept(sandbox: Sandbox) -> None:
    sandbox.fault(service="smtp", kind="hang_up_before")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(sandbox)
    assert sandbox.stored("smtp")["letters"] == []


def test_a_server_that_is_down_refuses_connections_until_it_is_up_again(sandbox: Sandbox) -> None:
    sandbox.fault(service="smtp", kind="down")
    with pytest.raises(ConnectionRefusedError):
        send(sandbox)
    sandbox.clear_faults()
    assert send(sandbox) == {}


def test_a_server_may_be_down_for_a_number_of_connections(sandbox: Sandbox) -> None:
    sandbox.fault(service="smtp", kind="down", times=1)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(sandbox)
    assert send(sandbox) == {}


@pytest.mark.parametrize(("fault", "code"), [({"kind": "rate_limit"}, 451), ({"kind": "status", "status": 421}, 421)])
def test_throttling_is_a_temporary_refusal(sandbox: Sandbox, fault: dict[str, Any], code: int) -> None:
    sandbox.fault(service="smtp", **fault)
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        send(sandbox)
    assert caught.value.recipients["anna@example.ru"][0] == code


def test_a_slow_server_answers_in_the_end(sandbox: Sandbox) -> None:
    sandbox.fault(service="smtp", kind="slow", delay_s=0.05)
    assert send(sandbox) == {}


def test_with_a_password_set_only_who_knows_it_may_send(sandbox: Sandbox) -> None:
    sandbox.configure("smtp", user="leads", password="pass-word-1")
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        send(sandbox)
    assert refused.value.smtp_code == 530
    with client(sandbox) as connection, pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        connection.login("leads", "wrong")
    assert caught.value.smtp_code == 535
    with client(sandbox) as connection:
        connection.login("leads", "pass-word-1")
        connection.send_message(a_letter())
    (letter,) = sandbox.received("smtp")
    assert letter["credential"].startswith("sha256:")
    shown = requests.get(f"{sandbox.control_url}/settings", headers=sandbox.authorization, timeout=5).text
    assert "pass-word-1" not in str(letter) + shown


def test_without_a_password_set_any_login_will_do(sandbox: Sandbox) -> None:
    with client(sandbox) as connection:
        connection.login("anybody", "anything")
        assert connection.send_message(a_letter()) == {}


def sign_in(connection: smtplib.SMTP, *, user: str, token: str) -> tuple[int, bytes]:
    connection.ehlo()
    response = f"user={user}\x01auth=Bearer {token}\x01\x01"
    return connection.auth("XOAUTH2", lambda challenge=None: response if challenge is None else "")


def test_an_access_token_is_taken_however_long_it_is(sandbox: Sandbox) -> None:
    token = "ya29." + "x" * 2500
    sandbox.configure("smtp", user="leads@example.ru", access_token=token)
    with client(sandbox) as connection:
        assert sign_in(connection, user="leads@example.ru", token=token)[0] == 235
        connection.send_message(a_letter())
    (letter,) = sandbox.received("smtp")
    assert letter["credential"].startswith("sha256:")
    shown = requests.get(f"{sandbox.control_url}/settings", headers=sandbox.authorization, timeout=5).text
    assert token not in str(letter) + shown


@pytest.mark.parametrize(("user", "token"), [("leads@example.ru", "wrong"), ("eve@example.ru", "right")])
def test_a_wrong_access_token_is_explained_and_then_refused(sandbox: Sandbox, user: str, token: str) -> None:
    sandbox.configure("smtp", user="leads@example.ru", access_token="right")
    with client(sandbox) as connection, pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        sign_in(connection, user=user, token=token)
    assert caught.value.smtp_code == 535


def test_signing_in_may_be_refused_for_now(sandbox: Sandbox) -> None:
    sandbox.fault(service="smtp", kind="reject", stage="auth", code=454, match="XOAUTH2")
    with client(sandbox) as connection:
        connection.login("anybody", "anything")
    with client(sandbox) as connection, pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        sign_in(connection, user="leads", token="any")
    assert caught.value.smtp_code == 454


@pytest.mark.parametrize("response", ["AAAA", "!!", "dXNlcj1hAWF1dGg9QmVhcmVyIAEB"])
def test_what_is_no_xoauth2_response_is_a_syntax_error(sandbox: Sandbox, response: str) -> None:
    with client(sandbox) as connection:
        connection.ehlo()
        assert connection.docmd("AUTH", f"XOAUTH2 {response}")[0] == 501
        assert connection.noop()[0] == 250


def test_a_token_does_not_open_a_server_that_wants_a_password_nor_a_password_one_that_wants_a_token(
    sandbox: Sandbox,
) -> None:
    sandbox.configure("smtp", password="pass-word-1")
    with client(sandbox) as connection, pytest.raises(smtplib.SMTPAuthenticationError):
        sign_in(connection, user="leads", token="pass-word-1")
    sandbox.configure("smtp", password=None, access_token="token-1")
    with client(sandbox) as connection, pytest.raises(smtplib.SMTPAuthenticationError):
        connection.login("leads", "token-1")


def test_the_ways_to_sign_in_can_be_chosen(sandbox: Sandbox) -> None:
    sandbox.configure("smtp", mechanisms=["LOGIN"])
    with client(sandbox) as connection:
        connection.ehlo()
        assert connection.esmtp_features["auth"].split() == ["LOGIN"]
        connection.login("anybody", "anything")


def test_a_line_of_a_letter_may_not_be_longer_than_the_rfc_says(sandbox: Sandbox) -> None:
    with client(sandbox) as connection, pytest.raises(smtplib.SMTPDataError):
        connection.sendmail("a@x.ru", ["b@x.ru"], b"Subject: x\r\n\r\n" + b"x" * 2000 + b"\r\n")


def test_starttls_is_offered_when_asked_for_with_a_certificate_that_can_be_trusted(sandbox: Sandbox) -> None:
    with client(sandbox) as connection, pytest.raises(smtplib.SMTPNotSupportedError):
        connection.starttls()
    sandbox.configure("smtp", starttls=True)
    pem = requests.get(f"{sandbox.control_url}/smtp/certificate.pem", headers=sandbox.authorization, timeout=5).text
    with client(sandbox) as connection:
        connection.starttls(context=ssl.create_default_context(cadata=pem))
        connection.login("anybody", "anything")
        assert connection.send_message(a_letter()) == {}
    assert len(sandbox.stored("smtp")["letters"]) == 1
