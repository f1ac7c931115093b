"""What the tests of amoCRM share: an account, one attempt, and what the sandbox got of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import requests

from leadcast.core.model import Lead, Receipt
from leadcast.integrations.amocrm.integration import AmoCrm
from leadcast.integrations.amocrm.settings import AmoCrmCredentials, AmoCrmSettings
from leadcast.integrations.base import Account, Call
from leadcast.sandbox import Sandbox

MakeCall = Callable[..., Call]


class Progress:
    """What one attempt keeps for the next."""

    def __init__(self) -> None:
        self.kept: Mapping[str, Any] = {}

    def keep(self, progress: Mapping[str, Any]) -> None:
        self.kept = json.loads(json.dumps(progress))


def account_of(base_url: str, **credentials: Any) -> Account[AmoCrmCredentials]:
    given = {
        "subdomain": "example",
        "client_id": "0a0a-1111",
        "client_secret": "client-s3cret",
        "access_token": "access-long-lived",
        "redirect_uri": "https://hook.example.ru/amo",
        **credentials,
    }
    return Account(credentials=AmoCrmCredentials.model_validate(given), base_url=base_url)


def deliver(
    lead: Lead, sandbox: Sandbox, call: Call, *, settings: dict[str, Any] | None = None, **credentials: Any
) -> Receipt:
    return AmoCrm().deliver(
        lead,
        settings=AmoCrmSettings.model_validate(settings or {}),
        account=account_of(sandbox.amocrm_url, **credentials),
        call=call,
    )


def find(lead: Lead, sandbox: Sandbox, call: Call, **settings: Any) -> Receipt | None:
    return AmoCrm().find(
        lead,
        settings=AmoCrmSettings.model_validate(settings),
        account=account_of(sandbox.amocrm_url),
        call=call,
    )


def stored_lead(sandbox: Sandbox) -> dict[str, Any]:
    """The only lead there is."""
    leads = sandbox.stored("amocrm")["leads"]
    assert len(leads) == 1
    return leads[0]


def other_leads(sandbox: Sandbox, count: int) -> None:
    """Somebody else's, newer than all that is there."""
    for start in range(0, count, 250):
        requests.post(
            f"{sandbox.amocrm_url}/api/v4/leads",
            json=[{"name": str(number)} for number in range(start, min(start + 250, count))],
            headers={"Authorization": "Bearer t"},
            timeout=10,
        ).raise_for_status()


def calls(sandbox: Sandbox) -> list[tuple[str, str, int | None]]:
    return [(entry["method"], entry["path"], entry["status"]) for entry in sandbox.received("amocrm")]
