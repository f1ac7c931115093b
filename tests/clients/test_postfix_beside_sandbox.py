"""The sandbox's mail server beside Postfix: the same commands, the same reply codes."""

from __future__ import annotations

import smtplib
import ssl
from base64 import b64encode
from collections.abc import Sequence

import pytest

from leadcast.sandbox import Sandbox
from tests.clients.postfix import DOMAIN, LOGIN, PASSWORD, Postfix

SALES, SLOW, NOBODY = (f"RCPT TO:<{name}@{DOMAIN}>" for name in ("sales", "slow", "nobody"))
MAIL = f"MAIL FROM:<{LOGIN}>"
LETTER = "Subject: x\r\n\r\n..\r\nx\r\n"


def _login(password: str) -> str:
    return "AUTH PLAIN " + b64encode(f"\0{LOGIN}\0{password}".encode()).decode()


SIGN_IN = _login(PASSWORD)
DIALOGUES = {
    "a letter to those who exist": [SIGN_IN, MAIL, NOBODY, SALES, LETTER, "NOOP", MAIL, SALES, LETTER, "QUIT"],
    "the password in two steps": [
        "AUTH LOGIN",
        b64encode(LOGIN.encode()).decode(),
        b64encode(PASSWORD.encode()).decode(),
        MAIL,
    ],
    "a wrong password, then the right one": [_login("not-the-password"), SIGN_IN],
    "a login given up": ["AUTH LOGIN", "*", SIGN_IN],
    "a login twice": [SIGN_IN, SIGN_IN],
    "a recipient that is none": [SIGN_IN, MAIL, "RCPT TO:<>", "RCPT TO:<no at>", SALES],
    "an option that nobody knows": [SIGN_IN, f"{MAIL} NONSENSE=1"],
    "a letter too big": [SIGN_IN, f"{MAIL} SIZE=99999999", f"{MAIL} SIZE=100"],
    "a sender twice": [SIGN_IN, MAIL, MAIL],
    "a recipient before the sender": [SIGN_IN, SALES],
    "a letter taken back": [SIGN_IN, MAIL, SALES, "RSET", "DATA"],
    "a command that there is not": ["NONSENSE", "NOOP"],
}


@pytest.fixture
def twin(sandbox: Sandbox) -> Sandbox:
    """The sandbox, set up as the Postfix is."""
    sandbox.configure("smtp", starttls=True, user=LOGIN, password=PASSWORD)
    sandbox.fault(service="smtp", kind="reject", code=550, match=f"nobody@{DOMAIN}", times=None)
    return sandbox


def replies(port: int, commands: Sequence[str]) -> list[int]:
    """What a server answers after STARTTLS and EHLO."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = smtplib.SMTP("127.0.0.1", port, "client.example.com", timeout=20)
    try:
        client.starttls(context=context)
        client.ehlo()
        return [(client.data(LETTER) if command is LETTER else client.docmd(command))[0] for command in commands]
    finally:
        client.close()


@pytest.mark.parametrize("about", DIALOGUES)
def test_both_answer_alike(postfix: Postfix, twin: Sandbox, about: str) -> None:
    assert replies(twin.smtp_port, DIALOGUES[about]) == replies(postfix.port, DIALOGUES[about])


def test_both_offer_what_a_client_looks_for(postfix: Postfix, twin: Sandbox) -> None:
    offers = []
    for port in (postfix.port, twin.smtp_port):
        with smtplib.SMTP("127.0.0.1", port, "client.example.com", timeout=20) as client:
            client.ehlo()
            offers.append({"starttls", "size", "8bitmime", "smtputf8", "auth"} & client.esmtp_features.keys())
    assert offers[0] == offers[1] == {"starttls", "size", "8bitmime", "smtputf8"}


def test_who_is_greylisted_is_put_off_once_by_both(postfix: Postfix, twin: Sandbox) -> None:
    postfix.greylist.listed.add(f"slow@{DOMAIN}")
    twin.fault(service="smtp", kind="greylist", match=f"slow@{DOMAIN}")
    for port in (postfix.port, twin.smtp_port):
        first, second = replies(port, [SIGN_IN, MAIL, SLOW])[-1], replies(port, [SIGN_IN, MAIL, SLOW])[-1]
        assert first in (450, 451)
        assert second == 250
