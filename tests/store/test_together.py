"""What the threads of a process write at the same time is one transaction: each has his own outcome all the same."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, update

from leadcast.control.cancel import Canceller
from leadcast.core.errors import AttemptFailed, RejectedError, StoreError, TransientError
from leadcast.core.model import DeliveryState, Lead, Receipt
from leadcast.flow.deliver import deliverer as module
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.deliver.outcome import Endings
from leadcast.flow.inbox import Accepted
from leadcast.flow.plan import plan
from leadcast.flow.settle import Settler
from leadcast.integrations.base import Account, Call
from leadcast.store.database import Store
from leadcast.store.schema import attempts, batches, circuits, deliveries

from .conftest import AnySettings, OneSecret, Service, StoppedClock

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D = DeliveryState
AT_ONCE = 4
HANGS_S = 30


class Meeting(Service):
    """A service whose calls are all on their way before the first is answered, each as it was planned.

    Args:
        waits_s: how long a call waits for one that may not come.
    """

    def __init__(
        self, planned: Sequence[BaseException | None], ids: Sequence[str], *, waits_s: float = HANGS_S
    ) -> None:
        super().__init__()
        self.meets = threading.Barrier(len(ids), timeout=waits_s)
        self.planned = dict(zip(ids, planned, strict=True))
        self.meanwhile: Callable[[], None] = lambda: None
        self.calls: Counter[str] = Counter()

    def deliver(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt:
        self.calls[call.key] += 1
        with suppress(threading.BrokenBarrierError):
            if self.meets.wait() == 0:
                self.meanwhile()
            self.meets.wait()
        outcome = self.planned[call.key]
        if outcome is not None:
            raise outcome
        return Receipt(external_id=call.key)


class Counting(Store):
    """Counts transactions. One of them may lose the answer to its commit: it is written, and nobody is told."""

    begun = 0
    loses: int | None = None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with super().begin() as connection:
            yield connection
        self.begun += 1
        if self.begun == self.loses:
            raise StoreError("its answer was lost")


@pytest.fixture(autouse=True)
def all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is: the threads find each other."""
    monkeypatch.setattr(module, "GATHERS_S", 0.5)
    monkeypatch.setattr(Endings.end_all.retry, "sleep", lambda _: None)


@pytest.fixture
def ids(accept: Accept, store: Store, settler: Settler, clock: StoppedClock) -> list[str]:
    made = [f"{accept('telegram').batch_id}-0" for _ in range(AT_ONCE)]
    plan(store, settler.settings, run_id="w", clock=clock)
    return made


@pytest.fixture
def counting(store: Store) -> Counting:
    return Counting(store.engine, store.sealer)


def send(deliverer: Deliverer, ids: Sequence[str], service: Service) -> list[Receipt | Exception | None]:
    worker = deliverer.new_worker(sends_many=True)

    def one(delivery_id: str) -> Receipt | Exception | None:
        try:
            return deliverer.deliver(delivery_id, integration=service, last_in_run=False, run_id="w", by=worker)
        except Exception as error:
            return error

    with worker.lease.of_process(), ThreadPoolExecutor(len(ids)) as pool:
        return list(pool.map(one, ids))


def rows(store: Store, table: Any, *columns: Any) -> list[Any]:
    with store.begin() as connection:
        return list(connection.execute(select(*columns).order_by(table.c.id)).all())


def states(store: Store, ids: Sequence[str]) -> list[str]:
    found = dict(tuple(row) for row in rows(store, deliveries, deliveries.c.id, deliveries.c.state))
    return [found[delivery_id] for delivery_id in ids]


def test_each_has_his_own_outcome(store: Store, deliverer: Deliverer, ids: list[str]) -> None:
    planned = [None, RejectedError("No.", code="no"), TransientError("Not now.", code="away"), None]
    outcomes = send(deliverer, ids, Meeting(planned, ids))
    assert [type(outcome) for outcome in outcomes] == [Receipt, AttemptFailed, AttemptFailed, Receipt]
    assert states(store, ids) == [D.DELIVERED, D.FAILED, D.RETRYING, D.DELIVERED]
    found = rows(store, attempts, attempts.c.delivery_id, attempts.c.number, attempts.c.outcome, attempts.c.code)
    said = {row.delivery_id: (row.number, row.outcome, row.code) for row in found}
    assert [said[delivery_id] for delivery_id in ids] == [
        (1, "delivered", None),
        (1, "rejected", "no"),
        (1, "transient", "away"),
        (1, "delivered", None),
    ]
    receipts = dict(tuple(row) for row in rows(store, deliveries, deliveries.c.id, deliveries.c.receipt))
    assert receipts[ids[3]]["external_id"] == ids[3]
    assert receipts[ids[1]] is None


def test_many_cost_the_store_hardly_more_than_one(
    store: Store, counting: Counting, deliverer: Deliverer, ids: list[str], accept: Accept, clock: StoppedClock
) -> None:
    statements = Counter[str]()

    def count(*_: object) -> None:
        statements[threading.current_thread().name] += 1

    event.listen(store.engine, "before_cursor_execute", count)
    try:
        send(replace(deliverer, store=counting), ids[:1], Meeting([None], ids[:1]))
        alone, alone_begun = statements.total(), counting.begun
        send(replace(deliverer, store=counting), ids[1:], Meeting([None] * 3, ids[1:]))
    finally:
        event.remove(store.engine, "before_cursor_execute", count)
    assert statements.total() - alone < 2 * alone
    assert counting.begun - alone_begun < 2 * alone_begun


@pytest.mark.parametrize("nth", range(1, 7))
def test_a_group_whose_commit_is_not_answered_goes_out_once_each_and_is_said_once(
    store: Store, counting: Counting, deliverer: Deliverer, ids: list[str], nth: int
) -> None:
    """Whichever of its commits it is."""
    away = TransientError("Not now.", code="away")
    service = Meeting([None, away, None, away], ids, waits_s=1)
    counting.loses = nth + 1  # the first is the lease's own
    outcomes = send(replace(deliverer, store=counting), ids, service)
    # whose turn under a limit was not heard of has not begun, and comes again
    begun = [each for each, outcome in zip(ids, outcomes, strict=True) if not isinstance(outcome, StoreError)]
    assert len(begun) >= AT_ONCE - 1
    assert service.calls == dict.fromkeys(begun, 1)
    expected = dict(zip(ids, [D.DELIVERED, D.RETRYING, D.DELIVERED, D.RETRYING], strict=True))
    assert states(store, ids) == [expected[each] if each in begun else D.PENDING for each in ids]
    assert [row.number for row in rows(store, attempts, attempts.c.number)] == [1] * len(begun)
    with store.begin() as connection:
        failures = connection.execute(select(circuits.c.failures)).scalar()
    assert failures in (None, 1, 2), "as they came, and none counted again"


def test_one_that_is_not_in_the_ledger_keeps_none_of_the_others(
    store: Store, deliverer: Deliverer, ids: list[str]
) -> None:
    service = Meeting([None] * 3, ids[:3])
    outcomes = send(deliverer, ["nowhere-0", *ids[:3]], service)
    assert isinstance(outcomes[0], StoreError)
    assert states(store, ids[:3]) == [D.DELIVERED] * 3


def test_of_two_of_one_batch_each_is_sent(
    store: Store, deliverer: Deliverer, settler: Settler, accept: Accept, clock: StoppedClock
) -> None:
    batch_id = accept("telegram", "telegram").batch_id
    plan(store, settler.settings, run_id="w", clock=clock)
    two = [f"{batch_id}-0", f"{batch_id}-1"]
    send(deliverer, two, Meeting([None, None], two))
    settler.so_far([batch_id])
    assert states(store, two) == [D.DELIVERED] * 2
    assert rows(store, batches, batches.c.status) == [("completed",)]


def test_what_is_cancelled_while_it_is_sent_is_not_sent_again_and_the_others_are(
    store: Store, deliverer: Deliverer, settler: Settler, ids: list[str]
) -> None:
    service = Meeting([TransientError("Not now.", code="away")] * AT_ONCE, ids)
    canceller = Canceller(store=store, settings=settler.settings, clock=settler.clock)

    def cancel() -> None:
        canceller.batch(ids[1][:-2])

    service.meanwhile = cancel
    send(deliverer, ids, service)
    assert states(store, ids) == [D.RETRYING, D.CANCELLED, D.RETRYING, D.RETRYING]


def test_what_another_run_carries_is_left_to_it(store: Store, deliverer: Deliverer, ids: list[str]) -> None:
    with store.begin() as connection:
        connection.execute(update(batches).where(batches.c.id == ids[2][:-2]).values(wave_id="another"))
    service = Meeting([None] * 3, [ids[0], ids[1], ids[3]])
    outcomes = send(deliverer, ids, service)
    assert isinstance(outcomes[2], AttemptFailed)
    assert outcomes[2].error.code == "busy"
    assert states(store, ids) == [D.DELIVERED, D.DELIVERED, D.PENDING, D.DELIVERED]


def test_of_batches_settled_together_only_what_has_ended_has_its_status(
    store: Store, deliverer: Deliverer, settler: Settler, ids: list[str]
) -> None:
    for delivery_id, outcome in ((ids[0], None), (ids[1], RejectedError("No.", code="no"))):
        send(deliverer, [delivery_id], Meeting([outcome], [delivery_id]))
    settler.so_far({delivery_id[:-2] for delivery_id in ids})
    status = dict(tuple(row) for row in rows(store, batches, batches.c.id, batches.c.status))
    assert [status[delivery_id[:-2]] for delivery_id in ids] == ["completed", "failed", "processing", "processing"]
