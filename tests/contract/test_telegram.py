"""Telegram: what is sent, what is mended at once, and what each trouble is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from leadcast.core.errors import (
    CredentialsError,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Lead, Receipt
from leadcast.core.settings import OnUnknown, Settings
from leadcast.integrations.base import Account, Call, ConnectionFields
from leadcast.integrations.telegram import Telegram, TelegramCredentials, TelegramSettings
from leadcast.integrations.templating import Templates
from leadcast.sandbox import Sandbox

TOKEN = "7000000001:AAbb-cc_ddEEffGGhhIIjjKKllMMnnOOppQ"
CREDENTIALS = {"bot_token": TOKEN, "chat_id": "@notifications"}
MakeCall = Callable[..., Call]


def deliver(sandbox: Sandbox, lead: Lead, call: Call, *, settings: Any = None, **credentials: Any) -> Receipt:
    account = Account(
        credentials=TelegramCredentials.model_validate(CREDENTIALS | credentials), base_url=sandbox.telegram_url
    )
    return Telegram().deliver(
        lead, settings=TelegramSettings.model_validate(settings or {}), account=account, call=call
    )


def messages(sandbox: Sandbox) -> list[dict[str, Any]]:
    return sandbox.stored("telegram")["messages"]


def test_a_lead_arrives_in_the_chat(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    receipt = deliver(sandbox, lead, make_call())
    [message] = messages(sandbox)
    assert lead.name in message["text"]
    assert lead.phone in message["text"]
    assert lead.id in message["text"]
    assert message["entities"]
    assert message["link_preview_options"] == {"is_disabled": True}
    assert receipt.external_id == str(message["message_id"])
    assert receipt.detail == {"chat_id": "@notifications"}


def test_the_chat_of_the_settings_wins(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    settings = {"chat_id": -1001234567890, "message_thread_id": 7, "silent": True, "language": "en"}
    deliver(sandbox, lead, make_call(), settings=settings)
    [message] = messages(sandbox)
    [call] = sandbox.received("telegram")
    assert message["chat"]["id"] == -1001234567890
    assert message["message_thread_id"] == 7
    assert call["body"]["disable_notification"] is True
    assert "New lead" in message["text"]


def test_without_a_chat_nothing_is_sent(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    with pytest.raises(RejectedError, match="chat_id"):
        deliver(sandbox, lead, make_call(), chat_id=None)
    assert sandbox.received("telegram") == []


def test_hostile_values_arrive_as_they_are(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    evil = replace(lead, name="<b>Eve</b> & \"co\" 'x' {lead_phone} &nbsp;", comment="</blockquote><br>")
    deliver(sandbox, evil, make_call())
    [message] = messages(sandbox)
    assert evil.name in message["text"]
    assert evil.comment in message["text"]


def test_a_comment_of_any_length_arrives_cut(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    deliver(sandbox, replace(lead, comment="<&>'\"ы😀" * 9_000), make_call())
    [message] = messages(sandbox)
    assert len(message["text"]) == 4096
    assert message["text"].endswith("…")


def test_markup_that_telegram_cannot_parse_is_sent_again_as_plain_text(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, tmp_path: Path
) -> None:
    (tmp_path / "mine.telegram.html").write_text("<b>{lead_name}</b><br><p>№ {lead_id}</p>")
    call = replace(make_call(), templates=Templates(folder=str(tmp_path)))
    receipt = deliver(sandbox, replace(lead, name="A & B"), call, settings={"template": "mine"})
    [message] = messages(sandbox)
    assert message["text"] == f"A & B№ {lead.id}"
    assert "entities" not in message
    assert receipt.detail["as_plain_text"] is True
    assert len(sandbox.received("telegram")) == 2


def test_a_group_that_moved_is_followed_once(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="telegram", kind="migrate", chat_id=-200, migrate_to_chat_id=-1009999999999)
    receipt = deliver(sandbox, lead, make_call(), settings={"chat_id": -200})
    [message] = messages(sandbox)
    assert message["chat"]["id"] == -1009999999999
    assert receipt.detail == {"chat_id": "-200", "migrated_to_chat_id": -1009999999999}


def test_a_group_that_moves_in_circles_is_given_up(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    for number in range(-205, -200):
        sandbox.fault(service="telegram", kind="migrate", chat_id=number, migrate_to_chat_id=number - 1)
    with pytest.raises(RejectedError):
        deliver(sandbox, lead, make_call(), settings={"chat_id": -201})
    assert len(sandbox.received("telegram")) <= 3


def test_a_flood_limit_says_how_long_to_wait(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="telegram", kind="rate_limit", retry_after=17)
    with pytest.raises(RateLimited) as caught:
        deliver(sandbox, lead, make_call())
    assert caught.value.retry_after_s == 17
    assert messages(sandbox) == []


@pytest.mark.parametrize("token", ["7000000001:revoked_token", "malformed"])
def test_a_token_that_telegram_does_not_take_is_a_matter_of_credentials(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, token: str
) -> None:
    with pytest.raises(CredentialsError) as caught:
        deliver(sandbox, lead, make_call(), bot_token=token)
    assert caught.value.code in ("401", "404")
    assert token not in f"{caught.value}{caught.value.detail}"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "blocked"},
        {"kind": "error", "error_code": 400, "description": "Bad Request: message thread not found"},
        {"kind": "error", "error_code": 403, "description": "Forbidden: bot was kicked from the group chat"},
    ],
)
def test_a_chat_that_cannot_be_written_to_is_not_tried_again(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, fault: dict[str, Any]
) -> None:
    sandbox.fault(service="telegram", times=1, **fault)
    with pytest.raises(RejectedError) as caught:
        deliver(sandbox, lead, make_call())
    assert type(caught.value) is RejectedError
    assert caught.value.code in ("400", "403")
    assert caught.value.detail.startswith(("Bad Request", "Forbidden"))


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 502},
        {"kind": "non_json"},
        {"kind": "hang_up_before"},
        {"kind": "hang_up_after"},
    ],
)
def test_a_message_that_may_have_been_sent_is_unknown(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, fault: dict[str, Any]
) -> None:
    sandbox.fault(service="telegram", **fault)
    with pytest.raises(UnknownOutcome) as caught:
        deliver(sandbox, lead, make_call())
    assert TOKEN not in f"{caught.value}{caught.value.detail}"
    assert len(sandbox.received("telegram")) == 1


def test_silence_is_unknown(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="telegram", kind="slow", delay_s=60)
    with pytest.raises(UnknownOutcome):
        deliver(sandbox, lead, replace(make_call(), timeout_s=0.3))


def test_a_server_that_is_not_there_is_tried_again(lead: Lead, make_call: MakeCall) -> None:
    account = Account(credentials=TelegramCredentials.model_validate(CREDENTIALS), base_url="http://127.0.0.1:1")
    with pytest.raises(TransientError) as caught:
        Telegram().deliver(lead, settings=TelegramSettings(), account=account, call=make_call())
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("own", [None, *OnUnknown])
@pytest.mark.parametrize("general", OnUnknown)
def test_sending_again_after_silence_is_a_choice(own: OnUnknown | None, general: OnUnknown) -> None:
    may = Telegram().may_resend(TelegramSettings(on_unknown=own), Settings(on_unknown=general))
    assert may == ((own or general) is OnUnknown.RESEND)


def test_a_connection_holds_token_chat_and_ones_own_server() -> None:
    fields = ConnectionFields(
        conn_id="c", host="-1001", password=SecretStr(TOKEN), extra={"base_url": "http://127.0.0.1:8081"}
    )
    account = Telegram.from_connection(fields, {"chat_id": "@other"})
    assert account.base_url == "http://127.0.0.1:8081"
    assert account.credentials.bot_token.get_secret_value() == TOKEN
    assert account.credentials.chat_id == "@other"
    assert Telegram.from_connection(fields, {}).credentials.chat_id == "-1001"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"password": SecretStr("")}, "password"),
        ({"password": SecretStr("a/../b?c")}, "password"),
        ({"host": "not a chat"}, "host"),
        ({"extra": {"base_url": "ftp://example.com"}}, "base_url"),
    ],
)
def test_a_connection_that_lacks_something_says_what(changes: dict[str, Any], word: str) -> None:
    fields = ConnectionFields(conn_id="my_bot", host="@sales", password=SecretStr(TOKEN))
    with pytest.raises(CredentialsError, match=word) as caught:
        Telegram.from_connection(replace(fields, **changes), {})
    assert "my_bot" in str(caught.value)
    assert "a/../b?c" not in str(caught.value)


def test_the_seeds_credentials_are_taken_as_they_are() -> None:
    credentials = TelegramCredentials.model_validate({"bot_token": "your_bot_token", "chat_id": "@notifications"})
    assert "your_bot_token" not in repr(credentials)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bot_token": "a/b"},
        {"bot_token": "a?b"},
        {"bot_token": "a b"},
        {"bot_token": ""},
        {"bot_token": "ы"},
        {"bot_token": "x" * 129},
        {"chat_id": True},
        {"chat_id": "no name"},
        {"chat_id": 10**19},
        {"base_url": "https://eve.example.com"},
    ],
)
def test_credentials_that_do_not_fit_are_refused_at_the_door(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TelegramCredentials.model_validate(CREDENTIALS | wrong)
