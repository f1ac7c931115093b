"""The clients: each sends its lead until it is told that it was accepted, always under the same Idempotency-Key."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from chaos.stack import Stage
from chaos.world import CHAT_PREFIX
from leadcast.client.api import Api, ApiError
from leadcast.client.errors import StackError

TYPES = ("amocrm", "bitrix24", "email", "telegram", "webhook")
PATIENCE_S = 300.0
_PAUSE_S = 0.5


@dataclass(kw_only=True)
class Sent:
    """One lead as its client knows it. `answers`: the batch ids that it was told, one a 202."""

    number: int
    types: tuple[str, ...]
    body: dict[str, Any]
    scenario: str = ""
    answers: set[str] = field(default_factory=set)
    repeats: int = 0

    @property
    def lead_id(self) -> str:
        """Its lead's id, which is also its Idempotency-Key."""
        return f"chaos-{self.number}"

    @property
    def chat(self) -> str:
        """The Telegram chat that only this lead goes to."""
        return str(CHAT_PREFIX + self.number)


class People:
    """Sends leads, and remembers each."""

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self.stage = stage
        self.sent: list[Sent] = []
        self._chance = chance
        self._lock = threading.Lock()
        self._api: Api | None = None

    def make(self, count: int, *, kind: str, scenario: str) -> list[Sent]:
        """Leads for a scenario: each goes to `kind`, if that is an integration, and to another one or two."""
        with self._lock:
            made = []
            for _ in range(count):
                fewest = 0 if kind in TYPES else 1
                others = self._chance.sample(
                    [name for name in TYPES if name != kind], fewest + self._chance.randint(0, 1)
                )
                types = tuple(sorted({kind, *others} & set(TYPES)))
                made.append(self._lead(len(self.sent), types, scenario))
                self.sent.append(made[-1])
            return made

    def _lead(self, number: int, types: tuple[str, ...], scenario: str) -> Sent:
        own = {"telegram": {"chat_id": CHAT_PREFIX + number}}
        body: dict[str, Any] = {
            "lead_id": f"chaos-{number}",
            "lead": {
                "name": f"Chaos {number:05d}",
                "phone": f"+79{number:09d}",
                "email": f"chaos-{number}@example.com",
            },
            "integrations": [{"type": kind, "settings": own.get(kind, {})} for kind in types],
            "credentials": {"email": {"emails": [f"to-{number}@example.com"], "subject": "Lead {lead_name}"}}
            if "email" in types
            else {},
        }
        if number % 2:
            body["callback_url"] = f"{self.callback_base()}/callbacks/{number}"
        return Sent(number=number, types=types, body=body, scenario=scenario)

    def callback_base(self) -> str:
        """Where callbacks go: the webhook receiver of the world outside."""
        return f"http://127.0.0.1:{self.stage.world.ports.sandbox.webhook}"

    def send(self, item: Sent) -> str:
        """Sends until a 202 came.

        Raises:
            ApiError: it was refused, or none came in five minutes.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self._call(item)
            except (ApiError, StackError) as error:
                refused = isinstance(error, ApiError) and 400 <= error.status < 500 and error.status not in (401, 429)
                if refused or time.monotonic() > until:
                    raise
                item.repeats += 1
                self._api = None
                time.sleep(_PAUSE_S)
            else:
                item.answers.add(str(answer["batch_id"]))
                return str(answer["batch_id"])

    def _call(self, item: Sent) -> Any:
        api = self._api = self._api or self.stage.api("user")
        return api.call(
            "POST",
            "/api/integrations/send-batch",
            json=item.body,
            headers={"Idempotency-Key": item.lead_id},
            timeout_s=60,
        )
