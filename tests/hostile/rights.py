"""Who may do what: one table. tests/hostile/test_people.py holds the application to it; docs/security.md shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WHO = {
    "nobody": "nobody (no token)",
    "viewer": "looks on",
    "sender-other": "sends; not his",
    "sender-own": "sends; his own",
    "operator": "operates",
}
"""User in the tests → how the page calls him. The simple auth manager's admins and ops operate, FAB's Admin does."""
LEAD = "7"
BATCH: dict[str, Any] = {
    "lead_id": LEAD,
    "lead": {"name": "Ann Needle", "phone": "+79990000007", "custom": {"needle field": [1, 2]}},
    "integrations": [
        {"type": "telegram"},
        {"type": "email", "settings": {"template": "new_lead"}},
        {"type": "webhook"},
    ],
    "credentials": {
        "telegram": {"bot_token": "700:a-telegram-token-of-the-tests-0000", "chat_id": "@notifications"},
        "email": {"emails": ["admin@example.com"]},
        "webhook": {"url": "https://needle.example:8443/hook"},
    },
}
_ALL = dict.fromkeys(WHO, 200)


def _may(code: int, *who: str) -> dict[str, int]:
    """These are answered with this code, others with 403; nobody with 401."""
    return {user: 401 if user == "nobody" else code if user in who else 403 for user in WHO}


READ = _may(200, "viewer", "sender-other", "sender-own", "operator")
SENDERS = ("sender-other", "sender-own", "operator")
OWN = ("sender-own", "operator")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call. `expected`: user → status; `body`: what is sent; `note`: what the page says besides."""

    method: str
    path: str
    expected: Mapping[str, int]
    body: Any = field(default=None, repr=False)
    note: str = ""


CALLS: Sequence[Call] = (
    Call(method="GET", path="/health", expected=_ALL, note="no lead, no person"),
    Call(method="POST", path="/send-batch", expected=_may(202, *SENDERS), body=BATCH | {"lead_id": "new"}),
    Call(method="GET", path="/batches", expected=READ, note="others' masked"),
    Call(method="GET", path="/batches/{batch_id}", expected=READ, note="others' masked"),
    Call(method="POST", path="/batches/{batch_id}/retry", expected=_may(202, *OWN)),
    Call(method="POST", path="/batches/{batch_id}/cancel", expected=_may(200, *OWN)),
    Call(
        method="PUT",
        path="/leads/{lead_id}",
        expected=_may(200, *SENDERS),
        body={"name": "Bo"},
        note="over another's, it is nobody's alone",
    ),
    Call(method="GET", path="/leads/{lead_id}", expected=READ, note="others' masked; 404 where it was never sent"),
    Call(
        method="DELETE",
        path="/leads/{lead_id}",
        expected=_may(200, *OWN),
        note="his: nobody else stored or sent it, or has a run that holds it",
    ),
    Call(
        method="GET",
        path="/leads/{lead_id}/erasure",
        expected=_may(200, *OWN),
        note="his own, and what he has asked for",
    ),
    Call(method="GET", path="/openapi.json", expected=READ),
    Call(method="GET", path="/docs", expected=READ),
    Call(method="GET", path="/ui", expected=READ, note="others' masked"),
    Call(method="GET", path="/ui/batches/{batch_id}", expected=READ, note="others' masked, without buttons"),
    Call(method="GET", path="/ui/leadcast.css", expected=READ),
    Call(method="GET", path="/ui/leadcast.js", expected=READ),
)


@dataclass(frozen=True, kw_only=True)
class Field:
    """Something that an answer holds. `seen_by`: the users to whom it is shown; to all others it is masked.

    needle: text that is there for those who see it, and in no answer for the others.
    """

    name: str
    seen_by: tuple[str, ...]
    needle: str = ""
    masked_as: str = ""


LOOKERS = ("viewer", "sender-other", "sender-own", "operator")
FIELDS: Sequence[Field] = (
    Field(name="ids of leads, batches, deliveries, runs", seen_by=LOOKERS, needle=f'"{LEAD}"'),
    Field(name="status, counts, types, times, attempts", seen_by=LOOKERS, needle='"partial"'),
    Field(name="`sent_by`", seen_by=LOOKERS, needle='"sender-own"'),
    Field(name="`receipt.external_id`", seen_by=LOOKERS, needle="<42@example.com>"),
    Field(name="class and code of an error", seen_by=LOOKERS, needle='"RejectedError"'),
    Field(name="an error's `message`: our own words", seen_by=LOOKERS, needle="connection refused; nothing was sent."),
    Field(name="an error's `message`: a service's words", seen_by=OWN, needle="needle said", masked_as="…"),
    Field(
        name="an error's `message`: an address, or another value that our words are about",
        seen_by=OWN,
        needle="needle.example",
        masked_as="…",
    ),
    Field(name="an error's `detail`", seen_by=OWN, needle="needle detail", masked_as="null"),
    Field(name="`receipt.detail`", seen_by=OWN, needle="needle of a receipt", masked_as="null"),
    Field(name="`notes`: what of the lead was mended", seen_by=OWN, needle="needle field", masked_as="null"),
    Field(name="`lead`: name, phone, e-mail, what they wrote", seen_by=OWN, needle="Ann Needle", masked_as="null"),
)


def calls_table() -> str:
    """The table of the page."""
    rows = [["call", *WHO.values(), ""]]
    rows.append(["---"] * len(rows[0]))
    for call in CALLS:
        rows.append([f"`{call.method} {call.path}`", *(str(call.expected[user]) for user in WHO), call.note])
    return _lines(rows)


def fields_table() -> str:
    """The table of the page."""
    names = {user: name for user, name in WHO.items() if user != "nobody"}
    rows = [["field of an answer", *names.values()]]
    rows.append(["---"] * len(rows[0]))
    for item in FIELDS:
        hidden = f"masked: `{item.masked_as}`" if item.masked_as else ""
        rows.append([item.name, *("shown" if user in item.seen_by else hidden for user in names)])
    return _lines(rows)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in rows)
