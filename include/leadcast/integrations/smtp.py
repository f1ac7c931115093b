"""The mail transport: one message to a mail server, once, with every outcome told apart (vendors.md 5).

Airflow's SmtpHook sends again whatever went wrong, even what may have arrived, and drops what the server says about
each recipient (vendors.md 7). So the connection is Airflow's and the dialogue is ours, on `smtplib`.

All recipients go into one transaction. SMTP then asks about each of them before anything is sent (RCPT), and takes the
message for all of them with one answer (after the final dot): there is no state in which some have got it and others
are still to be tried, so a repeated attempt mails nobody twice.
"""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from email import policy
from email.message import EmailMessage
from threading import Timer

from leadcast.core.errors import Blocked, CredentialsError, UnknownOutcome
from leadcast.core.redact import masked_email
from leadcast.integrations.mail_server import MailServer, TlsMode, mail_address
from leadcast.integrations.smtp_replies import (
    ABOUT_US,
    Refusal,
    failure,
    is_taken,
    masked,
    not_taken,
    nothing_sent,
    words,
)

__all__ = ["MailServer", "Refusal", "TlsMode", "mail_address", "masked", "send"]

FINAL_DOT_TIMEOUT_S = 120.0
"""How long to wait for the server to confirm a message: too short a wait makes duplicates (vendors.md 5.2)."""
_GOODBYE_TIMEOUT_S = 5.0
_TOO_BIG = 552


def send(
    server: MailServer,
    message: EmailMessage,
    recipients: Sequence[str],
    *,
    all_or_none: bool = False,
    timeout_s: float = 300.0,
) -> dict[str, Refusal]:
    """Sends the message once, to all recipients that the server takes.

    Args:
        recipients: addresses, as `mail_address` returns them.
        all_or_none: while the server puts one recipient off (4yz), send to none: the next attempt mails all of them.
        timeout_s: for the whole dialogue.

    Returns:
        The recipients that were refused or put off. The message was accepted for all others, and for at least one.

    Raises:
        TransientError: nobody was mailed: no connection, or the server says later (4yz).
        CredentialsError: the server refuses our login or our sender.
        RejectedError: it refuses the message, or every recipient (5yz).
        UnknownOutcome: the message went out, and no answer came.
        Blocked: the server offers no TLS, and the connection does not allow to send without.
    """
    letter = message.as_bytes(policy=policy.SMTP)
    with _session(server, timeout_s=timeout_s) as client:
        with nothing_sent(server):
            _offer_sender(client, server, size_bytes=len(letter))
            refused = _offer_recipients(client, server, recipients)
        to_wait_for = all_or_none and any(refusal.may_pass for refusal in refused.values())
        if to_wait_for or len(refused) == len(recipients):
            raise not_taken(refused, total=len(recipients))
        _transfer(client, server, letter)
    return refused


@contextmanager
def _session(server: MailServer, *, timeout_s: float) -> Iterator[smtplib.SMTP]:
    """A client that is connected, secured and logged in; whatever happens, it hangs up in the end."""
    with nothing_sent(server):
        client = _connected(server)
    alarm = Timer(timeout_s, _hang_up, [client])
    alarm.daemon = True
    alarm.start()
    try:
        with nothing_sent(server):
            _secure(client, server)
            _log_in(client, server)
        yield client
        # The outcome is known by now, so trouble in saying goodbye is nobody's.
        with suppress(smtplib.SMTPException, OSError):
            _wait_at_most(client, _GOODBYE_TIMEOUT_S)
            client.quit()
    finally:
        alarm.cancel()
        alarm.join()  # it must not touch the socket's number once somebody else has it
        client.close()


def _hang_up(client: smtplib.SMTP) -> None:
    if client.sock is not None:
        with suppress(OSError):
            # not SSLSocket.shutdown: that one drops the TLS layer under the thread which is reading
            socket.socket.shutdown(client.sock, socket.SHUT_RDWR)


def _wait_at_most(client: smtplib.SMTP, timeout_s: float) -> None:
    if client.sock is not None:
        client.sock.settimeout(timeout_s)


def _connected(server: MailServer) -> smtplib.SMTP:
    if server.mode is TlsMode.TLS:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout_s, context=server.tls_context())
    return smtplib.SMTP(server.host, server.port, timeout=server.timeout_s)


def _secure(client: smtplib.SMTP, server: MailServer) -> None:
    client.ehlo_or_helo_if_needed()
    if server.mode is not TlsMode.STARTTLS:
        return
    if not client.has_extn("starttls"):
        raise Blocked(
            f"Mail server {server} offers no STARTTLS; nothing was sent in clear. Only if the way to it is safe: "
            "set disable_tls in the connection's extra.",
            code="no_starttls",
        )
    client.starttls(context=server.tls_context())
    client.ehlo_or_helo_if_needed()


def _log_in(client: smtplib.SMTP, server: MailServer) -> None:
    password = server.password.get_secret_value()
    if not (server.user and password):
        return
    try:
        client.login(server.user, password)
    except smtplib.SMTPResponseException as error:
        raise failure(server, "does not take our login", error.smtp_code, error.smtp_error) from None
    except smtplib.SMTPServerDisconnected:
        raise
    except (smtplib.SMTPException, UnicodeEncodeError):
        # it offers no AUTH at all, or no kind that we speak
        raise CredentialsError(
            f"Mail server {server} offers no login with a password; remove the connection's login, or enable TLS.",
            code="no_auth",
        ) from None


def _offer_sender(client: smtplib.SMTP, server: MailServer, *, size_bytes: int) -> None:
    options = [f"size={size_bytes}"] if client.has_extn("size") else []
    code, reply = client.mail(server.sender.addr_spec, options)
    if is_taken(code):
        return
    if code < 500 or code in ABOUT_US or code == _TOO_BIG:
        raise failure(server, "does not take the message", code, reply)
    # Every message of this account would fare alike: the sender must be one that the login may use.
    raise CredentialsError(
        f"Mail server {server} refuses the sender {server.sender.addr_spec}; set from_email in the connection's extra.",
        code=str(code),
        detail=words(server, reply),
    )


def _offer_recipients(client: smtplib.SMTP, server: MailServer, recipients: Sequence[str]) -> dict[str, Refusal]:
    refused: dict[str, Refusal] = {}
    for recipient in recipients:
        code, reply = client.rcpt(recipient)
        if code == 421 or code in ABOUT_US:  # about the connection or the login, not about this recipient
            raise failure(server, "does not take the message", code, reply)
        if not is_taken(code):
            refused[recipient] = Refusal(code, words(server, reply).replace(recipient, masked_email(recipient)))
    return refused


def _transfer(client: smtplib.SMTP, server: MailServer, letter: bytes) -> None:
    try:
        _wait_at_most(client, max(server.timeout_s, FINAL_DOT_TIMEOUT_S))
        code, reply = client.data(letter)
    except smtplib.SMTPDataError as error:  # it did not even let us begin
        raise failure(server, "does not take the message", error.smtp_code, error.smtp_error) from None
    except (smtplib.SMTPException, OSError):
        code, reply = -1, b""
    if code < 0:
        raise UnknownOutcome(
            f"Mail server {server} broke off before it had confirmed the message; it may have taken it.",
            code="no_answer",
        )
    if not is_taken(code):
        raise failure(server, "does not take the message", code, reply)
