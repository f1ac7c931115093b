"""Telegram: the lead as one message of a bot (vendors.md 3).

Telegram knows no key of ours and cannot be asked what a bot has sent, so a call without an answer is not repeated
unless `on_unknown: resend` says so. What Telegram refuses it has not sent: where it says how to mend it, that is done
at once (plain text for markup that it cannot parse, the new id of a group that became a supergroup), once each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NoReturn

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from leadcast.core.errors import CredentialsError, RateLimited, RejectedError, UnknownOutcome
from leadcast.core.model import Lead, Receipt
from leadcast.core.redact import one_line
from leadcast.core.settings import Language, OnUnknown, Settings
from leadcast.integrations import telegram_text
from leadcast.integrations.answer import Answer, pause_s
from leadcast.integrations.base import Account, Call, ConnectionFields, Integration, ModelClass, RequestModel
from leadcast.integrations.templating import NEW_LEAD, TemplateName

API = "https://api.telegram.org"
TIMEOUT_S = 60.0
_PAUSE_S = 30.0
"""How long to wait after a 429 that names no time."""
_CORRECTIONS = 2
_TOKEN_REFUSED = frozenset({401, 404, 421})


def _number_or_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_CHAT_ID = r"^(?:@[A-Za-z0-9_]{1,64}|-?[0-9]{1,19})$"
ChatId = Annotated[
    str,
    BeforeValidator(_number_or_text),
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
    silent: bool = Field(default=False, description="Whether to deliver without a sound.")
    language: Language | None = Field(default=None, description="ru or en; default: the installation's.")
    on_unknown: OnUnknown | None = Field(
        default=None, description="Sent and no answer seen: hold or resend; default: the installation's."
    )


class TelegramCredentials(RequestModel):
    """Whose bot writes, and where to."""

    bot_token: BotToken
    chat_id: ChatId | None = None


class Telegram(Integration[TelegramSettings, TelegramCredentials]):
    """A lead as a message in a Telegram chat."""

    type = "telegram"
    settings_model: ClassVar[ModelClass] = TelegramSettings
    credentials_model: ClassVar[ModelClass] = TelegramCredentials

    def deliver(
        self, lead: Lead, *, settings: TelegramSettings, account: Account[TelegramCredentials], call: Call
    ) -> Receipt:
        """Sends the message. The receipt: its message id, and the chat it went to."""
        chat_id = settings.chat_id or account.credentials.chat_id
        if chat_id is None:
            raise RejectedError("No chat to write to: give chat_id in the settings or the credentials.", code="chat_id")
        message: dict[str, Any] = {
            "chat_id": chat_id,
            "text": call.templates.telegram(settings.template, lead=lead, language=settings.language),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
            "disable_notification": settings.silent,
        }
        if settings.message_thread_id is not None:
            message["message_thread_id"] = settings.message_thread_id
        answer = self._send(message, account=account, call=call)
        for _ in range(_CORRECTIONS):
            corrected = _corrected(message, answer)
            if corrected is None:
                break
            message = corrected
            answer = self._send(message, account=account, call=call)
        return _receipt(answer, message, asked_chat_id=chat_id)

    def may_resend(self, settings: TelegramSettings, leadcast: Settings) -> bool:
        """Only where the delivery or the installation says `on_unknown: resend`: people may then read a lead twice."""
        return (settings.on_unknown or leadcast.on_unknown) is OnUnknown.RESEND

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> Account[TelegramCredentials]:
        """A `telegram` connection: password = bot token, host = chat, extra `base_url` = one's own Bot API server."""
        token = connection.password.get_secret_value()
        stored = {"bot_token": token or None, "chat_id": connection.host or None}
        values = {name: value for name, value in (stored | dict(inline)).items() if value is not None}
        if "bot_token" not in values:
            raise CredentialsError(
                f"Connection {connection.conn_id!r} has no password: the bot's token from @BotFather.", code="password"
            )
        base_url = str(connection.extra.get("base_url") or "")
        if base_url and not base_url.startswith(("https://", "http://")):
            raise CredentialsError(
                f"Connection {connection.conn_id!r}: base_url must begin with https:// or http://.", code="base_url"
            )
        try:
            credentials = TelegramCredentials.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = {"bot_token": "password", "chat_id": "host"}.get(str(first["loc"][0]), str(first["loc"][0]))
            raise CredentialsError(f"Connection {connection.conn_id!r}: {field}: {first['msg']}.", code=field) from None
        return Account(credentials=credentials, base_url=base_url)

    @staticmethod
    def _send(message: Mapping[str, Any], *, account: Account[TelegramCredentials], call: Call) -> Answer:
        base, token = (account.base_url or API).rstrip("/"), account.credentials.bot_token.get_secret_value()
        return call.egress.send(
            "POST", f"{base}/bot{token}/sendMessage", json=message, timeout_s=min(TIMEOUT_S, call.timeout_s)
        )


def _corrected(message: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:
    """The message as Telegram would take it, or None. What it refused with 400 was not sent (vendors.md 3.3, 3.4)."""
    if answer.status != 400:
        return None
    new_chat_id = _parameters(answer).get("migrate_to_chat_id")
    if isinstance(new_chat_id, int) and new_chat_id != message["chat_id"]:
        return {**message, "chat_id": new_chat_id}
    if "parse_mode" in message and "can't parse entities" in _description(answer):
        plain = {**message, "text": telegram_text.visible(message["text"])}
        del plain["parse_mode"]
        return plain
    return None


def _receipt(answer: Answer, message: Mapping[str, Any], *, asked_chat_id: str) -> Receipt:
    if answer.status != 200:
        _refuse(answer)
    body = answer.json()
    result = body.get("result") if isinstance(body, dict) else None
    message_id = result.get("message_id") if isinstance(result, dict) else None
    if message_id is None:
        raise UnknownOutcome("Telegram answered 200 without a message id; the message may have been sent.", code="200")
    detail: dict[str, Any] = {"chat_id": asked_chat_id}
    if message["chat_id"] != asked_chat_id:
        detail["migrated_to_chat_id"] = message["chat_id"]
    if "parse_mode" not in message:
        detail["as_plain_text"] = True
    return Receipt(external_id=str(message_id), detail=detail)


def _refuse(answer: Answer) -> NoReturn:
    """Raises what the status means (vendors.md 3.4)."""
    status, detail = answer.status, one_line(_description(answer))
    if status >= 500 or status < 300:
        raise UnknownOutcome(
            f"Telegram answered {status}; the message may have been sent.", code=str(status), detail=detail
        )
    if status == 429:
        asked_s = pause_s(_parameters(answer).get("retry_after"))
        if asked_s is None:
            asked_s = answer.retry_after_s()
        raise RateLimited(
            "Telegram asks to send more slowly.", retry_after_s=_PAUSE_S if asked_s is None else asked_s, detail=detail
        )
    if status in _TOKEN_REFUSED:
        raise CredentialsError(
            "Telegram does not know this bot: check the token from @BotFather.", code=str(status), detail=detail
        )
    raise RejectedError(f"Telegram refuses the message: {detail or status}.", code=str(status), detail=detail)


def _description(answer: Answer) -> str:
    body = answer.json()
    return str(body.get("description", "")) if isinstance(body, dict) else ""


def _parameters(answer: Answer) -> Mapping[str, Any]:
    body = answer.json()
    parameters = body.get("parameters") if isinstance(body, dict) else None
    return parameters if isinstance(parameters, dict) else {}
