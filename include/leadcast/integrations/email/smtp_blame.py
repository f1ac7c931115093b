"""Whose fault a lasting refusal (5yz) is: the recipient's or the message's, or that of who sends, whatever the lead.

Postfix keeps what it has against sender, client, name and relaying until the first recipient is named
(`smtpd_delay_reject`, its default); Amazon SES and Exchange say it after the message. It is judged by the enhanced
status code (RFC 3463, RFC 7372, and Exchange's own), and where that is a general one by the words that these servers
use. What is not known here is not about the account.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENHANCED = re.compile(r"5\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")


@dataclass(frozen=True)
class Fault:
    """What is wrong with who sends. `{sender}` and `{name}` are filled in.

    mend: what to do about it.
    for_all: it would be said of every lead; without, perhaps only of these recipients.
    """

    what: str
    mend: str
    for_all: bool = True


SENDER = Fault(
    "refuses the sender {sender}",
    "Set from_email in the connection's extra to an address that this login may use and that is confirmed there.",
)
NAME = Fault(
    "refuses the name that we say to it, {name}",
    "Set smtp_ehlo_name, or ehlo_name in the connection's extra, to this machine's full name.",
)
CLIENT = Fault("refuses this machine", "Have its address let in there, or give the connection a login.")
LOGIN = Fault("wants a login", "Set login and password in the connection, and TLS.")
RELAY = Fault(
    "passes nothing on to these recipients for us",
    "Give the connection a login, or use a mail server that may write to them.",
    for_all=False,
)

_BY_STATUS = {
    **dict.fromkeys(("5.1.7", "5.1.8", "5.2.252", "5.7.20", "5.7.21", "5.7.22", "5.7.23", "5.7.26", "5.7.27"), SENDER),
    **dict.fromkeys(("5.7.60", "5.7.509", "5.7.515"), SENDER),
    "5.7.25": CLIENT,
    **dict.fromkeys(("5.7.8", "5.7.57"), LOGIN),
    **dict.fromkeys(("5.7.54", "5.7.64"), RELAY),
}
_RECIPIENTS = re.compile(r"5\.1\.(?:[1-6]|10)|5\.2\.[0-4]|5\.3\.4|5\.7\.13[0-9]")
"""About a mailbox, the message's size, or who may write to a group: never about us."""
_RECIPIENTS_WORDS = ("recipient address rejected", "user unknown", "resolver.rst")
_BY_WORDS = (
    (NAME, ("helo command rejected", "need fully-qualified hostname", "invalid helo", "invalid ehlo", "bad helo")),
    (CLIENT, ("client host", "no reverse dns", "invalid credentials for relay")),
    (
        SENDER,
        (
            *("sender address rejected", "sender rejected", "sender verify failed", "address is not verified"),
            *("not allowed to send", "not permitted to send", "not authorized to send", "sendasdenied", "dmarc"),
        ),
    ),
    (LOGIN, ("authentication required", "authentication is required", "must authenticate", "not authenticated")),
    (RELAY, ("relay access denied", "relaying denied", "relay not permitted", "unable to relay", "not relay")),
)


def fault_of(code: int, text: str, *, sender_domain: str) -> Fault | None:
    """What a reply has against who sends; None: it may be about this recipient or this message."""
    if not 500 <= code < 600:
        return None
    words = text.casefold()
    status = _ENHANCED.match(words)
    if (status and _RECIPIENTS.fullmatch(status[0])) or any(sign in words for sign in _RECIPIENTS_WORDS):
        return None
    if status and status[0] in _BY_STATUS:
        return _BY_STATUS[status[0]]
    if "address is not verified" in words and "@" in words and f"@{sender_domain.casefold()}" not in words:
        return None  # SES's beginners may write to confirmed recipients only, and it names who is none
    return next((fault for fault, signs in _BY_WORDS if any(sign in words for sign in signs)), None)
