"""What is done about a message that Telegram refuses, where it is plain how it would be taken (vendors.md 3.3, 3.4).

A message refused with 400 was not sent, so sending it otherwise doubles nothing. Each mend is made once:

- the group has become a supergroup: to its new id, which is remembered, so that the next message goes there at once;
- the remembered id is not known (any more): to the one that was asked for, and the memory is cleared;
- markup that Telegram cannot parse: as plain text;
- too long, however it counts: as plain text, cut;
- the topic is gone: without it, into the same chat. Its topics have no members of their own, so nobody reads the lead
  who was not to, and a lead in the wrong topic is better than one that nobody sees.

Receipts say what was mended. A topic that is closed is not gone: people have closed it, and the message is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Any

from leadcast.core.errors import StoreError, TransientError
from leadcast.integrations.base import Memory
from leadcast.integrations.telegram import text as telegram_text
from leadcast.integrations.telegram.api import Reply, id_of

# the last of each is what Telegram itself says, in case the Bot API server does not put it into words (UNCONFIRMED)
_TOPIC_GONE = ("message thread not found", "TOPIC_DELETED")
_TOO_LONG = ("message is too long", "text is too long", "MESSAGE_TOO_LONG")


class _Mend(Enum):
    MOVED = auto()
    FORGOTTEN = auto()
    PLAIN = auto()
    CUT = auto()
    NO_TOPIC = auto()


class Mender:
    """Holds the message as it is to be sent next.

    Args:
        message: what `sendMessage` takes, without its chat.
        chat_id: the chat that was asked for.
        memory: where groups have moved to.

    Raises:
        TransientError: the memory could not be read; nothing was sent.
    """

    def __init__(self, message: Mapping[str, Any], *, chat_id: str, memory: Memory) -> None:
        self._asked = chat_id
        self._memory = memory
        self._name = f"chat:{chat_id.lower()}"
        try:
            moved_to = id_of(memory.recall(self._name))
        except StoreError as error:
            raise TransientError(f"Where the chat is could not be looked up: {error}", code="store") from None
        self.message: dict[str, Any] = {"chat_id": chat_id if moved_to is None else moved_to, **message}
        self._made: set[_Mend] = set()

    def mends(self, reply: Reply) -> bool:
        """Whether there is something to send again: then `message` has changed."""
        mend, message = self._mended(reply)
        if mend is None or mend in self._made:
            return False
        if mend in (_Mend.MOVED, _Mend.FORGOTTEN):
            with suppress(StoreError):  # the next message learns it anew
                self._memory.remember(self._name, message["chat_id"] if mend is _Mend.MOVED else None)
        self._made.add(mend)
        self.message = message
        return True

    def receipt(self) -> dict[str, Any]:
        """Where the message went and what was mended, for the receipt."""
        detail: dict[str, Any] = {"chat_id": self._asked}
        if self.message["chat_id"] != self._asked:
            detail["migrated_to_chat_id"] = self.message["chat_id"]
        if self._made & {_Mend.PLAIN, _Mend.CUT}:
            detail["as_plain_text"] = True
        if _Mend.CUT in self._made:
            detail["cut"] = True
        if _Mend.NO_TOPIC in self._made:
            detail["topic_gone"] = True
        return detail

    def _mended(self, reply: Reply) -> tuple[_Mend | None, dict[str, Any]]:
        message, words = self.message, reply.description
        if reply.status != 400:
            return None, message
        moved_to = id_of(reply.parameter("migrate_to_chat_id"))
        if moved_to is not None and moved_to != message["chat_id"]:
            return _Mend.MOVED, {**message, "chat_id": moved_to}
        if "chat not found" in words and message["chat_id"] != self._asked:
            return _Mend.FORGOTTEN, {**message, "chat_id": self._asked}
        if "can't parse entities" in words and "parse_mode" in message:
            return _Mend.PLAIN, _plain(message)
        if any(reason in words for reason in _TOO_LONG):
            plain = _plain(message)
            return _Mend.CUT, {**plain, "text": telegram_text.cut(plain["text"])}
        if any(reason in words for reason in _TOPIC_GONE) and "message_thread_id" in message:
            return _Mend.NO_TOPIC, _without(message, "message_thread_id")
        return None, message


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    if "parse_mode" not in message:
        return message
    return {**_without(message, "parse_mode"), "text": telegram_text.visible(message["text"])}


def _without(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}
