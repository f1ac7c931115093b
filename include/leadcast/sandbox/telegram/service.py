"""Telegram's Bot API as vendors.md section 3 describes it: sendMessage, getMe, getChat, and their errors."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from pydantic import Field, SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from leadcast.sandbox.faults import Fault, FaultKind
from leadcast.sandbox.http_service import HttpService, ServiceSettings, call_of, reason_phrase
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import Received, fingerprint
from leadcast.sandbox.telegram.chats import Chat, ChatNotFoundError, chat_of
from leadcast.sandbox.telegram.text import TextError, message_text

MAX_MESSAGES = 200_000
_PATH = re.compile(r"^/bot(?P<token>[^/]*)(?P<rest>/.*)?$")
_TOKEN = re.compile(r"^(?P<bot>[0-9]{1,20}):(?P<secret>[A-Za-z0-9_-]{3,})$")
LARAVEL_TOKEN = "your_bot_token"  # noqa: S105  # in the Laravel system's example, which is delivered as it is
_ECHOED = ("message_thread_id", "link_preview_options", "has_protected_content")


class TelegramSettings(ServiceSettings):
    """What can be set about the Bot API."""

    tokens: list[SecretStr] | None = Field(default=None, description="null: any well-formed one, but 'revoked...'")
    chats: list[str] | None = Field(default=None, description="ids and @names that exist; null: all")
    flood_control: bool = Field(default=False, description="1/s a chat, 20/min a group, 30/s a bot (vendors.md 3.5)")
    flood_retry_after_s: int = Field(default=1, ge=1)


class TelegramError(Exception):
    """An answer that is not ok."""

    def __init__(self, status: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.parameters = parameters

    def as_response(self) -> JSONResponse:
        body: dict[str, Any] = {"ok": False, "error_code": self.status, "description": self.description}
        if self.parameters:
            body["parameters"] = self.parameters
        retry_after = self.parameters.get("retry_after")
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return JSONResponse(body, status_code=self.status, headers=headers)


class Telegram(HttpService):
    """The Bot API server of the sandbox. MarkdownV2 and Markdown are taken as plain text."""

    name: ClassVar[ServiceName] = ServiceName.TELEGRAM
    settings_model = TelegramSettings
    settings: TelegramSettings

    def routes(self) -> list[BaseRoute]:
        methods = ["GET", "POST"]
        return [
            Route("/bot{token}/test/{method}", self._call, methods=methods),
            Route("/bot{token}/{method}", self._call, methods=methods),
        ]

    def forget(self) -> None:
        self._messages: deque[dict[str, Any]] = deque(maxlen=MAX_MESSAGES)
        self._message_ids = itertools.count(512)
        self._sent_at: dict[str, deque[float]] = {}

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        return {"messages": list(self._messages)}

    def exception_handlers(self) -> Mapping[Any, Any]:
        return {TelegramError: _telegram_error, HTTPException: _http_error}

    def identify(self, request: Request, call: Received) -> None:
        match = _PATH.match(request.url.path)
        if match is not None:
            call.credential = fingerprint(match["token"])
            call.path = f"/bot{call.credential}{match['rest'] or ''}"
        else:
            call.path = fingerprint(request.url.path)  # an address that was put together wrongly holds the token too

    def error(self, status: int) -> Response:
        if status == 429:
            return self.rate_limited(self.settings.flood_retry_after_s)
        return TelegramError(status, reason_phrase(status)).as_response()

    def rate_limited(self, retry_after_s: int) -> Response:
        return _too_many(retry_after_s).as_response()

    def special(self, fault: Fault, request: Request, call: Received) -> Response | None:
        if fault.kind is FaultKind.ERROR:
            text = fault.description or reason_phrase(fault.error_code)
            return TelegramError(fault.error_code, text).as_response()
        if not request.url.path.lower().endswith("/sendmessage"):
            return None
        is_concerned = fault.chat_id is None or str(fault.chat_id) == _chat_id(request)
        if fault.kind is FaultKind.BLOCKED and is_concerned:
            text = fault.description or "Forbidden: bot was blocked by the user"
            return TelegramError(403, text).as_response()
        if fault.kind is FaultKind.MIGRATE and is_concerned:
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            return TelegramError(400, text, migrate_to_chat_id=fault.migrate_to_chat_id).as_response()
        return None

    async def _call(self, request: Request) -> Response:
        token: str = request.path_params["token"]
        parts = _TOKEN.match(token if token != LARAVEL_TOKEN else f"1:{token}")
        if parts is None:
            raise TelegramError(404, "Not Found")
        known = self.settings.tokens
        is_known = known is None or any(token == item.get_secret_value() for item in known)
        if not is_known or parts["secret"].startswith(("revoked", "expired")):
            raise TelegramError(401, "Unauthorized")
        params = _params(request) | await _form(request)
        bot_id = int(parts["bot"])
        match request.path_params["method"].lower():
            case "getme":
                result = _bot(bot_id) | {"can_join_groups": True, "can_read_all_group_messages": False}
                result |= {"supports_inline_queries": False, "can_connect_to_business": False}
                result |= {"has_main_web_app": False}
            case "getchat":
                result = self._chat(params).as_json() | {"accent_color_id": 1, "max_reaction_count": 11}
            case "sendmessage":
                result = self._send_message(request, bot_id, params)
            case _:
                raise TelegramError(404, "Not Found: method not found")
        return JSONResponse({"ok": True, "result": result})

    def _send_message(self, request: Request, bot_id: int, params: dict[str, Any]) -> dict[str, Any]:
        chat = self._chat(params)
        try:
            text, entities = message_text(params)
        except TextError as error:
            raise TelegramError(400, f"Bad Request: {error}") from None
        if str(params.get("message_thread_id", "")) == "1":  # the general topic has no thread (telegram-bot-api#798)
            raise TelegramError(400, "Bad Request: message thread not found")
        if self.settings.flood_control:
            self._check_flood(bot_id, chat)
        message: dict[str, Any] = {"message_id": next(self._message_ids)}
        sender = {"sender_chat": chat.as_json()} if chat.type == "channel" else {"from": _bot(bot_id)}
        message |= sender | {"chat": chat.as_json(), "date": int(time.time()), "text": text}
        if entities:
            message["entities"] = entities
        if str(params.get("protect_content", "")).lower() == "true":
            params = {**params, "has_protected_content": True}
        message |= {name: _decoded(params[name]) for name in _ECHOED if params.get(name) not in (None, "")}
        self._messages.append(message)
        call_of(request).stored.append(message)
        return message

    def _chat(self, params: Mapping[str, Any]) -> Chat:
        chat_id = params.get("chat_id")
        if chat_id in (None, ""):
            raise TelegramError(400, "Bad Request: chat_id is empty")
        try:
            return chat_of(chat_id, known=self.settings.chats)
        except ChatNotFoundError:
            raise TelegramError(400, "Bad Request: chat not found") from None

    def _check_flood(self, bot_id: int, chat: Chat) -> None:
        now = time.monotonic()
        budgets = [(f"bot {bot_id}", 30, 1.0), (f"chat {chat.id}", 1, 1.0)]
        if chat.type != "private":
            budgets.append((f"group {chat.id}", 20, 60.0))
        for key, limit, period_s in budgets:
            sent = self._sent_at.setdefault(key, deque())
            while sent and sent[0] <= now - period_s:
                sent.popleft()
            if len(sent) >= limit:
                raise _too_many(max(self.settings.flood_retry_after_s, int(sent[0] + period_s - now) + 1))
        for key, _, _ in budgets:
            self._sent_at[key].append(now)


def _bot(bot_id: int) -> dict[str, Any]:
    return {"id": bot_id, "is_bot": True, "first_name": "Leads", "username": "leads_bot"}


def _too_many(retry_after_s: int) -> TelegramError:
    return TelegramError(429, f"Too Many Requests: retry after {retry_after_s}", retry_after=retry_after_s)


def _params(request: Request) -> dict[str, Any]:
    """Query, then a JSON or urlencoded body."""
    raw: bytes = request.state.raw_body
    try:
        params: dict[str, Any] = dict(parse_qsl(request.url.query, keep_blank_values=True, max_num_fields=100))
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("application/json") and raw.strip():
            given = json.loads(raw)
            return params | given if isinstance(given, dict) else params
        if content_type.startswith("application/x-www-form-urlencoded"):
            return params | dict(parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=100))
    except UnicodeDecodeError:
        raise TelegramError(400, "Bad Request: strings must be encoded in UTF-8") from None
    except (ValueError, RecursionError):
        raise TelegramError(400, "Bad Request: can't parse JSON object") from None
    return params


def _chat_id(request: Request) -> str:
    try:
        return str(_params(request).get("chat_id"))
    except TelegramError:
        return ""


async def _form(request: Request) -> dict[str, Any]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return {}
    async with request.form(max_files=0, max_fields=100) as form:
        return {name: str(value) for name, value in form.items()}


def _decoded(value: Any) -> Any:
    """Nested objects come as JSON text in forms and queries."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


async def _telegram_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TelegramError)
    return error.as_response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return TelegramError(error.status_code, error.detail).as_response()
