"""What a request may say about Telegram: the message, and whose bot writes it where (vendors.md 3.1, 3.2)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, WithJsonSchema

from leadcast.core.setting_choices import Language, OnUnknown
from leadcast.integrations.base import RequestModel
from leadcast.integrations.text.mapping import Fields
from leadcast.integrations.text.templating import NEW_LEAD, TemplateName

_CHAT_ID = r"^(?:@[A-Za-z0-9_]{1,64}|-?[0-9]{1,19})$"
ChatId = Annotated[
    str,
    StringConstraints(pattern=_CHAT_ID),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": _CHAT_ID}]}),
]
"""A chat: its number, or `@name` of a public channel or group."""


def _check_token(token: SecretStr) -> SecretStr:
    # It becomes part of a URL, so nothing that means something there.
    if not re.fullmatch(r"[A-Za-z0-9:_-]{1,128}", token.get_secret_value()):
        raise ValueError("must be a bot's token: letters, digits and : _ -")
    return token


BotToken = Annotated[SecretStr, AfterValidator(_check_token)]


class TelegramSettings(RequestModel):
    """What a request may say about one message. What is set here wins over the credentials."""

    chat_id: ChatId | None = Field(default=None, description="The chat; default: the one of the credentials.")
    template: TemplateName = Field(default=NEW_LEAD, description="Name of the template.")
    message_thread_id: int | None = Field(default=None, ge=1, description="Topic of a forum.")
    fields: Fields = Field(
        default_factory=dict, description="Label → text with placeholders, shown instead of the lead's custom fields."
    )
    silent: bool = Field(default=False, description="Whether to deliver without a sound.")
    language: Language | None = Field(default=None, description="ru or en; default: the installation's.")
    on_unknown: OnUnknown | None = Field(
        default=None, description="Sent and no answer seen: hold or resend; default: the installation's."
    )


class TelegramCredentials(RequestModel):
    """Whose bot writes, and where to."""

    bot_token: BotToken
    chat_id: ChatId | None = None
