"""A Bitrix24 account for the tests: its credentials, a memory, and calls through the integration to the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Account, Call
from leadcast.integrations.bitrix24.integration import Bitrix24, Bitrix24Credentials, Bitrix24Settings
from leadcast.sandbox import Sandbox

MakeCall = Callable[..., Call]
ADD = "crm.item.add"
NO_SEARCH = {"find_contact": False}
CODE = "s3cretc0de42abcd"
WEBHOOK = {"webhook_url": f"https://example.bitrix24.ru/rest/1/{CODE}/"}
OAUTH: dict[str, Any] = {
    "domain": "example.bitrix24.ru",
    "access_token": "expired-access",
    "refresh_token": "refresh-0",
    "client_id": "app.1a2b",
    "client_secret": "client-s3cret",
}


def account_of(base_url: str, **credentials: Any) -> Account[Bitrix24Credentials]:
    return Account(credentials=Bitrix24Credentials.model_validate(credentials or WEBHOOK), base_url=base_url)


def deliver(
    lead: Lead, sandbox: Sandbox, call: Call, *, settings: dict[str, Any] | None = None, **credentials: Any
) -> Receipt:
    return Bitrix24().deliver(
        lead,
        settings=Bitrix24Settings.model_validate(settings or {}),
        account=account_of(sandbox.bitrix24_url, **credentials),
        call=call,
    )


def find(lead: Lead, sandbox: Sandbox, call: Call, **settings: Any) -> Receipt | None:
    return Bitrix24().find(
        lead,
        settings=Bitrix24Settings.model_validate(settings),
        account=account_of(sandbox.bitrix24_url),
        call=call,
    )


def only(items: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(items) == 1
    return items[0]


def methods(sandbox: Sandbox) -> list[tuple[str, int | None]]:
    """The last part of each path, and what was answered."""
    return [(entry["path"].rstrip("/").rsplit("/", 1)[1], entry["status"]) for entry in sandbox.received("bitrix24")]


class Remembered:
    """A `Memory` that may be looked at: `values`, and how often it was written to. Nothing in it grows old."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.values: dict[str, Any] = dict(values or {})
        self.writes = 0

    def recall(self, name: str) -> Any:
        return self.values.get(name)

    def remember(self, name: str, value: Any, *, for_s: float | None = None) -> None:
        self.writes += 1
        self.values[name] = value
