"""The tables change while they are in use: nobody waits for long, nothing is lost, nothing is sent twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import func, select, text

from leadcast.core.ending import Ending
from leadcast.core.errors import AttemptFailed, StoreError
from leadcast.core.model import BatchStatus, Lead, Receipt
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import settle_left, take_over
from leadcast.integrations.base import Account, Call
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries
from leadcast.store.upkeep import migrate
from tests.store.conftest import AnySettings, OneSecret, Service
from tests.support.leases import run_out
from tests.support.older_store import older_store
from tests.support.planned import plan

pytestmark = pytest.mark.store

HANGS_S = 60
"""Only a guard for what would hang for ever."""
PAUSE_S = 0.02
"""Between a caller's requests, and a worker's waves: what piles up must be carried in the end."""
BEFORE = "0002"


@pytest.fixture
def older(postgres_url: str, fernet_key: str) -> Iterator[Store]:
    """A store with the tables of an older version."""
    with older_store(postgres_url, name="traffic", revision=BEFORE, fernet_key=fernet_key) as store:
        yield store


def revision(store: Store) -> str | None:
    with store.begin() as connection:
        return migrate.current(connection)


def until(holds: Callable[[], bool]) -> None:
    for _ in range(6000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not come to that")


def waits_for(store: Store, table: str) -> bool:
    """Whether somebody waits to have this table for himself."""
    query = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' "
        f"AND relation = '{table}'::regclass"
    )
    with store.begin() as connection:
        return bool(connection.execute(text(query)).scalar_one() > 0)


def test_while_an_upgrade_waits_for_a_table_others_get_at_it(older: Store) -> None:
    """Behind one who waits for a table, all who come later have to wait as well: so it must not wait for long."""
    with ThreadPoolExecutor(1) as pool:
        with older.begin() as long_one:
            long_one.execute(select(func.count()).select_from(batches))
            upgraded = pool.submit(migrate.upgrade, older.engine)
            for _ in range(3):
                until(lambda: waits_for(older, "batches"))
                with older.begin() as short_one:
                    short_one.execute(text("SET LOCAL lock_timeout = '5s'"))
                    assert short_one.execute(select(func.count()).select_from(batches)).scalar_one() == 0
            assert not upgraded.done()
        upgraded.result(timeout=HANGS_S)
    assert revision(older) == migrate.newest()


def test_an_upgrade_gives_way_where_it_and_another_wait_for_each_other(older: Store) -> None:
    """The other one is not broken off, as PostgreSQL might do it to end a deadlock."""
    first, second = "batches", "deliveries"  # as the upgrade takes them
    with ThreadPoolExecutor(1) as pool:
        with older.begin() as other:
            # it looks for a deadlock before the upgrade would
            other.execute(text("SET LOCAL deadlock_timeout = '500ms'"))
            other.execute(text(f"LOCK TABLE {second} IN ACCESS SHARE MODE"))
            upgraded: Future[None] = pool.submit(migrate.upgrade, older.engine)
            until(lambda: waits_for(older, second))
            other.execute(text(f"LOCK TABLE {first} IN ACCESS SHARE MODE"))
        upgraded.result(timeout=HANGS_S)
    assert revision(older) == migrate.newest()


def test_an_upgrade_that_never_gets_its_tables_says_so_and_changes_nothing(
    older: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "TAKES_TURNS_FOR_S", 1)
    with older.begin() as long_one:
        long_one.execute(select(func.count()).select_from(batches))
        with pytest.raises(StoreError, match="in use"):
            migrate.upgrade(older.engine)
    assert revision(older) == BEFORE


def test_an_upgrade_has_all_tables_before_it_changes_the_first(older: Store) -> None:
    """Who has one and comes for another in between would wait for the upgrade, and it for him, in each turn."""
    with ThreadPoolExecutor(1) as pool:
        with older.begin() as other:
            other.execute(text("LOCK TABLE attempts IN ACCESS SHARE MODE"))  # no step changes it
            upgraded = pool.submit(migrate.upgrade, older.engine)
            until(lambda: waits_for(older, "attempts"))
            assert not upgraded.done()
        upgraded.result(timeout=HANGS_S)
    assert revision(older) == migrate.newest()


def test_tables_that_are_up_to_date_are_taken_from_nobody(older: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.upgrade(older.engine)
    monkeypatch.setattr(migrate, "TAKES_TURNS_FOR_S", 1)
    with older.begin() as long_one:
        long_one.execute(select(func.count()).select_from(batches))
        migrate.upgrade(older.engine)
    assert revision(older) == migrate.newest()


class Once(Service):
    """A service that can be asked what it was sent."""

    can_find = True  # type: ignore[misc]

    def __init__(self) -> None:
        super().__init__()
        self.sent: Counter[str] = Counter()
        self._guard = threading.Lock()

    def deliver(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt:
        with self._guard:
            self.sent[call.key] += 1
        return Receipt(external_id=call.key)

    def find(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt | None:
        return Receipt(external_id=call.key) if self.sent[call.key] else None


def test_leads_go_through_while_the_tables_change_under_them(older: Store) -> None:
    """Up, back and up again, in the middle of accepting, planning, delivering and settling. Whoever is told that the
    store cannot be used just now comes again, as clients, Airflow and the sweep do."""
    settings, service = Settings(), Once()
    deliverer = Deliverer(
        store=older,
        settings=settings,
        accounts=lambda integration, inline: Account(credentials=OneSecret()),
        tokens=StoredTokens(older),
        hide=lambda secret: None,
    )
    inbox, settler = Inbox(older, settings), Settler(store=older, settings=settings)
    accepted: list[str] = []
    over = threading.Event()

    def persist(deed: Callable[[], object]) -> object:
        for _ in range(6000):
            try:
                return deed()
            except StoreError:
                threading.Event().wait(0.01)
        return deed()

    def arrive(caller: int) -> None:
        number = 0
        while not over.wait(PAUSE_S):
            number += 1
            key = f"{caller}-{number}"
            body = {"lead_id": key, "lead": {"name": "Анна"}, "integrations": [{"type": "amocrm"}]}
            accepted.append(persist(lambda: inbox.accept(body, idempotency_key=key)).batch_id)  # type: ignore[attr-defined]  # noqa: B023

    def carry(worker: int) -> None:
        wave = 0
        while not over.wait(PAUSE_S):
            wave += 1
            _carry(f"w-{worker}-{wave}")

    def _carry(run_id: str) -> bool:
        """Plans, sends what is due as a task does, and settles. Says whether there was anything."""
        made = persist(lambda: plan(older, settings, run_id=run_id))
        if made.count("amocrm"):  # type: ignore[attr-defined]
            persist(lambda: _take_and_send(run_id))
        persist(lambda: settler.wave(run_id, Ending()))
        return bool(made.count("amocrm"))  # type: ignore[attr-defined]

    def _take_and_send(run_id: str) -> None:
        worker = deliverer.new_worker()
        lane = worker.lane("amocrm")
        with worker.lease.of_process():
            while parts := lane.take(10) or lane.take_doubtful():
                for part in parts:
                    with suppress(AttemptFailed):
                        deliverer.deliver(
                            part.delivery_id, integration=service, last_in_run=False, run_id=run_id, by=worker
                        )
                settler.so_far({part.batch_id for part in parts})

    with ThreadPoolExecutor(5) as pool:
        traffic = [pool.submit(arrive, caller) for caller in range(2)]
        traffic += [pool.submit(carry, worker) for worker in range(2)]
        try:
            for target in ("head", BEFORE, "head"):
                seen = len(accepted)
                until(lambda: len(accepted) > seen + 10)  # noqa: B023
                if target == BEFORE:
                    migrate.downgrade(older.engine, revision=target)
                else:
                    migrate.upgrade(older.engine, revision=target)
        finally:
            over.set()
        for each in traffic:
            each.result(timeout=HANGS_S)
    # what a worker had when the tables changed is free once its lease is over
    run_out(older)
    take_over(settler)
    settle_left(settler)
    _carry("last")
    with older.begin() as connection:
        statuses = dict(connection.execute(select(batches.c.id, batches.c.status)).all())
        ids = connection.execute(select(deliveries.c.id)).scalars().all()
    assert set(statuses) == set(accepted)
    assert len(set(accepted)) == len(accepted)
    assert set(statuses.values()) == {BatchStatus.COMPLETED}
    assert service.sent == dict.fromkeys(ids, 1)
