"""What the Bot API may answer to a message (vendors.md 3.1, 3.3, 3.4)."""

from __future__ import annotations

from typing import Any

from tests.support.error_table.cases import SECRET, Case

MOVED_TO = -1009999999999
UNSURE: dict[str, Any] = {"error": "UnknownOutcome", "state": "unknown"}


def error(status: int, description: str, **more: Any) -> dict[str, Any]:
    """The server's error body."""
    return {"kind": "error", "error_code": status, "description": description, **more}


def half_a_character(status: int, *, parameters: str = "{}") -> str:
    """An error body in which an emoji was cut in two."""
    return f'{{"ok": false, "error_code": {status}, "description": "No: \\ud83d", "parameters": {parameters}}}'


def rejected(status: int, description: str, **more: Any) -> Case:
    return Case(
        says=f"{status} `{description}`",
        faults=[error(status, description)],
        error="RejectedError",
        state="failed",
        code=str(status),
        **more,
    )


def bad_token(status: int, description: str, **more: Any) -> Case:
    return Case(
        says=f"{status} `{description}`",
        faults=[error(status, description)],
        error="CredentialsError",
        state="failed",
        code=str(status),
        **more,
    )


CASES: list[Case] = [
    # mended at once: what is refused with 400 was not sent
    Case(
        says="400 `group chat was upgraded to a supergroup chat`, with `migrate_to_chat_id`",
        faults=[{"kind": "migrate", "chat_id": "-1001234567890", "migrate_to_chat_id": MOVED_TO}],
        note="sent to the new id, which is remembered",
    ),
    Case(
        says="400 `group chat was upgraded to a supergroup chat`, and the new one is not known",
        faults=[{"kind": "migrate", "chat_id": "-1001234567890", "migrate_to_chat_id": MOVED_TO}],
        sandbox={"chats": ["-1001234567890"]},
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="400 `group chat was upgraded to a supergroup chat`, without an id",
        faults=[error(400, "Bad Request: group chat was upgraded to a supergroup chat")],
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says='400 `can\'t parse entities: Unsupported start tag "br" at byte offset 17`',
        faults=[error(400, 'Bad Request: can\'t parse entities: Unsupported start tag "br" at byte offset 17')],
        note="sent as plain text",
    ),
    Case(
        says="400 `can't parse entities`, of plain text, too",
        faults=[error(400, "Bad Request: can't parse entities: no", times=2)],
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="400 `message is too long`",
        faults=[error(400, "Bad Request: message is too long")],
        note="sent cut and as plain text",
    ),
    Case(
        says="400 `message is too long`, of the cut one, too",
        faults=[error(400, "Bad Request: message is too long", times=2)],
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="400 `message thread not found`",
        faults=[error(400, "Bad Request: message thread not found", match="message_thread_id")],
        settings={"message_thread_id": 7},
        note="sent into the same chat without a topic",
    ),
    Case(
        says="400 `TOPIC_CLOSED`",
        faults=[error(400, "Bad Request: TOPIC_CLOSED")],
        settings={"message_thread_id": 7},
        error="RejectedError",
        state="failed",
        code="400",
        note="people have closed it",
    ),
    # the chat, or the message
    rejected(400, "Bad Request: chat not found", note="a wrong id, or the bot has never met the user"),
    rejected(400, "Bad Request: chat_id is empty"),
    rejected(400, "Bad Request: not enough rights to send text messages to the chat"),
    rejected(400, "Bad Request: CHAT_WRITE_FORBIDDEN"),
    rejected(400, "Bad Request: text must be non-empty"),
    rejected(403, "Forbidden: bot was blocked by the user"),
    rejected(403, "Forbidden: user is deactivated"),
    rejected(403, "Forbidden: bot was kicked from the supergroup chat"),
    rejected(403, "Forbidden: bot is not a member of the channel chat"),
    rejected(403, "Forbidden: the group chat was deleted"),
    rejected(403, "Forbidden: bot can't initiate conversation with a user"),
    rejected(403, "Forbidden: the bot can't send messages to the bot"),
    Case(
        says="400 with half a character in its words",
        faults=[{"kind": "answer", "status": 400, "text": half_a_character(400)}],
        error="RejectedError",
        state="failed",
        code="400",
    ),
    # the bot
    Case(
        says="401 `Unauthorized`: the token was revoked",
        credentials={"bot_token": f"123456:revoked{SECRET}"},
        error="CredentialsError",
        state="failed",
        code="401",
    ),
    Case(
        says="404 `Not Found`: the token is malformed",
        credentials={"bot_token": SECRET},
        error="CredentialsError",
        state="failed",
        code="404",
    ),
    bad_token(401, "Unauthorized: invalid token specified", note="one's own server"),
    bad_token(404, "Not Found: method not found", note="no Bot API server there"),
    bad_token(421, "Misdirected Request: unallowed token specified", note="one's own server"),
    # later
    Case(
        says="429 `Too Many Requests: retry after 14`",
        faults=[{"kind": "rate_limit", "retry_after": 14}],
        error="RateLimited",
        state="retrying",
        code="429",
        note="`parameters.retry_after`",
    ),
    *(
        Case(
            says=f"429 with `retry_after` {seconds}",
            faults=[{"kind": "answer", "status": 429, "body": {"ok": False, "parameters": {"retry_after": seconds}}}],
            error="RateLimited",
            state="retrying",
            code="429",
            note="never sooner than without",
        )
        for seconds in (0, -1)
    ),
    Case(
        says="429 that names the time in the header only",
        faults=[{"kind": "answer", "status": 429, "headers": {"Retry-After": "21"}, "text": "<html>"}],
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    Case(
        says="429 with half a character in its words",
        faults=[{"kind": "answer", "status": 429, "text": half_a_character(429, parameters='{"retry_after": 14}')}],
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    Case(
        says="429 that names no time",
        faults=[{"kind": "answer", "status": 429, "text": ""}],
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    Case(
        says="no connection",
        faults=[{"kind": "down"}],
        error="TransientError",
        state="retrying",
        code="unreachable",
    ),
    # Telegram knows no key and cannot be asked
    Case(says="500 `Internal Server Error: restart`", faults=[error(500, "Internal Server Error: restart")], **UNSURE),
    Case(says="502 with an HTML page", faults=[{"kind": "non_json", "status": 502}], **UNSURE),
    Case(says="504 with an HTML page", faults=[{"kind": "non_json", "status": 504}], **UNSURE),
    Case(
        says="502, and `on_unknown: resend`",
        faults=[{"kind": "non_json"}],
        settings={"on_unknown": "resend"},
        error="UnknownOutcome",
        state="retrying",
    ),
    Case(
        says="200 without a message",
        faults=[{"kind": "answer", "status": 200, "body": {"ok": True, "result": {}}}],
        **UNSURE,
    ),
    Case(says="200, and the body breaks off", faults=[{"kind": "cut"}], code="200", **UNSURE),
    Case(says="200 with something that is not JSON", faults=[{"kind": "non_json", "status": 200}], **UNSURE),
    Case(says="the connection breaks before an answer", faults=[{"kind": "hang_up_after"}], code="no_answer", **UNSURE),
    Case(
        says="no answer in time",
        faults=[{"kind": "slow", "delay_s": 60}],
        leadcast={"timeout_s": 0.3},
        code="timeout",
        **UNSURE,
    ),
    Case(
        says="403 with an HTML page",
        faults=[{"kind": "non_json", "status": 403}],
        code="403",
        note="a gateway's, not the Bot API's own form",
        **UNSURE,
    ),
    Case(
        says="408 in the Bot API's form",
        faults=[error(408, "Request Timeout")],
        code="408",
        note="no status of its own",
        **UNSURE,
    ),
    Case(
        says="302 to elsewhere",
        faults=[{"kind": "answer", "status": 302, "headers": {"Location": "https://elsewhere.example"}, "text": ""}],
        code="302",
        note="redirects are not followed",
        **UNSURE,
    ),
]
