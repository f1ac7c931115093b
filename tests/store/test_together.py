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
from pydantic import SecretStr
from sqlalchemy import Connection, event, func, insert, select, text, update

from leadcast.control.cancel import Canceller
from leadcast.core.errors import AttemptFailed, RejectedError, StoreError, TransientError
from leadcast.core.model import DeliveryState, Lead, Receipt
from leadcast.core.tokens import TokenPair
from leadcast.flow.deliver import deliverer as module
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.deliver.outcome import Endings
from leadcast.flow.inbox import Accepted
from leadcast.flow.settle import Settler
from leadcast.integrations.base import Account, Call
from leadcast.store.accounts import circuits as circuits_of
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.batches import lanes
from leadcast.store.database import Store, open_engine
from leadcast.store.schema import attempts, batches, circuits, deliveries
from tests.support.leases import living
from tests.support.planned import plan

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
    monkeypatch.setattr(module, "GATHERS_S", 0.2)
    monkeypatch.setattr(Endings.end_alone.retry, "sleep", lambda _: None)


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


def test_what_another_process_has_taken_is_left_to_it(store: Store, deliverer: Deliverer, ids: list[str]) -> None:
    service, another = Meeting([None] * 3, [ids[0], ids[1], ids[3]]), living(store)
    with another.of_process():
        with store.begin() as connection:
            lanes.take_these(connection, [ids[2]], worker_id=another.take(connection))
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
    assert [status[delivery_id[:-2]] for delivery_id in ids] == ["completed", "failed", "pending", "pending"]


def test_one_whom_another_session_holds_up_holds_up_nobody(
    store: Store, deliverer: Deliverer, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person at psql, say, in the middle of a transaction."""
    service = Meeting([None] * AT_ONCE, ids, waits_s=0.1)
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as holding:
            holding.execute(select(batches.c.id).where(batches.c.id == ids[1][:-2]).with_for_update())
            sent = pool.submit(send, deliverer, ids, service)
            until(lambda: states(store, ids).count(D.DELIVERED) == AT_ONCE - 1)
            assert not sent.done()
        sent.result(HANGS_S)
    assert states(store, ids) == [D.DELIVERED] * AT_ONCE


def until(holds: Callable[[], bool]) -> None:
    for _ in range(100 * HANGS_S):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not come to that")


def test_a_pause_is_kept_though_the_run_comes_back_earlier_to_others(
    store: Store, deliverer: Deliverer, ids: list[str], clock: StoppedClock
) -> None:
    service = Meeting([TransientError("Not now.", code="away", retry_after_s=40), None, None, None], ids)
    send(deliverer, ids, service)
    clock.pass_s(10)
    (early,) = send(deliverer, ids[:1], service)
    assert isinstance(early, AttemptFailed)
    assert early.retry_in_s is not None
    assert early.retry_in_s > 20
    assert service.calls[ids[0]] == 1
    assert [row.tries for row in rows(store, deliveries, deliveries.c.tries)] == [1] * AT_ONCE


def test_who_closes_a_circuit_locks_what_waits_for_it_in_the_order_of_all_others(
    store: Store, deliverer: Deliverer, ids: list[str]
) -> None:
    """Else two processes wait for each other just when an account has recovered."""
    first, second = sorted(ids)[:2]
    waits = {"waits_for": "circuit", "account": "a", "state": D.RETRYING}
    for delivery_id in (second, first):  # so that the table has them the other way round
        with store.begin() as connection:
            connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**waits))
    account = circuits_of.AccountRef(id="a", type="telegram", label="a")
    with store.begin() as connection:
        values = {"account": "a", "type": "telegram", "label": "a", "failures": 5}
        connection.execute(insert(circuits).values(**values, opened_at=func.now(), open_until=func.now()))

    def recovers() -> None:
        with store.begin() as connection:
            circuits_of.succeeded(connection, account, now=deliverer.clock())

    def lock(connection: Connection, delivery_id: str) -> None:
        connection.execute(select(deliveries.c.id).where(deliveries.c.id == delivery_id).with_for_update(nowait=True))

    with ThreadPoolExecutor(1) as pool:
        with store.begin() as other:
            lock(other, first)
            closing = pool.submit(recovers)
            until(lambda: waiters(store) == 1)
            lock(other, second)
        closing.result(HANGS_S)


def waiters(store: Store) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with store.begin() as connection:
        return int(connection.execute(text(query)).scalar_one())


def test_threads_that_wait_for_new_tokens_keep_no_connection_from_the_others(store: Store, postgres_url: str) -> None:
    engine = open_engine(postgres_url, pool_size=1)  # and one beyond it
    tokens = StoredTokens(Store(engine, store.sealer))
    exchanged, goes_on = [], threading.Event()

    def exchange(_: TokenPair | None) -> TokenPair:
        exchanged.append(1)
        assert goes_on.wait(HANGS_S)
        return TokenPair(access=SecretStr("new"), refresh=SecretStr("next"))

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(tokens.renew, "a", stale="old", exchange=exchange) for _ in range(8)]
        until(lambda: bool(exchanged))
        assert tokens.current("a") is None, "and a connection is free"
        goes_on.set()
        assert {future.result(HANGS_S).access.get_secret_value() for future in asked} == {"new"}
    assert len(exchanged) == 1
    engine.dispose()
