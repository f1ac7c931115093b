"""The journal: what each service received, in memory, bounded, without secrets in clear."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from leadcast.sandbox.ports import ServiceName

MAX_ENTRIES = 10_000
MAX_TOTAL_BYTES = 256 * 1024 * 1024
FINGERPRINT_CHARS = 8

_SECRET_NAME = re.compile(
    r"^(auth|code|.*(authorization|cookie|token|secret|passw(or)?d|api[-_]?key|credential).*)$", re.IGNORECASE
)


def fingerprint(secret: str) -> str:
    """What is kept of a secret: enough to tell two apart, too little to use one."""
    return "sha256:" + hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:FINGERPRINT_CHARS]


def is_secret_name(name: str) -> bool:
    """Does a field, parameter or header of that name usually carry a secret?"""
    return _SECRET_NAME.match(name) is not None


def without_secrets(value: Any, *, name: str = "") -> Any:
    """The same JSON value, with every string under a secret's name replaced by its fingerprint."""
    if isinstance(value, Mapping):
        return {key: without_secrets(item, name=str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item, name=name) for item in value]
    if isinstance(value, str) and value and is_secret_name(name):
        return fingerprint(value)
    return value


@dataclass(kw_only=True)
class Received:
    """One call (or one message) that came in.

    `status` is what was answered, None when the connection was closed without an answer. `executed` tells whether the
    call had its effect; `stored` is what it created. `details` holds what only this service has.
    """

    service: ServiceName
    method: str
    path: str
    id: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: int | None = None
    executed: bool = False
    fault: str | None = None
    credential: str | None = None
    query: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    stored: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    size_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """The entry as the control service and `Sandbox.received` show it."""
        return {
            "id": self.id,
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "service": self.service.value,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "executed": self.executed,
            "fault": self.fault,
            "credential": self.credential,
            "query": self.query,
            "headers": self.headers,
            "body": self.body,
            "stored": self.stored,
            **self.details,
        }


class Journal:
    """Newest last, per service; the oldest entries go when there are too many."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
        self._max_entries = max_entries
        self._max_total_bytes = max_total_bytes
        self._ids = itertools.count(1)
        self._entries: dict[ServiceName, deque[Received]] = {name: deque() for name in ServiceName}
        self._size_bytes: dict[ServiceName, int] = dict.fromkeys(ServiceName, 0)
        self._total: dict[ServiceName, int] = dict.fromkeys(ServiceName, 0)

    def add(self, entry: Received) -> None:
        entry.id = next(self._ids)
        entries = self._entries[entry.service]
        entries.append(entry)
        self._total[entry.service] += 1
        self._size_bytes[entry.service] += entry.size_bytes
        while len(entries) > self._max_entries or (
            self._size_bytes[entry.service] > self._max_total_bytes and len(entries) > 1
        ):
            self._size_bytes[entry.service] -= entries.popleft().size_bytes

    def of(self, service: ServiceName) -> tuple[Received, ...]:
        return tuple(self._entries[service])

    def counts(self) -> dict[str, int]:
        """How many came in since the start or the last `clear`, those that are no longer kept included."""
        return {name.value: total for name, total in self._total.items()}

    def clear(self) -> None:
        for name in ServiceName:
            self._entries[name].clear()
            self._size_bytes[name] = 0
            self._total[name] = 0
