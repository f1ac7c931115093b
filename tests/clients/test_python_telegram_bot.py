"""python-telegram-bot against the sandbox: it reads our answers, and finds in them every error it knows by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from telegram import Bot, LinkPreviewOptions, Message, User
from telegram.constants import ChatType, MessageEntityType, MessageLimit, ParseMode
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken, NetworkError, RetryAfter, TimedOut

from leadcast.sandbox import Sandbox

TOKEN = "7000000001:AAexampleexampleexampleexampleexamp"
GROUP = -1001234567890
T = TypeVar("T")

pytestmark = pytest.mark.filterwarnings("ignore::telegram.warnings.PTBDeprecationWarning")


def run(sandbox: Sandbox, use: Callable[[Bot], Awaitable[T]], *, token: str = TOKEN) -> T:
    """What a bot that knows the sandbox as its Bot API server makes of `use`."""

    async def main() -> T:
        async with Bot(token, base_url=f"{sandbox.telegram_url}/bot") as bot:
            return await use(bot)

    return asyncio.run(main())


def send(sandbox: Sandbox, text: str = "Новая заявка", *, chat_id: int | str = GROUP, **more: object) -> Message:
    return run(sandbox, lambda bot: bot.send_message(chat_id, text, **more))  # type: ignore[arg-type]


def test_a_bot_signs_in_and_knows_its_name(sandbox: Sandbox) -> None:
    me: User = run(sandbox, lambda bot: bot.get_me())
    assert (me.id, me.is_bot, me.username, me.can_join_groups) == (7000000001, True, "leads_bot", True)


def test_a_message_arrives_with_its_entities(sandbox: Sandbox) -> None:
    message = send(sandbox, "<b>Новая</b> заявка &amp; 😀 <i>x</i>", parse_mode=ParseMode.HTML)

    assert message.text == "Новая заявка & 😀 x"
    assert message.parse_entities() == dict(zip(message.entities, ("Новая", "x"), strict=True))
    assert [entity.type for entity in message.entities] == [MessageEntityType.BOLD, MessageEntityType.ITALIC]
    assert message.text_html == "<b>Новая</b> заявка &amp; 😀 <i>x</i>"
    assert message.chat.id == GROUP
    assert message.from_user is not None
    assert message.from_user.is_bot
    assert [item["message_id"] for item in sandbox.stored("telegram")["messages"]] == [message.message_id]


def test_what_a_message_may_carry_comes_back(sandbox: Sandbox) -> None:
    message = send(
        sandbox,
        message_thread_id=7,
        protect_content=True,
        disable_notification=True,
        link_preview_options=LinkPreviewOptions(is_disabled=True),
    )
    assert message.message_thread_id == 7
    assert message.has_protected_content is True
    assert message.link_preview_options == LinkPreviewOptions(is_disabled=True)


@pytest.mark.parametrize(
    ("chat_id", "kind"),
    [(42, ChatType.PRIVATE), (-42, ChatType.GROUP), (GROUP, ChatType.SUPERGROUP), ("@notifications", ChatType.CHANNEL)],
)
def test_a_chat_is_looked_up_and_written_to(sandbox: Sandbox, chat_id: int | str, kind: ChatType) -> None:
    chat = run(sandbox, lambda bot: bot.get_chat(chat_id))
    assert chat.type == kind
    message = send(sandbox, chat_id=chat_id)
    assert message.chat.id == chat.id
    assert (message.from_user is None) is (kind is ChatType.CHANNEL)


def test_broken_html_is_a_bad_request(sandbox: Sandbox) -> None:
    with pytest.raises(BadRequest, match='Can\'t parse entities: unsupported start tag "br" at byte offset 12'):
        send(sandbox, "Строка<br>", parse_mode=ParseMode.HTML)
    assert not sandbox.stored("telegram")["messages"]


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "Message text is empty"), (" \n", "Text must be non-empty"), ("я" * 4097, "Message is too long")],
)
def test_a_text_that_cannot_be_sent_is_a_bad_request(sandbox: Sandbox, text: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        send(sandbox, text)


def test_the_longest_text_is_counted_as_the_client_counts_it(sandbox: Sandbox) -> None:
    text = "😀" * MessageLimit.MAX_TEXT_LENGTH
    assert send(sandbox, text).text == text


def test_too_many_messages_is_retry_after(sandbox: Sandbox) -> None:
    sandbox.fault(service="telegram", kind="rate_limit", retry_after=14)
    with pytest.raises(RetryAfter) as caught:
        send(sandbox)
    assert caught.value.retry_after == 14


def test_flood_control_lets_one_message_a_second_into_a_chat(sandbox: Sandbox) -> None:
    sandbox.configure("telegram", flood_control=True)

    async def all_at_once(bot: Bot) -> list[Message | BaseException]:
        return await asyncio.gather(*(bot.send_message(GROUP, "x") for _ in range(5)), return_exceptions=True)

    outcomes = run(sandbox, all_at_once)
    assert any(isinstance(outcome, Message) for outcome in outcomes)
    assert any(isinstance(outcome, RetryAfter) for outcome in outcomes)
    assert send(sandbox, chat_id=42).chat.id == 42


def test_a_group_that_became_a_supergroup_is_chat_migrated(sandbox: Sandbox) -> None:
    sandbox.fault(service="telegram", kind="migrate", chat_id=-42, migrate_to_chat_id=GROUP)
    with pytest.raises(ChatMigrated) as caught:
        send(sandbox, chat_id=-42)
    assert caught.value.new_chat_id == GROUP
    assert send(sandbox, chat_id=caught.value.new_chat_id).chat.type is ChatType.SUPERGROUP


def test_a_blocked_bot_is_forbidden(sandbox: Sandbox) -> None:
    sandbox.fault(service="telegram", kind="blocked")
    with pytest.raises(Forbidden, match="bot was blocked by the user"):
        send(sandbox, chat_id=42)


def test_an_unknown_chat_is_a_bad_request(sandbox: Sandbox) -> None:
    sandbox.configure("telegram", chats=["42"])
    with pytest.raises(BadRequest, match="Chat not found"):
        send(sandbox, chat_id=43)


@pytest.mark.parametrize("token", ["7000000001:revokedrevokedrevoked", "not-a-token"])
def test_a_token_that_is_not_good_is_an_invalid_token(sandbox: Sandbox, token: str) -> None:
    with pytest.raises(InvalidToken):
        run(sandbox, lambda bot: bot.get_me(), token=token)


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 502}, {"kind": "non_json"}, {"kind": "hang_up_after"}])
def test_a_gateway_that_fails_is_a_network_error(sandbox: Sandbox, fault: dict[str, object]) -> None:
    sandbox.fault(service="telegram", match="sendMessage", **fault)
    with pytest.raises(NetworkError) as caught:
        send(sandbox)
    assert not isinstance(caught.value, BadRequest | TimedOut)


def test_a_message_is_dated_now(sandbox: Sandbox) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert before <= send(sandbox).date <= datetime.now(UTC)
