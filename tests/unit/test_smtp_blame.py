"""Whose fault a refusal is: what servers are known to say, and what could be anything."""

from __future__ import annotations

import pytest

from leadcast.core.setting_choices import Language
from leadcast.integrations.email.smtp_blame import CLIENT, LOGIN, NAME, RELAY, SENDER, Fault, fault_of
from leadcast.integrations.text.wording import Wording

OURS = {
    # Postfix
    "550 5.1.8 <leads@example.com>: Sender address rejected: Domain not found": SENDER,
    "553 5.7.1 <boss@example.com>: Sender address rejected: not owned by user robot": SENDER,
    "554 5.7.1 <leads@example.com>: Sender address rejected: Access denied": SENDER,
    "554 5.7.1 <anna@example.org>: Relay access denied": RELAY,
    "554 5.7.1 <unknown[192.0.2.7]>: Client host rejected: Access denied": CLIENT,
    "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.spamhaus.org": CLIENT,
    "504 5.5.2 <worker>: Helo command rejected: need fully-qualified hostname": NAME,
    "550 5.7.1 <[127.0.0.1]>: Helo command rejected: You are not me": NAME,
    # Exim
    "550 Sender verify failed": SENDER,
    "550 relay not permitted": RELAY,
    "550 Invalid HELO name (See RFC2821 4.1.1.1)": NAME,
    # Exchange and Microsoft 365
    "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain": RELAY,
    "550 5.7.60 SMTP; Client does not have permissions to send as this sender": SENDER,
    "554 5.2.252 SendAsDenied; leads@example.com not allowed to send as boss@example.com": SENDER,
    "550 5.7.515 Access denied, sending domain example.com does not meet the required authentication level": SENDER,
    # Google
    "550 5.7.26 This mail has been blocked because the sender is unauthenticated.\n5.7.26 Gmail requires": SENDER,
    "550 5.7.1 Invalid credentials for relay [192.0.2.7]. The IP address you've registered": CLIENT,
    "550 5.7.25 The IP address sending this message does not have a PTR record": CLIENT,
    "550 5.7.1 Unauthenticated email from example.com is not accepted due to domain's DMARC policy": SENDER,
    # others
    "554 Message rejected: Email address is not verified. The following identities failed: leads@example.com": SENDER,
    "550 Authentication required": LOGIN,
    "550 5.7.1 Relaying denied": RELAY,
}
THEIRS = [
    "550 5.1.1 <anna@example.org>: Recipient address rejected: User unknown in local recipient table",
    "550 5.1.1 The email account that you tried to reach does not exist",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
    "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
    "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required",
    "554 5.7.1 <anna@example.org>: Recipient address rejected: Access denied",
    "550 5.7.1 Access denied",
    "550 No such user",
    "553 5.1.3 Bad address",
    "552 5.2.2 Mailbox full",
    "552 5.3.4 Message too big",
    "554 5.7.1 Spam",
    "554 Message rejected: Email address is not verified. The following identities failed: anna@example.org",
    "450 4.7.1 <worker>: Helo command rejected: Host not found",
    "451 4.7.1 <leads@example.com>: Sender address rejected: try again",
]


def blamed(said: str) -> Fault | None:
    return fault_of(int(said[:3]), said[4:], sender_domain="example.com")


@pytest.mark.parametrize(("said", "fault"), OURS.items())
def test_what_is_said_against_who_sends(said: str, fault: Fault) -> None:
    assert blamed(said) == fault


@pytest.mark.parametrize("said", THEIRS)
def test_what_may_be_about_one_recipient_or_one_message_is_not_ours(said: str) -> None:
    assert blamed(said) is None


@pytest.mark.parametrize("fault", [SENDER, NAME, CLIENT, LOGIN, RELAY])
def test_what_is_wrong_and_its_mend_are_said_in_russian(fault: Fault) -> None:
    sentence = f"Mail server mx:25 {fault.what.format(sender='a@b.ru', name='worker')} (550). {fault.mend}"
    said = Wording.of(Language.RU).say(sentence)
    assert said.startswith("Почтовый сервер mx:25 ")
    assert not {"refuses", "wants", "Set", "Give", "Have", "passes"} & set(said.split())
