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
    StoreError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Lead, Receipt
from leadcast.core.setting_choices import OnUnknown
from leadcast.core.settings import Settings
from leadcast.integrations.base import Account, Call
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.telegram.integration import Telegram
from leadcast.integrations.telegram.settings import TelegramCredentials, TelegramSettings
from leadcast.integrations.text.templating import Templates
from leadcast.sandbox import Sandbox

TOKEN = "7000000001:AAbb-cc_ddEEffGGhhIIjjKKllMMnnOOppQ"
CREDENTIALS = {"bot_token": TOKEN, "chat_id": "@notifications"}
MakeCall = Callable[..., Call]


class Notes:
    """A `Memory` that may be looked at."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    def recall(self, name: str) -> Any:
        return self.held.get(name)

    def remember(self, name: str, value: Any, *, for_s: float | None = None) -> None:
        self.held[name] = value


def account_of(sandbox: Sandbox, **credentials: Any) -> Account[TelegramCredentials]:
    return Account(
        credentials=TelegramCredentials.model_validate(CREDENTIALS | credentials), base_url=sandbox.telegram_url
    )


def deliver(sandbox: Sandbox, lead: Lead, call: Call, *, settings: Any = None, **credentials: Any) -> Receipt:
    return Telegram().deliver(
        lead,
        settings=TelegramSettings.model_validate(settings or {}),
        account=account_of(sandbox, **credentials),
        call=call,
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


@pytest.mark.parametrize("words", ["message is too long", "text is too long", "MESSAGE_TOO_LONG"])
def test_a_message_that_is_too_long_however_the_server_counts_is_sent_cut_as_plain_text(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, words: str
) -> None:
    sandbox.fault(service="telegram", kind="error", error_code=400, description=f"Bad Request: {words}")
    receipt = deliver(sandbox, replace(lead, comment="😀" * 4000), make_call())
    [message] = messages(sandbox)
    assert message["text"].endswith("😀…")
    assert 4090 <= len(message["text"].encode("utf-16-le")) / 2 <= 4096
    assert lead.name in message["text"]
    assert "entities" not in message
    assert receipt.detail == {"chat_id": "@notifications", "as_plain_text": True, "cut": True}


def test_a_message_that_stays_too_long_is_not_sent_again_and_again(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    too_long = "Bad Request: message is too long"
    sandbox.fault(service="telegram", kind="error", error_code=400, description=too_long, times=None)
    with pytest.raises(RejectedError, match="too long"):
        deliver(sandbox, lead, make_call())
    assert len(sandbox.received("telegram")) == 2


def test_the_general_topic_is_written_to_without_a_number(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    receipt = deliver(sandbox, lead, make_call(), settings={"chat_id": -1001234567890, "message_thread_id": 1})
    [message] = messages(sandbox)
    assert "message_thread_id" not in message
    assert receipt.detail == {"chat_id": "-1001234567890"}
    assert len(sandbox.received("telegram")) == 1


def test_a_group_that_moved_is_followed_once(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="telegram", kind="migrate", chat_id=-200, migrate_to_chat_id=-1009999999999)
    receipt = deliver(sandbox, lead, make_call(), settings={"chat_id": -200})
    [message] = messages(sandbox)
    assert message["chat"]["id"] == -1009999999999
    assert receipt.detail == {"chat_id": "-200", "migrated_to_chat_id": -1009999999999}


@pytest.mark.parametrize("moved_to", ["-1009999999999", " -1009999999999", -1009999999999])
def test_the_new_id_of_a_group_may_come_as_text(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, moved_to: Any
) -> None:
    body = {"ok": False, "description": "Bad Request: upgraded", "parameters": {"migrate_to_chat_id": moved_to}}
    sandbox.fault(service="telegram", kind="answer", status=400, body=body)
    receipt = deliver(sandbox, lead, make_call(), settings={"chat_id": -200})
    assert receipt.detail == {"chat_id": "-200", "migrated_to_chat_id": -1009999999999}
    assert messages(sandbox)[0]["chat"]["id"] == -1009999999999


@pytest.mark.parametrize("moved_to", [True, None, "", "@sales", "-1e3", "1" * 30, -1.5, [-100]])
def test_what_is_no_id_is_not_followed(sandbox: Sandbox, lead: Lead, make_call: MakeCall, moved_to: Any) -> None:
    body = {"ok": False, "description": "Bad Request: upgraded", "parameters": {"migrate_to_chat_id": moved_to}}
    sandbox.fault(service="telegram", kind="answer", status=400, body=body)
    with pytest.raises(RejectedError, match=r"upgraded\.$"):
        deliver(sandbox, lead, make_call(), settings={"chat_id": -200})
    assert len(sandbox.received("telegram")) == 1


@pytest.mark.parametrize("message_id", [5, "5"])
def test_a_message_is_named_by_a_number(sandbox: Sandbox, lead: Lead, make_call: MakeCall, message_id: Any) -> None:
    body = {"ok": True, "result": {"message_id": message_id}}
    sandbox.fault(service="telegram", kind="answer", status=200, body=body)
    assert deliver(sandbox, lead, make_call()).external_id == "5"


@pytest.mark.parametrize("message_id", [True, None, "", "x", 1.5, {}])
def test_what_is_no_number_names_no_message(sandbox: Sandbox, lead: Lead, make_call: MakeCall, message_id: Any) -> None:
    body = {"ok": True, "result": {"message_id": message_id}}
    sandbox.fault(service="telegram", kind="answer", status=200, body=body)
    with pytest.raises(UnknownOutcome, match="without a message id"):
        deliver(sandbox, lead, make_call())


def test_where_a_group_has_moved_to_is_remembered(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="telegram", kind="migrate", chat_id=-200, migrate_to_chat_id=-1009999999999)
    call = make_call(memory=Notes())
    deliver(sandbox, lead, call, settings={"chat_id": -200})
    receipt = deliver(sandbox, lead, call, settings={"chat_id": "-200"})
    assert [entry["body"]["chat_id"] for entry in sandbox.received("telegram")] == [
        "-200",
        -1009999999999,
        -1009999999999,
    ]
    assert receipt.detail == {"chat_id": "-200", "migrated_to_chat_id": -1009999999999}


def test_a_remembered_chat_that_is_not_known_is_forgotten_and_the_asked_one_is_tried(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("telegram", chats=["-200"])
    notes = Notes()
    notes.held["chat:-200"] = -1009999999999
    receipt = deliver(sandbox, lead, make_call(memory=notes), settings={"chat_id": -200})
    assert [entry["body"]["chat_id"] for entry in sandbox.received("telegram")] == [-1009999999999, "-200"]
    assert receipt.detail == {"chat_id": "-200"}
    assert notes.recall("chat:-200") is None


def test_a_group_that_has_moved_to_nowhere_is_rejected_and_not_remembered(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("telegram", chats=["-200"])
    sandbox.fault(service="telegram", kind="migrate", chat_id=-200, migrate_to_chat_id=-1009999999999)
    notes = Notes()
    with pytest.raises(RejectedError, match="upgraded"):
        deliver(sandbox, lead, make_call(memory=notes), settings={"chat_id": -200})
    assert notes.recall("chat:-200") is None
    assert len(sandbox.received("telegram")) == 3


def test_what_is_not_a_chats_id_in_the_memory_is_not_used(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    notes = Notes()
    notes.held["chat:@notifications"] = True
    assert deliver(sandbox, lead, make_call(memory=notes)).detail == {"chat_id": "@notifications"}


def test_a_group_that_moves_in_circles_is_given_up(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    for number in range(-205, -200):
        sandbox.fault(service="telegram", kind="migrate", chat_id=number, migrate_to_chat_id=number - 1)
    with pytest.raises(RejectedError):
        deliver(sandbox, lead, make_call(), settings={"chat_id": -201})
    assert len(sandbox.received("telegram")) <= 3


class NoStore(Notes):
    def recall(self, name: str) -> Any:
        raise StoreError("away")


class ReadOnly(Notes):
    def remember(self, name: str, value: Any, *, for_s: float | None = None) -> None:
        raise StoreError("away")


def test_a_memory_that_cannot_be_read_leaves_no_doubt(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    with pytest.raises(TransientError) as caught:
        deliver(sandbox, lead, make_call(memory=NoStore()))
    assert caught.value.code == "store"
    assert sandbox.received("telegram") == []


def test_a_move_that_cannot_be_remembered_is_followed_all_the_same(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.fault(service="telegram", kind="migrate", chat_id=-200, migrate_to_chat_id=-1009999999999)
    deliver(sandbox, lead, make_call(memory=ReadOnly()), settings={"chat_id": -200})
    assert len(messages(sandbox)) == 1


def test_a_topic_that_is_gone_does_not_cost_the_lead(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    gone = "Bad Request: message thread not found"
    sandbox.fault(service="telegram", kind="error", description=gone, match="message_thread_id")
    receipt = deliver(sandbox, lead, make_call(), settings={"message_thread_id": 7})
    [message] = messages(sandbox)
    assert "message_thread_id" not in message
    assert receipt.detail == {"chat_id": "@notifications", "topic_gone": True}


def test_a_topic_that_people_have_closed_is_respected(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="telegram", kind="error", description="Bad Request: TOPIC_CLOSED", match="message_thread_id")
    with pytest.raises(RejectedError, match="TOPIC_CLOSED"):
        deliver(sandbox, lead, make_call(), settings={"message_thread_id": 7})
    assert messages(sandbox) == []


def test_everything_that_can_be_mended_at_once_is_mended_in_one_attempt(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, tmp_path: Path
) -> None:
    (tmp_path / "mine.telegram.html").write_text("<p>{lead_id}</p>")
    sandbox.fault(service="telegram", kind="migrate", chat_id=-200, migrate_to_chat_id=-1009999999999)
    gone = "Bad Request: message thread not found"
    sandbox.fault(service="telegram", kind="error", description=gone, match="-1009999999999")
    paces: list[None] = []
    call = make_call(templates=Templates(folder=str(tmp_path)), pace=lambda: paces.append(None))
    settings = {"template": "mine", "chat_id": -200, "message_thread_id": 7}
    receipt = deliver(sandbox, lead, call, settings=settings)
    assert len(messages(sandbox)) == 1
    assert receipt.detail == {
        "chat_id": "-200",
        "migrated_to_chat_id": -1009999999999,
        "as_plain_text": True,
        "topic_gone": True,
    }
    assert len(paces) == len(sandbox.received("telegram")) == 4


def test_fields_are_shown_instead_of_the_leads_own_ones(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    fields = {"Город": "{{ lead.custom['Площадь'] }} м²", "Кому": "<отдел> & {lead_name}", "Скидка": 5}
    deliver(sandbox, lead, make_call(), settings={"fields": fields})
    text = messages(sandbox)[0]["text"]
    assert "Город: 42 м²" in text
    assert f"Кому: <отдел> & {lead.name}" in text
    assert "Скидка: 5" in text
    assert "Срочно" not in text


def test_labels_of_the_settings_are_ours_and_those_of_the_lead_are_not(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    settings = {"fields": {"Источник": "{lead_source}"}}
    deliver(sandbox, lead, make_call(), settings=settings)
    deliver(sandbox, replace(lead, source="", custom={"Источник": "VIP"}), make_call())
    ours, theirs = (message["text"].splitlines() for message in messages(sandbox))
    assert f"Источник: {lead.source}" in ours
    assert "«Источник»: VIP" in theirs


@pytest.mark.parametrize(
    ("chat_id", "names"),
    [
        (42, ["", " chat 42"]),
        ("@Sales", ["", " group @sales", " chat @sales"]),
        (-1001, ["", " group -1001", " chat -1001"]),
    ],
)
def test_the_limits_are_the_published_ones_for_bot_group_and_chat(
    sandbox: Sandbox, chat_id: Any, names: list[str]
) -> None:
    limits = Telegram().limits(settings=TelegramSettings(), account=account_of(sandbox, chat_id=chat_id))
    bot = limits[0].name
    assert bot.startswith("telegram bot 7000000001 #")
    assert [limit.name for limit in limits] == [bot + name for name in names]
    rates = {(limit.calls, limit.period_s) for limit in limits}
    assert rates == ({(30, 1), (20, 60), (1, 1)} if len(names) == 3 else {(30, 1), (1, 1)})
    chosen = TelegramSettings.model_validate({"chat_id": chat_id})
    assert Telegram().limits(settings=chosen, account=account_of(sandbox, chat_id="@other")) == limits


def test_who_does_not_know_a_bots_token_uses_up_none_of_its_limits(sandbox: Sandbox) -> None:
    own, guessed = (
        Telegram().limits(settings=TelegramSettings(), account=account_of(sandbox, bot_token=token))
        for token in (TOKEN, f"{TOKEN.partition(':')[0]}:guessed")
    )
    assert {limit.name for limit in own}.isdisjoint(limit.name for limit in guessed)


def test_a_bot_is_the_same_account_in_every_chat_and_is_known_by_its_id(sandbox: Sandbox) -> None:
    one, other = account_of(sandbox), account_of(sandbox, chat_id="@other")
    assert Telegram().identity(one) == Telegram().identity(other)
    assert Telegram().label(one) == "bot 7000000001"


def test_a_token_without_a_bots_id_is_not_shown_either(sandbox: Sandbox) -> None:
    account = account_of(sandbox, bot_token="your_bot_token")
    limits = Telegram().limits(settings=TelegramSettings(), account=account)
    assert "your_bot_token" not in f"{Telegram().label(account)}{limits}"
    assert Telegram().label(account) != Telegram().label(account_of(sandbox, bot_token="your_other_token"))


def test_a_probe_asks_for_bot_and_chat_and_sends_nothing(sandbox: Sandbox, make_call: MakeCall) -> None:
    assert Telegram.can_probe
    words = Telegram().probe(account_of(sandbox, chat_id=-1001234567890), call=make_call())
    assert (
        words
        == "Telegram lets us in: bot @leads_bot, id 7000000001. It knows the chat -1001234567890: supergroup «Sales»."
    )
    assert messages(sandbox) == []


def test_a_probe_of_a_group_that_has_moved_says_where_to(sandbox: Sandbox, make_call: MakeCall) -> None:
    moved = {"error_code": 400, "description": "Bad Request: group chat was upgraded to a supergroup chat"}
    body = {"ok": False, **moved, "parameters": {"migrate_to_chat_id": -1009}}
    sandbox.fault(service="telegram", kind="answer", status=400, body=body, match="getChat")
    with pytest.raises(RejectedError, match=r"Its id is -1009 now\."):
        Telegram().probe(account_of(sandbox), call=make_call())


def test_a_probe_without_a_chat_says_so(sandbox: Sandbox, make_call: MakeCall) -> None:
    assert "names no chat" in Telegram().probe(account_of(sandbox, chat_id=None), call=make_call())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 401}, CredentialsError),
        ({"kind": "error", "description": "Bad Request: chat not found", "match": "getChat"}, RejectedError),
        ({"kind": "rate_limit"}, RateLimited),
        ({"kind": "status", "status": 502}, TransientError),
        ({"kind": "hang_up_after"}, TransientError),
    ],
)
def test_a_probe_that_fails_says_why_and_is_never_in_doubt(
    sandbox: Sandbox, make_call: MakeCall, fault: dict[str, Any], error: type[Exception]
) -> None:
    sandbox.fault(service="telegram", **fault)
    with pytest.raises(error) as caught:
        Telegram().probe(account_of(sandbox), call=make_call())
    assert type(caught.value) is error
    assert TOKEN not in str(caught.value)


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
        {"kind": "error", "error_code": 400, "description": "Bad Request: chat not found"},
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


def test_the_laravel_systems_credentials_are_taken_as_they_are() -> None:
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
