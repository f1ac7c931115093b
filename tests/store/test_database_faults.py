"""The database breaks off at any moment, or has no connection left: nothing is half-stored, nothing hangs, and the next
try on the same store works at once."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from select import select as select_ready
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from sqlalchemy import Column, Connection, Engine, Table, event, func, make_url, select, text, update

from leadcast.core.ending import Ending
from leadcast.core.errors import NotBegun, StoreError
from leadcast.core.model import AttemptOutcome, BatchStatus, DeliveryState, Lead, Receipt
from leadcast.core.settings import Settings
from leadcast.flow import plan as flow_plan
from leadcast.flow.deliver.begin import Beginning
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.deliver.outcome import Endings
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import take_over
from leadcast.integrations.base import Account, Call
from leadcast.store.database import POOL_TIMEOUT_S, Store, open_engine
from leadcast.store.schema import attempts, batches, deliveries, lanes, leads, notifications
from tests.store.conftest import AnySettings, OneSecret, Service, StoppedClock
from tests.support.by_hand import by_hand
from tests.support.leases import run_out
from tests.support.planned import plan

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
HANGS_S = 60
"""Only a guard for what would hang for ever."""


@dataclass
class Crm(Service):
    """A service that knows what it was sent and can be asked for it, as amoCRM and Bitrix24 can."""

    can_find: bool = True  # type: ignore[misc]
    sent: list[str] = field(default_factory=list)

    def deliver(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt:
        self.sent.append(call.key)
        return super().deliver(lead, settings=settings, account=account, call=call)

    def find(self, lead: Lead, *, settings: AnySettings, account: Account[OneSecret], call: Call) -> Receipt | None:
        return Receipt(external_id="found") if call.key in self.sent else None


@dataclass(eq=False)
class Killer:
    """Ends the server's side of a session just before a statement, or a commit, gets there."""

    admin: Any
    at: int
    seen: int = 0

    @property
    def has_struck(self) -> bool:
        return self.seen > self.at

    def __call__(self, connection: Connection, *_: object) -> None:
        if self.seen == self.at:
            pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
            with self.admin.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        self.seen += 1


@dataclass
class Deaths:
    """Does something again and again, its session ending one statement later each time, until it outlives it. (A commit
    counts as a statement.)"""

    admin: Any

    def of(
        self, deed: Callable[[str], Any], *, ready: Callable[[], str] = str
    ) -> Iterator[tuple[str, Exception | None]]:
        """Gives what `ready` said before each time, and what was raised."""
        for at in count():
            subject, error = ready(), None
            killer = Killer(self.admin, at)
            with _listening(killer):
                try:
                    deed(subject)
                except Exception as raised:
                    error = raised
            if not killer.has_struck:
                assert error is None
                assert at > 3, "it was hardly tried"
                return
            yield subject, error


@contextmanager
def _listening(killer: Killer) -> Iterator[None]:
    moments = ("before_cursor_execute", "commit")
    for moment in moments:
        event.listen(Engine, moment, killer)
    try:
        yield
    finally:
        for moment in moments:
            event.remove(Engine, moment, killer)


@pytest.fixture
def deaths(postgres_url: str) -> Iterator[Deaths]:
    admin = psycopg2.connect(_dsn(postgres_url))
    admin.autocommit = True
    yield Deaths(admin)
    admin.close()


def _dsn(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def counted(store: Store, *tables: Table) -> list[int]:
    with store.begin() as connection:
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def values(store: Store, *columns: Column[Any]) -> list[Any]:
    with store.begin() as connection:
        found = connection.execute(select(*columns)).all()
    return [row[0] if len(columns) == 1 else tuple(row) for row in found]


BODY = {"lead_id": 123, "lead": {"name": "Анна"}, "integrations": [{"type": "telegram"}, {"type": "amocrm"}]}


def test_a_batch_is_stored_whole_or_not_at_all_wherever_its_session_ends(
    store: Store, inbox: Inbox, deaths: Deaths
) -> None:
    tries = deaths.of(lambda key: inbox.accept(BODY, idempotency_key=key), ready=lambda: str(uuid.uuid4()))
    for stored, (_, error) in enumerate(tries):
        assert isinstance(error, StoreError)
        assert counted(store, batches, deliveries) == [stored, 2 * stored]
        inbox.accept(BODY)
        assert counted(store, leads, batches, deliveries) == [1, stored + 1, 2 * stored + 2]


def test_a_plan_is_written_whole_or_not_at_all_wherever_its_session_ends(
    store: Store, settings: Settings, accept: Accept, clock: StoppedClock, deaths: Deaths
) -> None:
    accept("telegram")
    for _, error in deaths.of(lambda _: flow_plan.plan(store, settings, run_id="w", clock=clock)):
        assert isinstance(error, StoreError)
        assert values(store, batches.c.status, batches.c.wave_id) == [(BatchStatus.PENDING, None)]
        assert values(store, lanes.c.waiting) == []
    assert values(store, batches.c.status, batches.c.wave_id) == [(BatchStatus.PENDING, "w")]
    assert ("telegram", "w", 1) in values(store, lanes.c.type, lanes.c.run_id, lanes.c.waiting)


def test_what_is_taken_from_a_lane_goes_out_once_wherever_a_session_of_its_process_ends(
    store: Store,
    settler: Settler,
    deliverer: Deliverer,
    accept: Accept,
    clock: StoppedClock,
    deaths: Deaths,
    no_pauses: None,
) -> None:
    """While it is taken, begun, ended or given back; what such a process leaves is free once its lease is over."""
    service = Crm()

    def take_and_deliver(_: str = "") -> None:
        worker = deliverer.new_worker()
        lane = worker.lane("amocrm")
        with worker.lease.of_process():
            while parts := lane.take(1) or lane.take_doubtful():
                deliverer.deliver(parts[0].delivery_id, integration=service, last_in_run=False, by=worker)

    for delivery_id, error in deaths.of(take_and_deliver, ready=lambda: f"{accept('amocrm').batch_id}-0"):
        assert error is None or isinstance(error, StoreError)
        run_out(store)
        take_over(settler)
        clock.pass_s(60)
        take_and_deliver()
        assert service.sent.count(delivery_id) == 1
    assert set(values(store, deliveries.c.state, deliveries.c.worker_id)) == {(DeliveryState.DELIVERED, None)}
    assert AttemptOutcome.RUNNING not in values(store, attempts.c.outcome)


def test_a_delivery_goes_out_once_wherever_one_of_its_sessions_ends(
    store: Store, deliverer: Deliverer, accept: Accept, clock: StoppedClock, deaths: Deaths, no_pauses: None
) -> None:
    """While it is made ready, begun or ended: whichever connection it is."""
    service = Crm()

    def deliver(delivery_id: str) -> None:
        deliverer.deliver(delivery_id, integration=service, last_in_run=False, action=by_hand(deliverer))

    for delivery_id, error in deaths.of(deliver, ready=lambda: f"{accept('amocrm').batch_id}-0"):
        assert error is None or isinstance(error, StoreError)
        clock.pass_s(60)
        deliver(delivery_id)
        assert service.sent.count(delivery_id) == 1
    assert set(values(store, deliveries.c.state)) == {DeliveryState.DELIVERED}
    assert AttemptOutcome.RUNNING not in values(store, attempts.c.outcome)


def test_a_batch_is_settled_and_told_of_once_wherever_a_session_ends(
    store: Store, settler: Settler, settings: Settings, accept: Accept, deaths: Deaths
) -> None:
    def planned() -> str:
        batch_id = accept("telegram").batch_id
        plan(store, settings, run_id=batch_id)
        # it has ended, and nobody has settled it
        with store.begin() as connection:
            connection.execute(update(deliveries).values(state=DeliveryState.FAILED))
        return batch_id

    for run_id, error in deaths.of(lambda run_id: settler.wave(run_id, Ending()), ready=planned):
        assert error is None or isinstance(error, StoreError)
        settler.wave(run_id, Ending())
    assert set(values(store, batches.c.status)) == {BatchStatus.FAILED}
    told = [
        (batch_id, channel, occasion)
        for batch_id, channel, occasion in values(
            store, notifications.c.batch_id, notifications.c.channel, notifications.c.occasion
        )
    ]
    assert len(told) == len(set(told)) == 3 * counted(store, batches)[0]


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outcome that cannot be written is written a moment later; here at once."""
    for persistent in (Endings.end_alone, Beginning.is_written):
        monkeypatch.setattr(persistent.retry, "sleep", lambda _: None)


def test_sessions_that_ended_while_nobody_used_them_are_thrown_away(store: Store, postgres_url: str) -> None:
    def use_two() -> None:
        with store.begin() as one, store.begin() as other:
            assert one.execute(text("SELECT 1")).scalar() == other.execute(text("SELECT 1")).scalar()

    use_two()
    admin = open_engine(postgres_url)
    with admin.connect() as connection:
        ended = (
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert connection.execute(text(ended)).scalar_one() >= 2
    admin.dispose()
    use_two()


class LosesAnswers:
    """Stands between us and the server. It passes everything on, but for the answer to the n-th COMMIT: then it hangs
    up."""

    def __init__(self, url: str, *, nth: int) -> None:
        info = psycopg2.extensions.parse_dsn(_dsn(url))
        self._server = (info["host"], int(info.get("port", 5432)))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = make_url(url).set(host="127.0.0.1", port=self._listener.getsockname()[1], query={})
        self.commits_left = nth

    def __enter__(self) -> LosesAnswers:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, self._to_server() as server, suppress(OSError):
            while True:
                for ready in select_ready([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        self.commits_left -= b"COMMIT" in data
                        server.sendall(data)
                        if b"COMMIT" in data and self.commits_left == 0:
                            server.recv(65536)  # it is done by then
                            return
                    else:
                        client.sendall(data)

    def _to_server(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(f"{host}/.s.PGSQL.{port}")
        return connected


def test_a_commit_whose_answer_is_lost_is_found_by_its_idempotency_key(
    store: Store, settings: Settings, postgres_url: str
) -> None:
    # the first transaction only looks the key up
    with LosesAnswers(postgres_url, nth=2) as between:
        engine = open_engine(between.url.render_as_string(hide_password=False))
        inbox = Inbox(Store(engine, store.sealer), settings)
        with pytest.raises(StoreError):
            inbox.accept(BODY, idempotency_key="once")
        assert counted(store, batches) == [1], "it was stored, and nobody told us"
        again = inbox.accept(BODY, idempotency_key="once")
        engine.dispose()
    assert again.repeated
    assert values(store, batches.c.id) == [again.batch_id]


def test_a_delivery_whose_commit_was_not_answered_goes_out_once_and_is_never_in_doubt(
    store: Store, settings: Settings, deliverer: Deliverer, accept: Accept, postgres_url: str, no_pauses: None
) -> None:
    """Whichever of its commits it is, of a service that cannot be asked: its process knows what it has done."""
    for nth in count(1):
        delivery_id, service = f"{accept('telegram').batch_id}-0", Service()
        with LosesAnswers(postgres_url, nth=nth) as between:
            engine = open_engine(between.url.render_as_string(hide_password=False))
            hindered = replace(deliverer, store=Store(engine, store.sealer))
            try:
                hindered.deliver(delivery_id, integration=service, last_in_run=False, action=by_hand(hindered))
            except NotBegun:
                deliverer.deliver(delivery_id, integration=service, last_in_run=False, action=by_hand(deliverer))
            engine.dispose()
        assert len(service.got) == 1
        assert set(values(store, deliveries.c.state)) == {DeliveryState.DELIVERED}
        assert set(values(store, attempts.c.outcome)) == {AttemptOutcome.DELIVERED}
        if between.commits_left > 0:
            assert nth > 3, "it was hardly tried"
            return


@pytest.fixture
def narrow(postgres_url: str, store: Store) -> Iterator[Store]:
    """The same store with two connections and no more."""
    engine = open_engine(postgres_url, pool_size=1)
    yield Store(engine, store.sealer)
    engine.dispose()


def test_where_no_connection_is_free_it_is_said_in_bounded_time(narrow: Store) -> None:
    def ask() -> None:
        with narrow.begin():
            pass

    with ThreadPoolExecutor(1) as pool:
        with narrow.begin(), narrow.begin():
            asked = pool.submit(ask)
            with pytest.raises(StoreError):
                asked.result(timeout=HANGS_S)
        pool.submit(ask).result(timeout=HANGS_S)
    assert narrow.engine.pool.timeout() == POOL_TIMEOUT_S < 10  # type: ignore[attr-defined]


def test_any_number_of_deliveries_gets_on_with_two_connections(
    narrow: Store, deliverer: Deliverer, accept: Accept
) -> None:
    """All are on their way at the same moment, and all have their outcome yet to write."""
    threads = 12
    under_way = threading.Barrier(threads, timeout=HANGS_S)
    in_use: list[int] = []

    def meet() -> None:
        under_way.wait()
        in_use.append(narrow.engine.pool.checkedout())  # type: ignore[attr-defined]
        under_way.wait()

    service = Crm(while_sending=meet)
    narrow_deliverer = replace(deliverer, store=narrow)
    ids = [f"{accept('amocrm', lead_id=number).batch_id}-0" for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        sent = pool.map(
            lambda key: narrow_deliverer.deliver(
                key, integration=service, last_in_run=False, action=by_hand(narrow_deliverer)
            ),
            ids,
        )
        receipts = list(sent)
    assert None not in receipts
    assert sorted(service.sent) == sorted(ids)
    assert in_use == [0] * threads, "while a service works, none of the pool's connections is held"


def test_batches_are_settled_side_by_side_with_two_connections(
    narrow: Store, settings: Settings, accept: Accept
) -> None:
    runs = [accept("telegram", lead_id=number).batch_id for number in range(12)]
    for run_id in runs:
        plan(narrow, settings, run_id=run_id, own_batch_id=run_id)
    with narrow.begin() as connection:
        connection.execute(update(deliveries).values(state=DeliveryState.FAILED))
    settler = Settler(store=narrow, settings=settings)
    with ThreadPoolExecutor(12) as pool:
        settled = list(pool.map(lambda run_id: settler.wave(run_id, Ending()), runs))
    assert [[batch.status for batch in wave] for wave in settled] == [[BatchStatus.FAILED]] * 12


@pytest.mark.parametrize(
    ("statement", "is_away"),
    [("SELECT 1 / 0", False), ("SELECT 'x'::integer", False), ("SELECT pg_terminate_backend(pg_backend_pid())", True)],
)
def test_what_a_statement_is_itself_at_fault_for_is_not_the_store_away(
    store: Store, statement: str, is_away: bool
) -> None:
    with pytest.raises(StoreError) as found, store.begin() as connection:
        connection.execute(text(statement))
    assert found.value.is_away is is_away
