"""E-mail: the lead as one message to up to 50 addresses, through the mail server of an Airflow connection.

Nothing twice: all recipients are one transaction, and while the server puts one of them off, nobody is mailed
(`smtp.send`), so a repeated attempt reaches nobody for the second time. Nothing lost: on the last attempt those whom
the server takes are mailed all the same, and the receipt names the others. Only an answer lost after the message was
sent leaves doubt; it is repeated under the same `Message-ID`, which many mailboxes recognise (vendors.md 5.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from leadcast.core.errors import CredentialsError, SettingsError
from leadcast.core.model import Lead, Receipt
from leadcast.core.settings import Language
from leadcast.integrations import smtp
from leadcast.integrations.base import Account, Call, ConnectionFields, Integration, ModelClass, RequestModel
from leadcast.integrations.mail_server import MailServer, header_text, mail_address
from leadcast.integrations.templating import MAX_LINE_CHARS, NEW_LEAD, EmailText, Line, TemplateName

MAX_RECIPIENTS = 50
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9._-]")

MailAddress = Annotated[str, StringConstraints(max_length=320), AfterValidator(mail_address)]


def _each_once(addresses: tuple[str, ...]) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for address in addresses:
        seen.setdefault(address.lower(), address)
    return tuple(seen.values())


class EmailSettings(RequestModel):
    """What a request may say about one e-mail. What is set here wins over the credentials."""

    template: TemplateName | None = Field(default=None, description="Name of the template; default new_lead.")
    subject: Line | None = Field(default=None, description="Subject with placeholders: New lead: {lead_name}")
    language: Language | None = Field(default=None, description="ru or en; default: the installation's.")
    reply_to_lead: bool = Field(default=True, description="Whether an answer goes to the lead's own address.")


class EmailCredentials(RequestModel):
    """Who is written to. The mail server is an Airflow connection's, never the caller's."""

    emails: Annotated[tuple[MailAddress, ...], AfterValidator(_each_once)] = Field(
        min_length=1, max_length=MAX_RECIPIENTS, description="Recipients."
    )
    template: TemplateName = NEW_LEAD
    subject: Line = ""


@dataclass(frozen=True, kw_only=True)
class EmailAccount(Account[EmailCredentials]):
    """The recipients with the mail server to send through."""

    server: MailServer

    def secrets(self) -> list[str]:
        """The mail server's password."""
        return [*super().secrets(), self.server.password.get_secret_value()]


class Email(Integration[EmailSettings, EmailCredentials]):
    """A lead by e-mail."""

    type = "email"
    default_conn_id = "smtp_default"
    needs_connection = True
    repeatable = True
    settings_model: ClassVar[ModelClass] = EmailSettings
    credentials_model: ClassVar[ModelClass] = EmailCredentials

    def deliver(
        self, lead: Lead, *, settings: EmailSettings, account: Account[EmailCredentials], call: Call
    ) -> Receipt:
        """Sends the message. The receipt: its Message-ID, how many recipients were taken, and who was refused."""
        if not isinstance(account, EmailAccount):
            raise SettingsError("E-mail needs the connection of a mail server, such as smtp_default.")
        recipients = account.credentials.emails
        message = _message(lead, settings=settings, account=account, call=call)
        refused = smtp.send(
            account.server, message, recipients, all_or_none=not call.last_try, timeout_s=call.timeout_s
        )
        return Receipt(
            external_id=message["Message-ID"],
            detail={"accepted": len(recipients) - len(refused), "refused": smtp.masked(refused)},
        )

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> EmailAccount:
        """The mail server of an `smtp` connection; recipients from the request, or else from extra `emails`.

        Extra may also hold `template` and `subject`. `emails` is a list, or text with commas.
        """
        stored = {name: connection.extra[name] for name in EmailCredentials.model_fields if name in connection.extra}
        if isinstance(stored.get("emails"), str):
            stored["emails"] = [part for part in re.split(r"[,;\s]+", stored["emails"]) if part]
        values = stored | dict(inline)
        if not values.get("emails"):
            raise CredentialsError(
                f"No recipients: give credentials.email.emails, or emails in the extra of {connection.conn_id!r}.",
                code="emails",
            )
        try:
            credentials = EmailCredentials.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CredentialsError(f"Connection {connection.conn_id!r}: {where}: {first['msg']}.", code=where) from None
        return EmailAccount(credentials=credentials, server=MailServer.from_connection(connection))


def _message(lead: Lead, *, settings: EmailSettings, account: EmailAccount, call: Call) -> EmailMessage:
    credentials, sender = account.credentials, account.server.sender
    text = call.templates.email(
        settings.template or credentials.template,
        lead=lead,
        subject=credentials.subject if settings.subject is None else settings.subject,
        language=settings.language,
    )
    message = EmailMessage()
    # The same on every attempt, to the letter.
    message["Message-ID"] = f"<{_NOT_IN_AN_ID.sub('-', call.key)}@{sender.domain}>"
    message["Date"] = call.accepted_at
    message["From"] = sender
    message["To"] = [Address(addr_spec=address) for address in credentials.emails]
    message["Auto-Submitted"] = "auto-generated"
    if settings.reply_to_lead:
        _answer_to(message, lead)
    fill(message, text)
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
