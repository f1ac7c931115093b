"""Telegram: the lead as one message of a bot (vendors.md 3).

Telegram knows no key of ours and cannot be asked what a bot has sent, so a call without an answer is not repeated
unless `on_unknown: resend` says so. What Telegram refuses it has not sent: where it is plain how to mend that, it is
done at once, each mend once (`mends`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from leadcast.core.digest import digest
from leadcast.core.errors import UnknownOutcome, Unsendable
from leadcast.core.limits import Limit
from leadcast.core.model import Lead, Receipt
from leadcast.core.redact import one_line
from leadcast.core.setting_choices import OnUnknown
from leadcast.core.settings import Settings
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.connection import InConnection
from leadcast.integrations.telegram.api import API, BotApi, id_of, refusal
from leadcast.integrations.telegram.mends import Mender
from leadcast.integrations.telegram.settings import TelegramCredentials, TelegramSettings
from leadcast.integrations.telegram.text import message_about
from leadcast.integrations.text.mapping import filled

GENERAL_TOPIC = 1
"""A forum shows it as number 1, and takes messages to it without one only (tdlib/telegram-bot-api#798)."""


class Telegram(Integration[TelegramSettings, TelegramCredentials]):
    """A lead as a message in a Telegram chat."""

    type = "telegram"
    connection_types = ("telegram",)
    in_connection = InConnection(
        {"password": "bot_token", "host": "chat_id"},
        base_url="extra",
        lacking={"password": "the bot's token from @BotFather"},
    )
    beside_connection = ("chat_id",)
    # not the chat: what keeps one chat from being written to is no matter of the others
    identified_by = ("bot_token",)
    public_hosts = (urlsplit(API).netloc,)
    can_probe = True

    def limits(self, *, settings: TelegramSettings, account: Account[TelegramCredentials]) -> Sequence[Limit]:
        """30 a second for the bot, 20 a minute for a group or channel, 1 a second for any chat (vendors.md 3.5).

        They are the token's: a bot's id is no secret, and who only knows that would use up the bot's messages.
        """
        token = account.credentials.bot_token.get_secret_value()
        bot = f"telegram {self.label(account)} #{digest(token, chars=16)}"
        limits = [Limit(name=bot, calls=30)]
        chat = (settings.chat_id or account.credentials.chat_id or "").lower()
        if chat.startswith(("-", "@")):
            limits.append(Limit(name=f"{bot} group {chat}", calls=20, period_s=60))
        if chat:
            limits.append(Limit(name=f"{bot} chat {chat}", calls=1))
        return limits

    def address_of(self, account: Account[TelegramCredentials]) -> str:
        """The operator's own Bot API server, or Telegram's."""
        return account.base_url or API

    def label(self, account: Account[TelegramCredentials]) -> str:
        """`bot 7000000001`: a token begins with its bot's id, which is no secret (vendors.md 3.1)."""
        token = account.credentials.bot_token.get_secret_value()
        number, colon, _ = token.partition(":")
        return f"bot {number}" if colon and number.isdigit() else f"bot #{digest(token, chars=8)}"

    def deliver(
        self, lead: Lead, *, settings: TelegramSettings, account: Account[TelegramCredentials], call: Call
    ) -> Receipt:
        """Sends the message. The receipt: its message id, the chat it went to, and what had to be mended."""
        chat_id = settings.chat_id or account.credentials.chat_id
        if chat_id is None:
            raise Unsendable("No chat to write to: give chat_id in the settings or the credentials.", code="chat_id")
        api = BotApi(account.base_url, account.credentials.bot_token, call=call)
        mender = Mender(_message(lead, settings=settings, call=call), chat_id=chat_id, memory=call.memory)
        reply = api.send("sendMessage", mender.message)
        while mender.mends(reply):
            reply = api.send("sendMessage", mender.message)
        if reply.status != 200:
            raise refusal(reply)
        message_id = id_of(reply.result.get("message_id"))
        if message_id is None:
            raise UnknownOutcome(
                "Telegram answered 200 without a message id; the message may have been sent.", code="200"
            )
        return Receipt(external_id=str(message_id), detail=mender.receipt())

    def probe(self, account: Account[TelegramCredentials], *, call: Call) -> str:
        """Asks for the bot itself (getMe) and, where the account has a chat, for that (getChat). Whether the bot may
        write there, only a message would tell."""
        api = BotApi(account.base_url, account.credentials.bot_token, call=call)
        me = api.read("getMe", {})
        found = f"Telegram lets us in: bot @{one_line(str(me.get('username', '')), limit=64)}, id {me.get('id')}."
        if account.credentials.chat_id is None:
            return f"{found} The connection names no chat."
        chat = api.read("getChat", {"chat_id": account.credentials.chat_id})
        kind = one_line(str(chat.get("type", "chat")), limit=16)
        title = one_line(str(chat.get("title", "")), limit=64)
        return f"{found} It knows the chat {account.credentials.chat_id}: {f'{kind} «{title}»' if title else kind}."

    def may_resend(self, settings: TelegramSettings, leadcast: Settings) -> bool:
        """Only where the delivery or the installation says `on_unknown: resend`: people may then read a lead twice."""
        return (settings.on_unknown or leadcast.on_unknown) is OnUnknown.RESEND


def _message(lead: Lead, *, settings: TelegramSettings, call: Call) -> dict[str, Any]:
    """`sendMessage` without its chat."""
    if settings.fields:
        lead = replace(lead, custom=filled(settings.fields, lead=lead))
    message: dict[str, Any] = {
        "text": message_about(
            lead,
            template=settings.template,
            templates=call.templates,
            language=settings.language,
            own_labels=bool(settings.fields),
        ),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
        "disable_notification": settings.silent,
    }
    if settings.message_thread_id not in (None, GENERAL_TOPIC):
        message["message_thread_id"] = settings.message_thread_id
    return message
