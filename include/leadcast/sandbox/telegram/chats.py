"""Who a chat id or an @name is (vendors.md 3.2)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"^@[A-Za-z][A-Za-z0-9_]{3,31}$")
_ID = re.compile(r"^-?[1-9][0-9]{0,17}$")
_SUPERGROUPS_BELOW = -1_000_000_000_000


class ChatNotFoundError(LookupError):
    """No such chat."""


@dataclass(frozen=True)
class Chat:
    """A destination. Ids are 64-bit: users above zero, groups below, supergroups and channels -100..."""

    id: int
    type: str
    username: str | None = None

    def as_json(self) -> dict[str, Any]:
        if self.type == "private":
            return {"id": self.id, "first_name": "Анна", "type": self.type}
        name = {} if self.username is None else {"username": self.username}
        return {"id": self.id, "title": self.username or "Sales", "type": self.type, **name}


def chat_of(chat_id: Any, *, known: Collection[str] | None) -> Chat:
    """The chat with that id or @name; `known`: the only ones there are. Raises `ChatNotFoundError`."""
    text = str(chat_id).strip()
    if isinstance(chat_id, bool) or (known is not None and text not in known):
        raise ChatNotFoundError(text)
    if _NAME.match(text):
        return Chat(_SUPERGROUPS_BELOW - zlib.crc32(text.lower().encode()), "channel", text[1:])
    if not _ID.match(text):
        raise ChatNotFoundError(text)
    number = int(text)
    if number > 0:
        return Chat(number, "private")
    return Chat(number, "supergroup" if number < _SUPERGROUPS_BELOW else "group")
