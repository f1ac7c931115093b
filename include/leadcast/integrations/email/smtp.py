"""The mail transport: one message to a mail server, once, with every outcome told apart (vendors.md 5).

Airflow's SmtpHook sends again whatever went wrong, even what may have arrived, and drops what the server says about
each recipient (vendors.md 7). So the connection is Airflow's and the dialogue is ours, on `smtplib`.

All recipients go into one transaction. SMTP asks about each of them before anything is sent (RCPT), and takes the
message for those who passed with one answer (after the final dot). Who did not pass is for another time, or for good.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage

from leadcast.core.errors import UnknownOutcome
from leadcast.integrations.email.server import MailServer, TlsMode
from leadcast.integrations.email.smtp_blame import SENDER
from leadcast.integrations.email.smtp_replies import (
    ABOUT_US,
    PUT_OFF,
    Refusal,
    against_us,
    failure,
    fault_in_all,
    is_later,
    is_refused,
    is_taken,
    masked,
    not_taken,
    nothing_sent,
    words,
)
from leadcast.integrations.email.smtp_session import session, wait_at_most
from leadcast.integrations.text.addresses import mail_address

__all__ = ["MailServer", "Refusal", "Sent", "TlsMode", "mail_address", "masked", "send", "sign_in"]

FINAL_DOT_TIMEOUT_S = 120.0
"""How long to wait for the server to confirm a message: too short a wait makes duplicates (vendors.md 5.2)."""
_GO_ON, _CLOSING, _TOO_BIG, _TOO_MANY = 354, 421, 552, 452
_FIRST_DOT = re.compile(rb"^\.", re.MULTILINE)


@dataclass(frozen=True)
class Sent:
    """What came of one message. `taken`: it was accepted for them; `left`: what was said of the others."""

    taken: tuple[str, ...]
    left: Mapping[str, Refusal] = field(default_factory=dict)

    @property
    def put_off(self) -> dict[str, Refusal]:
        """Those who may be mailed later."""
        return {address: refusal for address, refusal in self.left.items() if refusal.may_pass}

    @property
    def refused(self) -> dict[str, Refusal]:
        """Those who never will be."""
        return {address: refusal for address, refusal in self.left.items() if not refusal.may_pass}

    def check(self) -> None:
        """For who does not mind that some have not got it.

        Raises:
            TransientError, RejectedError: nobody has.
        """
        if not self.taken:
            raise not_taken(self.left, total=len(self.left))


def _unheard(sent: Sent) -> None:
    pass


def _unchecked() -> None:
    pass


def send(
    server: MailServer,
    message: EmailMessage,
    recipients: Sequence[str],
    *,
    answered: Callable[[Sent], None] = _unheard,
    check: Callable[[], None] = _unchecked,
    timeout_s: float = 300.0,
) -> Sent:
    """Sends the message once, to all recipients that the server takes. It may be that it takes none.

    Args:
        recipients: addresses, as `mail_address` returns them.
        answered: told the outcome as soon as it is known, before saying goodbye.
        check: called right before the message itself is sent; what it raises ends the dialogue, and nobody was mailed.
        timeout_s: for the whole dialogue.

    Raises:
        TransientError: nobody was mailed: no connection, or the server says later to all of it.
        CredentialsError: the server refuses our login, our sender, our name or this machine.
        RejectedError: it refuses the message before it has asked for whom (too big, say).
        UnknownOutcome: the message went out, and no answer came, or one that is neither yes nor no.
        Blocked: the server offers no TLS, and the connection does not allow to send without.
    """
    letter = message.as_bytes(policy=policy.SMTP)
    with session(server, timeout_s=timeout_s) as client:
        with nothing_sent(server):
            put_off = _offer_sender(client, server, size_bytes=len(letter))
            left = dict.fromkeys(recipients, put_off) if put_off else _offer_recipients(client, server, recipients)
        taken = tuple(recipient for recipient in recipients if recipient not in left)
        refusal = _transferred(client, server, letter, check=check) if taken else None
        sent = Sent(taken, left) if refusal is None else Sent((), {**left, **dict.fromkeys(taken, refusal)})
        answered(sent)
    return sent


def sign_in(server: MailServer, *, timeout_s: float) -> None:
    """Connects, secures, signs in and says goodbye; nothing is sent. Raises as `send`."""
    with session(server, timeout_s=timeout_s) as client, nothing_sent(server):
        code, reply = client.noop()
        if not is_taken(code):
            raise failure(server, "does not talk to us", code, reply)


def _offer_sender(client: smtplib.SMTP, server: MailServer, *, size_bytes: int) -> Refusal | None:
    """None: it takes a message from us. A refusal: not yet, as a server that greylists or throttles senders says."""
    options = [f"size={size_bytes}"] if client.has_extn("size") else []
    code, reply = client.mail(server.sender.addr_spec, options)
    if is_taken(code):
        return None
    if code in PUT_OFF:
        return Refusal.of(server, code, reply)
    if not is_refused(code) or code in ABOUT_US or code == _TOO_BIG:
        raise failure(server, "does not take the message", code, reply)
    # every message of this account would fare alike
    refusal = Refusal.of(server, code, reply)
    raise against_us(server, refusal.fault or SENDER, refusal)


def _offer_recipients(client: smtplib.SMTP, server: MailServer, recipients: Sequence[str]) -> dict[str, Refusal]:
    """Who is not taken, and why. What all of them hear alike against who sends is ours, and not theirs."""
    left: dict[str, Refusal] = {}
    for asked, recipient in enumerate(recipients):
        try:
            code, reply = client.rcpt(recipient)
        except smtplib.SMTPException:
            _check_ours(server, left, asked)
            raise
        if code == _TOO_BIG and asked > len(left):
            code = _TOO_MANY  # how servers used to say it (RFC 5321 4.5.3.1.10); alone, it will hear what it was
        if code == _CLOSING or code in ABOUT_US:  # about the connection or the login, not about this recipient
            _check_ours(server, left, asked)
            raise failure(server, "does not take the message", code, reply)
        if not is_taken(code):
            left[recipient] = Refusal.of(server, code, reply)
    _check_ours(server, left, len(recipients))
    return left


def _check_ours(server: MailServer, left: Mapping[str, Refusal], asked: int) -> None:
    """Raises what the server has against us, if all that were asked have heard it. After some refusals it may have hung
    up (Postfix's smtpd_hard_error_limit): they were why."""
    fault = fault_in_all(left) if len(left) == asked else None
    if fault is not None:
        raise against_us(server, fault, next(iter(left.values())))


def _transferred(
    client: smtplib.SMTP, server: MailServer, letter: bytes, *, check: Callable[[], None]
) -> Refusal | None:
    """None: the server has taken the message for all who passed."""
    wait_at_most(client, max(server.timeout_s, FINAL_DOT_TIMEOUT_S))
    code: int
    reply: bytes | str
    # not `client.data`, which does not tell whether it broke off before the message or after
    with nothing_sent(server):
        code, reply = client.docmd("data")
    if code == _GO_ON:
        try:
            check()
        except BaseException:
            client.close()  # without its last dot it is no message
            raise
        code, reply = _answer_to(client, letter)
        if code < 0:
            raise UnknownOutcome(
                f"Mail server {server} broke off before it had confirmed the message; it may have taken it.",
                code="no_answer",
            )
        if is_taken(code):
            return None
        if not is_later(code) and not is_refused(code):
            raise UnknownOutcome(
                f"Mail server {server} answered {code} to the message; it may have taken it.",
                code=str(code),
                detail=words(server, reply),
            )
    if code in ABOUT_US or not (is_refused(code) or code in PUT_OFF):
        raise failure(server, "does not take the message", code, reply)
    refusal = Refusal.of(server, code, reply)
    if refusal.fault:
        raise against_us(server, refusal.fault, refusal)
    return refusal


def _answer_to(client: smtplib.SMTP, letter: bytes) -> tuple[int, bytes | str]:
    """What the server says to the message, or a code below 0: nothing, and it may have it all the same."""
    end = b".\r\n" if letter.endswith(b"\r\n") else b"\r\n.\r\n"
    try:
        client.send(_FIRST_DOT.sub(b"..", letter) + end)
    except smtplib.SMTPResponseException as error:  # said before the end of the message: it does not have it
        return error.smtp_code, error.smtp_error
    except (smtplib.SMTPException, OSError):
        return -1, b""
    try:
        return client.getreply()
    except (smtplib.SMTPException, OSError):
        return -1, b""
