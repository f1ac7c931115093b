"""The leads that are sent, and how to find out whether each has arrived once at each of the five services."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from leadcast.client.api import Api
from leadcast.sandbox.ports import ServiceName

TYPES = ("email", "amocrm", "telegram", "bitrix24", "webhook")
RECIPIENT = "bench@example.com"


class BenchError(Exception):
    """What was sent did not arrive as it should: no figure of this run is worth anything."""


@dataclass(frozen=True)
class BenchLead:
    """One made-up lead. Its name is unique and reaches every service."""

    number: int
    tag: str

    @property
    def name(self) -> str:
        """The name by which it is found again."""
        return f"Bench {self.tag}-{self.number:05d}"

    def as_json(self) -> dict[str, str]:
        """The lead as requests carry it."""
        phone = f"+7999{int(self.tag, 16) % 1000:03d}{self.number % 10_000:04d}"
        return {"name": self.name, "phone": phone, "email": f"lead-{self.tag}-{self.number}@example.com"}


def leads(count: int) -> list[BenchLead]:
    """Leads that no run has sent before."""
    tag = secrets.token_hex(4)
    return [BenchLead(number, tag) for number in range(count)]


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """What the sandbox has of some leads. `missing` and `twice` are sums over the five services."""

    sent: int
    missing: int
    twice: int

    def __str__(self) -> str:
        return f"{self.sent} × {len(TYPES)}: {self.missing} missing, {self.twice} twice"


def arrivals(sent: list[BenchLead], sandbox: Api) -> Arrivals:
    """Asks every service of the sandbox, through its control service, for every lead.

    Raises:
        BenchError: one is missing, or came twice.
    """
    found: Counter[tuple[ServiceName, str]] = Counter()
    for service in ServiceName:
        for text in _objects(sandbox, service):
            found.update((service, lead.name) for lead in sent if lead.name in text)
    counts = [found[service, lead.name] for service in ServiceName for lead in sent]
    result = Arrivals(sent=len(sent), missing=counts.count(0), twice=sum(count > 1 for count in counts))
    if result.missing or result.twice:
        raise BenchError(f"Not every lead arrived once at every service. {result}.")
    return result


def _objects(sandbox: Api, service: ServiceName) -> Iterator[str]:
    """What a service has made of what it was sent, each as text."""
    for item in _made(sandbox, service):
        yield json.dumps(item, ensure_ascii=False)


def _made(sandbox: Api, service: ServiceName) -> list[Any]:
    if service is ServiceName.WEBHOOK:
        # what it stores are ids only; a call that it did not execute is none
        return [call for call in sandbox.call("GET", f"/received/{service}") if call["executed"]]
    stored = sandbox.call("GET", f"/stored/{service}")
    match service:
        case ServiceName.TELEGRAM:
            return list(stored["messages"])
        case ServiceName.SMTP:
            # not those to the people who are told of a batch's end
            return [letter for letter in stored["letters"] if RECIPIENT in json.dumps(letter)]
        case _:
            return list(stored["leads"])
