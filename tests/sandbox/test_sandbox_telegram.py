"""The sandbox's Telegram: ways to call it, texts, chats, errors."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from leadcast.sandbox import Sandbox

TOKEN = "7000000001:AAexampleexampleexampleexampleexamp"


def call(sandbox: Sandbox, method: str, *, token: str = TOKEN, **more: Any) -> requests.Response:
    return requests.post(f"{sandbox.telegram_url}/bot{token}/{method}", timeout=5, **more)


def send(sandbox: Sandbox, text: str, *, chat_id: Any = -1001234567890, **more: Any) -> requests.Response:
    return call(sandbox, "sendMessage", json={"chat_id": chat_id, "text": text, **more})


def test_a_message_is_sent_and_kept_with_its_entities(sandbox: Sandbox) -> None:
    answer = send(sandbox, "<b>Новая</b> заявка &amp; 😀 <i>x</i>", parse_mode="HTML").json()

    assert answer["ok"] is True
    message = answer["result"]
    assert message["text"] == "Новая заявка & 😀 x"
    assert message["entities"] == [
        {"offset": 0, "length": 5, "type": "bold"},
        {"offset": 18, "length": 1, "type": "italic"},
    ]
    assert message["chat"] == {"id": -1001234567890, "title": "Sales", "type": "supergroup"}
    assert sandbox.stored("telegram")["messages"] == [message]


@pytest.mark.parametrize("way", ["json", "data", "files", "params"])
def test_parameters_come_as_json_form_multipart_or_query(sandbox: Sandbox, way: str) -> None:
    params: Any = {"chat_id": "-5", "text": "Привет"}
    if way == "files":
        params = {name: (None, value) for name, value in params.items()}
    answer = call(sandbox, "SendMessage", **{way: params})
    assert answer.json()["result"]["text"] == "Привет"


@pytest.mark.parametrize(
    ("chat_id", "kind"),
    [("@notifications", "channel"), (42, "private"), ("-42", "group"), (-1001234567890, "supergroup")],
)
def test_chats_are_known_by_name_or_id(sandbox: Sandbox, chat_id: Any, kind: str) -> None:
    chat = call(sandbox, "getChat", json={"chat_id": chat_id}).json()["result"]
    assert chat["type"] == kind
    assert send(sandbox, "x", chat_id=chat_id).json()["result"]["chat"]["id"] == chat["id"]


def test_the_bot_knows_itself(sandbox: Sandbox) -> None:
    assert call(sandbox, "getMe").json()["result"]["id"] == 7000000001


@pytest.mark.parametrize(
    ("params", "description"),
    [
        ({"text": ""}, "Bad Request: message text is empty"),
        ({"text": "   \n"}, "Bad Request: text must be non-empty"),
        ({"text": "<b></b>", "parse_mode": "html"}, "Bad Request: text must be non-empty"),
        ({"text": "x" * 4097}, "Bad Request: message is too long"),
        ({"text": "x" * 32769}, "Bad Request: text is too long"),
        ({"text": "x", "parse_mode": "BBCode"}, "Bad Request: unsupported parse_mode"),
        ({"text": "x", "chat_id": ""}, "Bad Request: chat_id is empty"),
        ({"text": "x", "chat_id": "nobody"}, "Bad Request: chat not found"),
        ({"text": "\ud800"}, "Bad Request: strings must be encoded in UTF-8"),
        (
            {"text": "Строка<br>", "parse_mode": "HTML"},
            'Bad Request: can\'t parse entities: Unsupported start tag "br" at byte offset 12',
        ),
    ],
)
def test_what_telegram_refuses_is_refused_in_its_words(
    sandbox: Sandbox, params: dict[str, Any], description: str
) -> None:
    answer = call(sandbox, "sendMessage", json={"chat_id": 42, **params})
    assert answer.status_code == 400
    assert answer.json() == {"ok": False, "error_code": 400, "description": description}
    assert sandbox.stored("telegram")["messages"] == []


def test_the_limit_counts_characters_after_parsing(sandbox: Sandbox) -> None:
    assert send(sandbox, "<b>" + "я" * 4096 + "</b>", parse_mode="HTML").status_code == 200


def test_a_malformed_token_answers_404_and_a_revoked_one_401(sandbox: Sandbox) -> None:
    malformed = call(sandbox, "getMe", token="nonsense")
    revoked = call(sandbox, "getMe", token="1:revoked_token")
    sandbox.configure("telegram", tokens=["1:some_other_token"])
    unknown = call(sandbox, "getMe")

    assert (malformed.status_code, malformed.json()["description"]) == (404, "Not Found")
    assert (revoked.status_code, revoked.json()["description"]) == (401, "Unauthorized")
    assert unknown.status_code == 401


def test_an_unknown_method_answers_404(sandbox: Sandbox) -> None:
    assert call(sandbox, "sendNothing").json()["description"] == "Not Found: method not found"


def test_only_configured_chats_exist_once_there_are_any(sandbox: Sandbox) -> None:
    sandbox.configure("telegram", chats=["@sales"])
    assert send(sandbox, "x", chat_id="@sales").status_code == 200
    assert send(sandbox, "x", chat_id="@others").json()["description"] == "Bad Request: chat not found"


def test_flood_control_allows_one_message_a_second_to_a_chat(sandbox: Sandbox) -> None:
    sandbox.configure("telegram", flood_control=True, flood_retry_after_s=14)
    first, second, other = send(sandbox, "a"), send(sandbox, "b"), send(sandbox, "c", chat_id=42)

    assert (first.status_code, second.status_code, other.status_code) == (200, 429, 200)
    assert second.json()["parameters"] == {"retry_after": 14}
    assert second.headers["Retry-After"] == "14"


def test_an_upgraded_group_tells_its_new_id_which_works(sandbox: Sandbox) -> None:
    sandbox.fault(service="telegram", kind="migrate", chat_id=-5, migrate_to_chat_id=-1005)
    answer = send(sandbox, "x", chat_id="-5")

    assert answer.json()["description"] == "Bad Request: group chat was upgraded to a supergroup chat"
    assert answer.json()["parameters"] == {"migrate_to_chat_id": -1005}
    assert send(sandbox, "x", chat_id=-1005).status_code == 200


def test_a_blocked_bot_answers_403_in_that_chat_only(sandbox: Sandbox) -> None:
    sandbox.fault(service="telegram", kind="blocked", chat_id=7)
    assert send(sandbox, "x", chat_id=7).json()["description"] == "Forbidden: bot was blocked by the user"
    assert send(sandbox, "x", chat_id=8).status_code == 200


def test_any_error_can_be_asked_for(sandbox: Sandbox) -> None:
    text = "Forbidden: bot was kicked from the supergroup chat"
    sandbox.fault(service="telegram", kind="error", error_code=403, description=text)
    assert send(sandbox, "x").json() == {"ok": False, "error_code": 403, "description": text}


def test_the_token_is_not_readable_afterwards(sandbox: Sandbox) -> None:
    send(sandbox, "x")
    requests.get(f"{sandbox.telegram_url}/file/bot{TOKEN}/x", timeout=5)
    entry = sandbox.received("telegram")[0]
    shown = requests.get(f"{sandbox.control_url}/page", headers=sandbox.authorization, timeout=5).text
    kept = str(sandbox.received("telegram")) + shown
    assert TOKEN not in kept
    assert TOKEN.split(":")[1] not in kept
    assert entry["path"] == f"/bot{entry['credential']}/sendMessage"
