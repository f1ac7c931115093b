"""A store with batches in it, and a service whose answers a test writes down beforehand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from leadcast.core.model import Lead, Receipt
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.flow.settle import Settler
from leadcast.integrations.base import Account, Call, Integration, RequestModel
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.database import Store

from .ground import Ground

SECRET = "whsec_a-secret-that-must-not-appear"


class AnySettings(RequestModel):
    """Whatever the real integration of that type takes is not looked at here."""

    model_config = RequestModel.model_config | {"extra": "ignore"}


class OneSecret(RequestModel):
    token: SecretStr = SecretStr(SECRET)


@dataclass
class Service(Integration[AnySettings, OneSecret]):
    """A destination that does what it was told: answers a receipt, or raises. Remembers what it got."""

    answers: list[Receipt | BaseException | None] = field(default_factory=list)
    finds: list[Receipt | BaseException | None] = field(default_factory=list)
    got: list[Call] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    while_sending: Callable[[], object] = lambda: None
    repeatable: bool = False  # type: ignore[misc]
    can_find: bool = False  # type: ignore[misc]
    absent_after_s: float = 0  # type: ignore[misc]

    type = "scripted"

    def deliver(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt:
        self.got.append(call)
        self.while_sending()
        return self._next(self.answers) or Receipt(external_id=f"ext-{len(self.got)}")

    def find(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt | None:
        self.asked.append(call.key)
        found: Receipt | None = self._next(self.finds)
        return found

    @staticmethod
    def _next(planned: list[Any]) -> Any:
        answer = planned.pop(0) if planned else None
        if isinstance(answer, BaseException):
            raise answer
        return answer


class StoppedClock:
    """A clock that goes only when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def waits_or_ends(store: Store, future: Future[Any]) -> None:
    """Returns once the other thread waits for a lock of ours, or has not waited for any."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(2000):
        with store.begin() as connection:
            if future.done() or connection.execute(text(waiting)).scalar_one():
                return
        threading.Event().wait(0.005)
    raise AssertionError("it neither waits nor ends")


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def settings() -> Settings:
    return Settings(notify_emails=("sales@example.com",))


@pytest.fixture
def inbox(store: Store, settings: Settings, clock: StoppedClock) -> Inbox:
    return Inbox(store, settings, clock=clock)


@pytest.fixture
def accept(inbox: Inbox) -> Callable[..., Accepted]:
    """Accepts a batch for the given types, lead inline."""

    def accept(*types: str, lead_id: int = 123, **more: Any) -> Accepted:
        integrations = [{"type": kind} for kind in types or ("telegram",)]
        return inbox.accept({"lead_id": lead_id, "lead": {"name": "Анна"}, "integrations": integrations, **more})

    return accept


@pytest.fixture
def hidden() -> list[str]:
    """What the engine was told to mask."""
    return []


@pytest.fixture
def deliverer(store: Store, settings: Settings, clock: StoppedClock, hidden: list[str]) -> Deliverer:
    return Deliverer(
        store=store,
        settings=settings,
        accounts=lambda integration, inline: Account(credentials=OneSecret()),
        tokens=StoredTokens(store),
        hide=hidden.append,
        worker="test",
        clock=clock,
        chance=lambda: 1.0,
    )


@pytest.fixture
def settler(store: Store, settings: Settings, clock: StoppedClock) -> Settler:
    return Settler(store=store, settings=settings, clock=clock)


@pytest.fixture
def ground(
    store: Store, settings: Settings, deliverer: Deliverer, settler: Settler, accept: Callable[..., Accepted]
) -> Ground:
    return Ground(store, settings, deliverer, settler, accept)
