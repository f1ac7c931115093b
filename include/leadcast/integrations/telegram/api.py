"""The Bot API: one call of a bot, and what its answer means (vendors.md 3.1, 3.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from leadcast.core.errors import (
    CredentialsError,
    DeliveryError,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.redact import one_line
from leadcast.integrations.base import Call
from leadcast.integrations.http.address import is_vendors
from leadcast.integrations.http.answer import Answer, pause_s
from leadcast.integrations.http.deadline import Deadline

API = "https://api.telegram.org"
TIMEOUT_S = 60.0
_PAUSE_S = 30.0
"""How long to wait after a 429 that names no time."""
_TOKEN_REFUSED = frozenset({401, 404, 421})
_REFUSES_WITH = _TOKEN_REFUSED | {400, 403}
"""What the Bot API answers to a message that it does not send (vendors.md 3.4)."""
_ID = re.compile(r"\s*(-?[0-9]{1,18})\s*", re.ASCII)


def id_of(value: Any) -> int | None:
    """An id of a chat or a message, which some servers of one's own write as text; None for what is none."""
    if isinstance(value, str) and (written := _ID.fullmatch(value)):
        return int(written[1])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Reply:
    """What the server says: `result` when it did as asked, else `description` and `parameters`."""

    answer: Answer
    body: Mapping[str, Any]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.answer.status

    @property
    def result(self) -> Mapping[str, Any]:
        """What the call has made or found; empty when it has not."""
        return _mapping(self.body.get("result")) if self.status == 200 else {}

    @property
    def description(self) -> str:
        """The server's words for an error, on one line."""
        return one_line(str(self.body.get("description", "")))

    @property
    def is_own_refusal(self) -> bool:
        """Whether the Bot API itself says no: with a status that it gives, in its own form (vendors.md 3.1). What
        others say may hide anything."""
        return self.status in _REFUSES_WITH and self.body.get("ok") is False

    def parameter(self, name: str) -> Any:
        """What an error says besides its words: `retry_after`, `migrate_to_chat_id`."""
        return _mapping(self.body.get("parameters")).get(name)


class BotApi:
    """One bot on one server, for one attempt. The token is a part of the URL, so no URL is ever shown."""

    def __init__(self, base_url: str, token: SecretStr, *, call: Call) -> None:
        self._url = f"{(base_url or API).rstrip('/')}/bot{token.get_secret_value()}"
        self._is_operators = not is_vendors(self._url, (urlsplit(API).netloc,))
        self._call = call
        self._deadline = Deadline(call.timeout_s)

    def send(self, method: str, params: Mapping[str, Any]) -> Reply:
        """Calls a method that changes something, once.

        Raises:
            TransientError, UnknownOutcome, Blocked: as `Egress.send`.
        """
        self._call.pace()
        answer = self._call.egress.send(
            "POST",
            f"{self._url}/{method}",
            json=params,
            timeout_s=self._deadline.left_s(TIMEOUT_S),
            public_only=self._is_operators,
            operators=self._is_operators,
        )
        return Reply(answer, _mapping(answer.json()))

    def read(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of a method that changes nothing.

        Raises:
            TransientError, RateLimited, RejectedError, CredentialsError, Blocked
        """
        try:
            reply = self.send(method, params)
            if reply.status != 200:
                raise refusal(reply, "to answer")
        except UnknownOutcome as error:
            raise TransientError(f"Telegram could not be asked: {error.message}", code=error.code) from None
        return reply.result


def refusal(reply: Reply, what: str = "the message") -> DeliveryError:
    """What an answer other than 200 means (vendors.md 3.4).

    Args:
        what: what Telegram refuses, as people would say.
    """
    status, detail = reply.status, reply.description
    if status == 429:
        asked_s = pause_s(reply.parameter("retry_after"))
        if asked_s is None:
            asked_s = reply.answer.retry_after_s()
        return RateLimited(
            "Telegram asks to send more slowly.", retry_after_s=_PAUSE_S if asked_s is None else asked_s, detail=detail
        )
    if not reply.is_own_refusal:
        return UnknownOutcome(
            f"Telegram answered {status}; {what} may have been taken.", code=str(status), detail=detail
        )
    if status in _TOKEN_REFUSED:
        return CredentialsError(
            "Telegram does not know this bot: check the token from @BotFather.", code=str(status), detail=detail
        )
    moved_to = id_of(reply.parameter("migrate_to_chat_id"))
    hint = "" if moved_to is None else f" Its id is {moved_to} now."
    return RejectedError(f"Telegram refuses {what}: {detail or status}.{hint}", code=str(status), detail=detail)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
