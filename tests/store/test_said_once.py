"""What an attempt says of its account counts once, and only where the ledger takes it: the answer to the commit of its
outcome may be lost, and the attempt may have been given up for dead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import Connection, select

from leadcast.core.errors import AttemptFailed, DeliveryError, StoreError, TransientError
from leadcast.core.model import DeliveryState
from leadcast.flow.deliver.outcome import Endings
from leadcast.integrations.base import Account, Call
from leadcast.store.database import Store
from leadcast.store.schema import circuits, notifications
from tests.support.by_hand import by_hand
from tests.support.leases import run_out

from .conftest import OneSecret, Service
from .ground import Ground

pytestmark = pytest.mark.store
D = DeliveryState
AWAY = TransientError("no answer", code="timeout")


class Forgetful(Store):
    """The answer to its next commit is lost: all is written, and the process is told that nothing is."""

    loses = False

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with super().begin() as connection:
            yield connection
        if self.loses:
            self.loses = False
            raise StoreError("its answer was lost")


@dataclass
class Away(Service):
    """A service that cannot be reached, and whose attempt's outcome is written without an answer."""

    store: Forgetful = field(kw_only=True)
    error: DeliveryError = AWAY

    def deliver(self, lead: object, *, settings: object, account: Account[OneSecret], call: Call) -> object:  # type: ignore[override]
        self.store.loses = True
        raise self.error


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endings.end_alone.retry, "sleep", lambda _: None)


def failures(store: Store) -> int:
    with store.begin() as connection:
        return connection.execute(select(circuits.c.failures)).scalar() or 0


def letters(store: Store) -> list[str]:
    with store.begin() as connection:
        query = select(notifications.c.payload).where(notifications.c.occasion == "account")
        return [row.payload["reason"] for row in connection.execute(query)]


def forgetful(ground: Ground, **settings: int) -> Forgetful:
    store = Forgetful(ground.store.engine, ground.store.sealer)
    ground.deliverer = replace(ground.deliverer, store=store, settings=ground.settings.model_copy(update=settings))
    return store


def test_a_failure_whose_commit_was_not_answered_counts_once(ground: Ground) -> None:
    store = forgetful(ground, circuit_failures=2)
    ground.attempt(ground.claimed(), Away(store=store))
    assert failures(ground.store) == 1
    assert letters(ground.store) == []


def test_the_one_that_opened_the_circuit_waits_for_it_though_its_commit_was_not_answered(ground: Ground) -> None:
    store = forgetful(ground, circuit_failures=1, tries=1)
    delivery_id = ground.claimed()
    with pytest.raises(AttemptFailed) as failed:
        ground.deliverer.deliver(
            delivery_id, integration=Away(store=store), last_in_run=False, action=by_hand(ground.deliverer), run_id="w"
        )
    assert failed.value.waits, "the engine hears what the ledger says"
    assert failures(ground.store) == 1
    assert len(letters(ground.store)) == 1


def test_what_an_attempt_that_was_given_up_for_dead_says_of_the_account_is_not_heard(
    ground: Ground,
) -> None:
    delivery_id = ground.claimed()

    def is_given_up() -> None:
        run_out(ground.store)
        ground.sweep()

    service = Service(answers=[AWAY], while_sending=is_given_up)
    ground.attempt(delivery_id, service)
    assert len(service.got) == 1
    assert ground.stands(delivery_id)[1] is D.RETRYING
    assert failures(ground.store) == 0
