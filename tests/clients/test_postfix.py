"""Our e-mail through Debian's Postfix: STARTTLS, a login, mailboxes on disk, and everything it refuses in earnest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, DeliveryError, RejectedError, TransientError
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Call
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email.integration import Email
from leadcast.integrations.email.settings import EmailSettings
from tests.clients.attempts import ACCEPTED_AT, one_attempt
from tests.clients.postfix import DOMAIN, LOGIN, MAX_LETTER_BYTES, PASSWORD, RECIPIENT_LIMIT, Postfix

SALES, BOSS, SLOW, LAST, NOBODY = (f"{name}@{DOMAIN}" for name in ("sales", "boss", "slow", "last", "nobody"))
LEAD = Lead(
    id="7781",
    name="Анна «Пример» <script>, O'Brien",
    phone="+79990000001",
    email="anna@example.com",
    company="ООО Ромашка",
    comment="Перезвоните <b>завтра</b> & не позже 12:00\n.\n..точки в начале строки\nи 🚀",
)
SUBJECT = "Заявка {lead_id}: {lead_name} 🚀 " + "очень длинная тема " * 5


class Sender:
    """Our e-mail with an Airflow connection to the server; what an attempt keeps, the next one finds."""

    def __init__(
        self,
        server: Postfix,
        *to: str,
        lead: Lead = LEAD,
        login: str = LOGIN,
        password: str = PASSWORD,
        **extra: Any,
    ) -> None:
        connection = ConnectionFields(
            conn_id="smtp_default",
            conn_type="smtp",
            host="127.0.0.1",
            port=server.port,
            login=login,
            password=SecretStr(password),
            extra={"disable_ssl": True, "from_email": f"Заявки <{LOGIN}>", **extra},
        )
        self._account = Email.from_connection(connection, {"emails": list(to), "subject": SUBJECT})
        self._lead = lead
        self._kept: Mapping[str, Any] = {}

    def attempt(self, *, number: int = 1) -> Receipt:
        return Email().deliver(self._lead, settings=EmailSettings(), account=self._account, call=self._call(number))

    def probe(self) -> str:
        return Email().probe(self._account, call=self._call(1))

    def _call(self, number: int) -> Call:
        return one_attempt(attempt=number, kept=self._kept, keep=self._keep)

    def _keep(self, progress: Mapping[str, Any]) -> None:
        self._kept = progress


def as_read(letter: EmailMessage, name: str) -> str:
    """A header as RFC 2047 says; Python's newer parser adds spaces to names (python/cpython#128110)."""
    raw = next(str(value) for key, value in letter.raw_items() if key == name)
    return str(make_header(decode_header("".join(raw.splitlines()))))


def test_a_letter_lies_in_the_mailbox_intact(postfix: Postfix) -> None:
    receipt = Sender(postfix, SALES, BOSS).attempt()

    [letter], [other] = postfix.letters("sales", count=1), postfix.letters("boss", count=1)
    assert letter["Message-ID"] == other["Message-ID"] == receipt.external_id
    assert receipt.detail == {"accepted": 2, "refused": []}
    expected = SUBJECT.format(lead_id=LEAD.id, lead_name=LEAD.name)
    assert letter["Subject"] == as_read(letter, "Subject") == expected.strip()
    assert as_read(letter, "From") == f"Заявки <{LOGIN}>"
    assert letter["To"] == f"{SALES}, {BOSS}"
    assert as_read(letter, "Reply-To") == f"{LEAD.name} <{LEAD.email}>"
    assert letter["Date"].datetime == ACCEPTED_AT
    assert "with ESMTPSA" in letter["Received"]  # TLS and a login, as the server saw it
    text, html = letter.get_body(("plain",)), letter.get_body(("html",))
    assert text is not None
    assert html is not None
    for line in LEAD.comment.splitlines():
        assert line in text.get_content()
    assert "&lt;b&gt;завтра&lt;/b&gt; &amp;" in html.get_content()


def test_who_is_unknown_is_named_and_the_other_has_the_letter_once(postfix: Postfix) -> None:
    receipt = Sender(postfix, SALES, NOBODY).attempt()

    assert receipt.detail["accepted"] == 1
    [refused] = receipt.detail["refused"]
    assert str(refused["code"]) == "550"
    assert NOBODY not in str(receipt.detail)
    assert len(postfix.letters("sales", count=1)) == 1


def test_a_letter_that_nobody_may_have_is_rejected(postfix: Postfix) -> None:
    with pytest.raises(RejectedError) as caught:
        Sender(postfix, NOBODY).attempt()
    assert caught.value.code == "550"


def test_a_greylisted_mailbox_gets_its_letter_later_and_the_other_not_twice(postfix: Postfix) -> None:
    postfix.greylist.listed.add(SLOW)
    sender = Sender(postfix, SALES, SLOW)

    with pytest.raises(TransientError) as caught:
        sender.attempt()
    assert caught.value.counts is False
    assert len(postfix.letters("sales", count=1)) == 1

    receipt = sender.attempt(number=2)
    assert receipt.detail == {"accepted": 2, "refused": []}
    [late] = postfix.letters("slow", count=1)
    [early] = postfix.letters("sales", count=1)
    assert late["Message-ID"] == early["Message-ID"] == receipt.external_id


def test_more_recipients_than_the_server_takes_at_once_go_in_two_letters(postfix: Postfix) -> None:
    sender = Sender(postfix, SALES, BOSS, SLOW, LAST)
    with pytest.raises(TransientError) as caught:
        sender.attempt()
    assert (caught.value.code, caught.value.counts) == ("452", False)

    assert sender.attempt(number=2).detail == {"accepted": RECIPIENT_LIMIT + 1, "refused": []}
    assert [len(postfix.letters(name, count=1)) for name in ("sales", "boss", "slow", "last")] == [1, 1, 1, 1]


def test_a_letter_that_is_too_big_is_rejected(postfix: Postfix) -> None:
    with pytest.raises(RejectedError) as caught:
        Sender(postfix, SALES, lead=replace(LEAD, comment="я" * MAX_LETTER_BYTES)).attempt()
    assert caught.value.code == "552"


@pytest.mark.parametrize("changes", [{"password": "not-the-password"}, {"login": f"stranger@{DOMAIN}"}])
def test_a_login_that_is_not_good_is_about_the_credentials(postfix: Postfix, changes: dict[str, Any]) -> None:
    with pytest.raises(CredentialsError) as caught:
        Sender(postfix, SALES, **changes).attempt()
    assert caught.value.code == "535"
    assert "not-the-password" not in str(caught.value)


@pytest.mark.parametrize("to", [(SALES,), (SALES, BOSS, NOBODY)])
def test_a_sender_that_is_not_ours_to_use_is_the_accounts_fault(postfix: Postfix, to: tuple[str, ...]) -> None:
    # Postfix says so at RCPT (smtpd_delay_reject), about every recipient
    with pytest.raises(CredentialsError, match=f"boss@{DOMAIN}") as caught:
        Sender(postfix, *to, from_email=f"boss@{DOMAIN}").attempt()
    assert (caught.value.code, caught.value.for_all) == ("553", True)


def test_a_server_that_wants_a_full_name_refuses_ours_and_not_the_recipients(postfix: Postfix) -> None:
    with pytest.raises(CredentialsError, match="smtp_ehlo_name") as caught:
        Sender(postfix, SALES, NOBODY, ehlo_name="worker").attempt()
    assert (caught.value.code, caught.value.for_all) == ("504", True)
    Sender(postfix, SALES, ehlo_name="worker.example.com").attempt()
    [letter] = postfix.letters("sales", count=1)
    assert "from worker.example.com" in letter["Received"]


def test_a_password_in_cyrillic_signs_in(postfix: Postfix) -> None:
    postfix.set_password(password := "пароль-Й-1")
    try:
        Sender(postfix, SALES, password=password).attempt()
    finally:
        postfix.set_password(PASSWORD)
    assert len(postfix.letters("sales", count=1)) == 1


def test_without_tls_the_server_wants_none_of_it(postfix: Postfix) -> None:
    with pytest.raises(CredentialsError):
        Sender(postfix, SALES, disable_tls=True).attempt()
    with pytest.raises(CredentialsError):
        Sender(postfix, SALES, disable_tls=True, login="", password="").attempt()


def test_a_certificate_that_nobody_vouches_for_ends_it(postfix: Postfix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DeliveryError, match="certificate"):
        Sender(postfix, SALES).attempt()
    assert PASSWORD not in postfix.log()
    Sender(postfix, SALES, ssl_context="none").attempt()
    assert len(postfix.letters("sales", count=1)) == 1


def test_a_connection_is_tried_without_a_letter(postfix: Postfix) -> None:
    sender = Sender(postfix, SALES)
    assert "lets us in" in sender.probe()
    with pytest.raises(CredentialsError):
        Sender(postfix, SALES, password="not-the-password").probe()
    assert postfix.letters("sales", count=0) == []
