"""What a request may say about an e-mail: the letter, and who gets it. The mail server is none of its business."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from leadcast.core.setting_choices import Language
from leadcast.integrations.base import RequestModel
from leadcast.integrations.text.addresses import mail_address
from leadcast.integrations.text.caller_lines import Line
from leadcast.integrations.text.mapping import Fields
from leadcast.integrations.text.templating import NEW_LEAD, TemplateName

MAX_RECIPIENTS = 50

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
    fields: Fields = Field(
        default_factory=dict, description="Label → text with placeholders, shown instead of the lead's custom fields."
    )
    language: Language | None = Field(default=None, description="ru or en; default: the installation's.")
    reply_to_lead: bool = Field(default=True, description="Whether an answer goes to the lead's own address.")


class EmailCredentials(RequestModel):
    """Who is written to. The mail server is an Airflow connection's, never the caller's."""

    emails: Annotated[tuple[MailAddress, ...], AfterValidator(_each_once)] = Field(
        min_length=1, max_length=MAX_RECIPIENTS, description="Recipients."
    )
    template: TemplateName = NEW_LEAD
    subject: Line = ""
