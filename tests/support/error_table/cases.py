"""What a case of the error table is: what a service answers, and what must come of it.

Each service's cases stand in `<service>.py` beside this file, as `CASES`; `tests/store/test_errors.py` runs them
through the real deliverer, and writes docs/errors.md from what it saw.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pydantic import SecretStr

from leadcast.integrations.connection import ConnectionFields
from leadcast.sandbox import Sandbox

SECRET = "s3cret5bW4hJ9ZZtopAABBCC"
"""Stands in every account; no error may show it. A case may have the service repeat it."""
WEBHOOK_SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY"
LEAD: Mapping[str, Any] = {
    "name": "Анна Пример",
    "phone": "+79990000001",
    "email": "anna@example.com",
    "company": "ООО Ромашка",
    "comment": "Перезвоните завтра",
    "source": "landing-a",
    "utm": {"utm_source": "yandex"},
}
"""The lead of every case; nothing of it may stand in an error."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that a service may answer.

    says: what it answers, short; the first column of the table, unique for a service.
    faults: set on the sandbox one by one. `service` need not be said.
    error: the class that the ledger has after one attempt; None: delivered all the same.
    state: the delivery's state after that attempt.
    code: the error's code; None: whichever.
    note: a few words for the reader of the table.
    settings: the request's settings of the integration.
    credentials: over those of `credentials_of`; None takes one away. `{webhook}` in a text is the receiver's host.
    connection: e-mail: over the fields of the mail server's connection.
    sandbox: settings of the sandbox's service.
    leadcast: Leadcast's own settings (`{"timeout_s": 0.3}` for an answer that does not come).
    """

    says: str
    faults: Sequence[Mapping[str, Any]] = ()
    error: str | None = None
    state: str = "delivered"
    code: str | None = None
    note: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=dict)
    connection: Mapping[str, Any] = field(default_factory=dict)
    sandbox: Mapping[str, Any] = field(default_factory=dict)
    leadcast: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """What it says, as part of a test's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.says.lower()).strip("-")


@dataclass(frozen=True)
class Service:
    """An integration with the name of its service in the sandbox, and its name in the table."""

    type: str
    title: str
    sandbox: str


SERVICES = (
    Service("amocrm", "amoCRM", "amocrm"),
    Service("bitrix24", "Bitrix24", "bitrix24"),
    Service("telegram", "Telegram", "telegram"),
    Service("email", "E-mail", "smtp"),
    Service("webhook", "Webhook", "webhook"),
)


def cases_of(service: Service) -> list[Case]:
    """The cases of one service."""
    cases: list[Case] = import_module(f"tests.support.error_table.{service.type}").CASES
    slugs = [case.slug for case in cases]
    doubled = {slug for slug in slugs if slugs.count(slug) > 1}
    assert not doubled, f"{service.type}: stands there twice: {doubled}"
    return cases


def credentials_of(service: Service, case: Case, sandbox: Sandbox) -> dict[str, Any]:
    """What the request brings as `credentials`."""
    usual: dict[str, dict[str, Any]] = {
        "amocrm": {
            "subdomain": "example",
            "client_id": "0a-1b",
            "client_secret": SECRET,
            "access_token": SECRET + "a",
            "redirect_uri": "https://hook.example.ru/amo",
        },
        "bitrix24": {"webhook_url": f"https://example.bitrix24.ru/rest/1/{SECRET}/"},
        "telegram": {"bot_token": f"123456:{SECRET}ABCDEFGHIJKLMNO", "chat_id": "-1001234567890"},
        "email": {"emails": ["sales@example.com", "boss@example.com"]},
        "webhook": {"url": f"{sandbox.webhook_url}/{SECRET}", "secret": WEBHOOK_SECRET},
    }
    merged = usual[service.type] | dict(case.credentials)
    host = sandbox.webhook_url.partition("//")[2]
    return {
        name: value.replace("{webhook}", host) if isinstance(value, str) else value
        for name, value in merged.items()
        if value is not None
    }


def mail_server(case: Case, sandbox: Sandbox) -> ConnectionFields:
    """The connection of the sandbox's mail server, without login and TLS unless the case says so."""
    fields = {
        "conn_id": "smtp_default",
        "host": sandbox.smtp_host,
        "port": sandbox.smtp_port,
        "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "leads@example.com", "timeout": 5},
        **case.connection,
    }
    return ConnectionFields(**fields | {"password": SecretStr(fields.get("password", ""))})
