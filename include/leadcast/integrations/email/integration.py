"""E-mail: the lead as one message to up to 50 addresses, through the mail server of an Airflow connection.

Nobody waits for a mailbox that is put off, and nobody is mailed twice: an attempt mails those whom the server takes,
who they are is kept at once (`progress`), and the next one mails those who are left. What the server puts off
(4yz: greylisting, a full mailbox, too many recipients at once, a busy server) uses no try, since it takes minutes and
our tries do not last so long; that the server cannot be reached does. Only an answer lost after the message was sent
leaves doubt; it is repeated under the same `Message-ID`, which many mailboxes recognise (vendors.md 5.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from leadcast.core.digest import digest
from leadcast.core.errors import LEASE_OVER, CredentialsError, SettingsError, TransientError
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email import smtp
from leadcast.integrations.email.headers import INTACT
from leadcast.integrations.email.progress import Progress
from leadcast.integrations.email.server import MailServer, header_text
from leadcast.integrations.email.settings import EmailCredentials, EmailSettings
from leadcast.integrations.email.token import with_token
from leadcast.integrations.http.deadline import Deadline
from leadcast.integrations.text.addresses import mail_address
from leadcast.integrations.text.caller_lines import MAX_LINE_CHARS
from leadcast.integrations.text.mapping import filled
from leadcast.integrations.text.templating import EmailText

_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, kw_only=True)
class EmailAccount(Account[EmailCredentials]):
    """The recipients with the mail server to send through."""

    server: MailServer

    def secrets(self) -> list[str]:
        """The mail server's password, or what it has instead."""
        return [*super().secrets(), *self.server.secrets()]


class Email(Integration[EmailSettings, EmailCredentials]):
    """A lead by e-mail."""

    type = "email"
    # the second is what Airflow's own pages on its e-mail say
    connection_types = ("smtp", "smtps", "email")
    # its mail server is the connection's, and whom to write to is no secret
    beside_connection = None
    default_conn_id = "smtp_default"
    needs_connection = True
    repeatable = True
    can_probe = True

    def identity(self, account: Account[EmailCredentials]) -> Sequence[str]:
        """The mail server and who signs in there. Recipients are no account's."""
        server = _server_of(account)
        return (server.place, server.user, *server.secrets())

    def label(self, account: Account[EmailCredentials]) -> str:
        """The mail server's name."""
        return _server_of(account).host

    def deliver(
        self, lead: Lead, *, settings: EmailSettings, account: Account[EmailCredentials], call: Call
    ) -> Receipt:
        """Mails those who have not got it yet. The receipt: the Message-ID, how many have it, and who was refused."""
        server = _server_of(account).told(call.settings.smtp_ehlo_name)
        message = _message(lead, settings=settings, credentials=account.credentials, server=server, call=call)
        progress = Progress(account.credentials.emails, call=call, message_id=message["Message-ID"])
        deadline = Deadline(call.timeout_s)

        def mail(server: MailServer) -> smtp.Sent:
            call.pace()
            return smtp.send(
                server,
                message,
                progress.left,
                answered=progress.keep,
                check=call.check_lease,
                timeout_s=deadline.left_s(call.timeout_s),
            )

        if progress.left:
            try:
                sent = with_token(server, call=call, use=mail)
            except TransientError as error:
                error.so_far = progress.so_far(dict.fromkeys(progress.left, error.code))
                if not error.counts and error.retry_after_s is None and error.code != LEASE_OVER:
                    error.retry_after_s = progress.next_pause_s()
                raise
            if sent.put_off:
                raise progress.to_be_continued(sent)
        return progress.ended()

    def probe(self, account: Account[EmailCredentials], *, call: Call) -> str:
        """Connects, secures and signs in; nobody is mailed. A token is fetched anew: that uses nothing up."""
        server = _server_of(account).told(call.settings.smtp_ehlo_name)
        if server.oauth2 is not None and not server.oauth2.is_given:
            server = server.with_token(server.oauth2.fetched(call.egress, timeout_s=call.timeout_s / 2))
        call.pace()
        smtp.sign_in(server, timeout_s=call.timeout_s / 2)
        who = f"as {server.identity}" if server.signs_in else "without a login"
        sender = server.sender.addr_spec
        return f"Mail server {server.place} lets us in {who}; letters go out from {sender}. Nobody was mailed."

    @classmethod
    def credentials_in(cls, connection: ConnectionFields) -> dict[str, Any]:
        """Extra may hold `emails`, a list, or text with commas or blanks; `template` and `subject`."""
        in_extra = super().credentials_in(connection)
        if isinstance(emails := in_extra.get("emails"), str):
            in_extra["emails"] = [part for part in re.split(r"[,;\s]+", emails) if part]
        return in_extra

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> EmailAccount:
        """The mail server of an `smtp` connection; recipients from the request, or else from its extra."""
        if not (cls.credentials_in(connection) | dict(inline)).get("emails"):
            raise CredentialsError(
                f"No recipients: give credentials.email.emails, or emails in the extra of {connection.conn_id!r}.",
                code="emails",
            )
        credentials = super().from_connection(connection, inline).credentials
        return EmailAccount(credentials=credentials, server=MailServer.from_connection(connection))


def _server_of(account: Account[EmailCredentials]) -> MailServer:
    if not isinstance(account, EmailAccount):
        raise SettingsError("E-mail needs the connection of a mail server, such as smtp_default.")
    return account.server


def _message(
    lead: Lead, *, settings: EmailSettings, credentials: EmailCredentials, server: MailServer, call: Call
) -> EmailMessage:
    """The same on every attempt, to the byte."""
    shown = replace(lead, custom=filled(settings.fields, lead=lead)) if settings.fields else lead
    text = call.templates.email(
        settings.template or credentials.template,
        lead=shown,
        subject=credentials.subject if settings.subject is None else settings.subject,
        language=settings.language,
        own_labels=bool(settings.fields),
    )
    message = EmailMessage(policy=INTACT)
    message["Message-ID"] = f"<{_NOT_IN_AN_ID.sub('-', call.key)}@{server.sender.domain}>"
    message["Date"] = call.accepted_at
    message["From"] = server.sender
    message["To"] = [Address(addr_spec=address) for address in credentials.emails]
    message["Auto-Submitted"] = "auto-generated"
    if settings.reply_to_lead:
        _answer_to(message, lead)
    fill(message, text)
    if message.is_multipart():
        # "=_" stands in neither of the two encodings, so no lead can end a part
        message.set_boundary(f"=_{digest(call.key, chars=32)}")
    return message


def _answer_to(message: EmailMessage, lead: Lead) -> None:
    # The lead wrote its address itself: what is not exactly one is left out.
    with suppress(ValueError):
        message["Reply-To"] = Address(
            display_name=header_text(lead.name, limit=100), addr_spec=mail_address(lead.email)
        )


def fill(message: EmailMessage, text: EmailText) -> None:
    """Puts the words into a message: subject, text, and HTML where there is some."""
    message["Subject"] = header_text(text.subject, limit=MAX_LINE_CHARS)
    message.set_content(text.text, cte=_encoding(text.text))
    if text.html:
        message.add_alternative(text.html, subtype="html", cte=_encoding(text.html))


def _encoding(body: str) -> str:
    """Every server takes 7 bits; Cyrillic is shorter in base64."""
    return "quoted-printable" if body.isascii() else "base64"
