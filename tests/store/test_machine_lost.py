"""A machine that is gone without a word: what it held is free for the others after a while, not after hours."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from leadcast.core.errors import AttemptFailed, StoreError
from leadcast.core.model import Receipt
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.integrations.base import Account
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.database import Store, open_engine
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import migrate
from tests.store.conftest import OneSecret, Service
from tests.store.machine import Machine, machine
from tests.support.by_hand import by_hand
from tests.support.own_postgres import OwnPostgres, own_postgres
from tests.support.planned import plan

pytestmark = pytest.mark.store

Result = TypeVar("Result")
HANGS_S = 300
"""Only a guard: it is half a minute on an idle machine, and was more than two hours."""


@pytest.fixture(scope="module")
def other_machine() -> Iterator[Machine]:
    with machine() as made:
        yield made


@pytest.fixture(scope="module")
def server(other_machine: Machine) -> Iterator[OwnPostgres]:
    with own_postgres(network=other_machine.network) as running:
        yield running


@pytest.fixture
def own_store(server: OwnPostgres, fernet_key: str) -> Iterator[Store]:
    engine = open_engine(server.url.render_as_string(hide_password=False))
    migrate.upgrade(engine)
    yield Store(engine, Sealer(fernet_key))
    engine.dispose()


def until(deed: Callable[[], Result], refused: type[Exception]) -> Result:
    """Does it again until it is not refused any more."""
    deadline = time.monotonic() + HANGS_S
    while True:
        try:
            return deed()
        except refused:
            assert time.monotonic() < deadline
            threading.Event().wait(0.5)


def test_leads_are_accepted_again_and_its_own_delivery_goes_on(
    own_store: Store, server: OwnPostgres, other_machine: Machine, fernet_key: str
) -> None:
    settings, service = Settings(worker_lease_s=6), Service()
    inbox = Inbox(own_store, settings)
    deliverer = Deliverer(
        store=own_store,
        settings=settings,
        accounts=lambda integration, inline: Account(credentials=OneSecret()),
        tokens=StoredTokens(own_store),
        hide=lambda secret: None,
    )

    def accept(lead_id: int) -> str:
        body: dict[str, Any] = {"lead_id": lead_id, "lead": {"name": "Анна"}, "integrations": [{"type": "amocrm"}]}
        return inbox.accept(body).batch_id

    def deliver() -> Receipt | None:
        return deliverer.deliver(
            delivery_id, integration=service, last_in_run=False, action=by_hand(deliverer), run_id="w"
        )

    delivery_id = f"{accept(1)}-0"
    plan(own_store, settings, run_id="w")
    address = other_machine.network.partition("/")[0]
    url = server.url.set(host=address).render_as_string(hide_password=False)
    holder = other_machine.run(
        "tests.store.holds_and_waits",
        json.dumps({"store": url, "key": fernet_key, "delivery": delivery_id, "lease_s": settings.worker_lease_s}),
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held: True\n"
    other_machine.vanish()
    with pytest.raises(AttemptFailed, match="still on its way"):
        deliver()
    assert service.got == []

    assert until(lambda: accept(2), StoreError)
    assert until(deliver, AttemptFailed) is not None
    assert len(service.got) == 1
