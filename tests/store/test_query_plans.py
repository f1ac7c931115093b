"""Nothing grows with history: what waves, lists and people ask for is found by an index, however much has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, make_url, text

from leadcast.core.errors import TransientError
from leadcast.core.model import BatchStatus
from leadcast.core.settings import Settings
from leadcast.erase import Eraser
from leadcast.inbox import Inbox
from leadcast.monitor import Monitor
from leadcast.notify import Dispatcher, Story
from leadcast.plan import plan, ring_for_rest
from leadcast.retry import Retrier
from leadcast.settle import Settler
from leadcast.store import claims, migrate, old_leads, outbox, views
from leadcast.store.database import Store, open_engine
from leadcast.store.paces import Channel
from leadcast.store.sealing import Sealer
from leadcast.store.views import Filter
from tests.store.plans import Plans

from .ground import die_in_mid_call

pytestmark = pytest.mark.store

BATCHES = 100_000
STEP = 20
"""As small beside them as a step of the night's work is beside a million."""
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LARGE = {"leads", "batches", "deliveries", "attempts", "notifications"}
HISTORY = f"""
INSERT INTO leads (id, data, updated_at)
SELECT n::text, '{{"name": "x"}}', timestamptz '{NOW}' - n * interval '1 minute' FROM generate_series(1, {BATCHES}) n;

INSERT INTO batches
    (id, lead_id, lead, status, priority, body_sha256, wave_id, claims, accepted_at, started_at, finished_at)
SELECT 'b-' || md5(n::text), n::text, '{{"name": "x"}}',
    CASE WHEN mod(n, 20) = 1 THEN 'partial' WHEN mod(n, 20) = 2 THEN 'failed' WHEN mod(n, 100) = 3 THEN 'cancelled'
    ELSE 'completed' END,
    1, '', 'wave-' || n / 20, 1, at, at, at
FROM generate_series(1, {BATCHES}) n, LATERAL (SELECT timestamptz '{NOW}' - n * interval '1 minute') t(at);

INSERT INTO deliveries (id, batch_id, index, type, settings, state, attempts, started_at, finished_at)
SELECT b.id || '-' || i, b.id, i, CASE i WHEN 0 THEN 'telegram' ELSE 'email' END, '{{}}',
    CASE WHEN b.status = 'cancelled' THEN 'cancelled' WHEN b.status = 'failed' OR (b.status = 'partial' AND i = 0)
    THEN 'failed' ELSE 'delivered' END, 1, b.accepted_at, b.accepted_at
FROM batches b, generate_series(0, 1) i;

INSERT INTO attempts (delivery_id, number, outcome, started_at, finished_at)
SELECT id, 1, 'delivered', started_at, finished_at FROM deliveries WHERE index = 0;

INSERT INTO notifications (key, batch_id, channel, occasion, payload, state, sent_at)
SELECT id || ':email', id, 'email', status, '{{}}', 'sent', accepted_at FROM batches;

INSERT INTO notifications (key, channel, occasion, payload, state, error)
SELECT 'dead-' || n, 'callback_url', 'batch.failed', '{{}}', 'dead', 'away' FROM generate_series(1, 20) n;
"""
WAITING = """
UPDATE batches SET status = 'processing', finished_at = NULL, let_go = true WHERE mod(lead_id::int, 4000) = 11;
UPDATE deliveries
SET state = 'retrying', waits_for = 'circuit', account = 'a', next_attempt_at = now() - interval '1 hour'
WHERE batch_id IN (SELECT id FROM batches WHERE let_go);
INSERT INTO circuits (account, type, label, failures, opened_at, open_until)
VALUES ('a', 'telegram', 'a', 5, now(), now() + interval '1 hour');
"""


@pytest.fixture(scope="module")
def old_store(postgres_url: str, fernet_key: str) -> Iterator[Store]:
    """A store that has been in use for long."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE history"))
    engine = open_engine(make_url(postgres_url).set(database="history").render_as_string(hide_password=False))
    migrate.upgrade(engine, revision="0004")
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # who refers to what is right as it is written here
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.exec_driver_sql(HISTORY + WAITING)
    migrate.upgrade(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # not of its own accord while we look
        for table in LARGE:
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
        connection.execute(text("VACUUM ANALYZE"))
    yield Store(engine, Sealer(fernet_key))
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE history WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def inbox(old_store: Store) -> Inbox:
    return Inbox(old_store, Settings(), clock=lambda: NOW)


def accept(inbox: Inbox, number: int) -> str:
    body = {"lead_id": f"new-{number}", "lead": {"name": "Анна"}, "integrations": [{"type": "telegram"}]}
    return inbox.accept(body, idempotency_key=f"new-{number}").batch_id


Deed = Callable[[Store, Inbox], object]


def wave(store: Store, inbox: Inbox) -> None:
    """One from its acceptance to its end, with what lets others wait."""
    for number in range(3):
        accept(inbox, number)
    planned = plan(store, Settings(), run_id="new-wave", clock=lambda: NOW)
    assert sum(map(len, planned.work.values())) >= 3
    ring_for_rest(store, Settings(), clock=lambda: NOW)
    with store.begin() as connection:
        assert "new-wave" in {wave.run_id for wave in claims.open_waves(connection, limit=100)}
    Settler(store=store, settings=Settings(), clock=lambda: NOW).wave("new-wave", over=True)


def wave_without_room(store: Store, inbox: Inbox) -> None:
    """One that claims what there is room for, and leaves the rest in the inbox; then it is stopped."""
    little = Settings(pool_slots=1, wave_timeout_s=60)
    for number in range(100, 105):
        accept(inbox, number)
    for run_id in ("little-0", "little-1"):
        planned = plan(store, little, run_id=run_id, clock=lambda: NOW)
    assert not planned.work
    ring_for_rest(store, little, clock=lambda: NOW)
    Settler(store=store, settings=little, clock=lambda: NOW).wave("little-0", over=True, critical="stopped")


def health(store: Store, inbox: Inbox) -> None:
    assert Monitor(store).health().unsent == {}
    with store.begin() as connection:
        assert [trouble.count for trouble in outbox.troubles(connection)] == [20]


def told(store: Store, inbox: Inbox) -> None:
    """Of a batch, and of nothing to a receiver who does not answer, for whom much waits."""
    with store.begin() as connection:
        for number in range(2000):
            new = outbox.New(
                key=f"dead-{number}", batch_id=None, channel=Channel.CALLBACK_URL, occasion="batch.failed", place="dead"
            )
            outbox.queue(connection, new, now=NOW)
    batch_id = accept(inbox, 77)
    plan(store, Settings(), run_id="told-wave", own_batch_id=batch_id, clock=lambda: NOW)
    die_in_mid_call(store, "told-wave")
    Settler(store=store, settings=Settings(), clock=lambda: NOW).wave("told-wave", over=True)

    def send(story: Story, *, timeout_s: float) -> None:
        if story.key.startswith("dead"):
            raise TransientError("no answer", code="timeout")

    senders = dict.fromkeys((Channel.HOOK, Channel.CALLBACK_URL), send)
    dispatcher = Dispatcher(store=store, senders=senders, clock=lambda: NOW)
    assert dispatcher.flush(bound_s=60) >= 2
    assert dispatcher.flush(bound_s=60) == 0


def listed(**wanted: object) -> Deed:
    def look(store: Store, inbox: Inbox) -> None:
        with store.begin() as connection:
            views.listing(connection, Filter(**wanted))  # type: ignore[arg-type]

    look.__name__ = "listed " + " ".join(f"{name}={value}" for name, value in wanted.items())
    return look


def sent_again(store: Store, inbox: Inbox) -> None:
    """By the schedule, of one hour and of a month."""
    retrier = Retrier(store=store, settings=Settings(), clock=lambda: NOW)
    for hours in (1, 30 * 24):
        retrier._retriable(NOW - timedelta(hours=hours), NOW, "")


def pruned(store: Store, inbox: Inbox) -> None:
    """A step of what is done each night."""
    Eraser(store=store, settings=Settings(), clock=lambda: NOW)._look_again()
    with store.begin() as connection:
        before = NOW - timedelta(days=60)
        erased, _ = old_leads.erase_batches(connection, before=before, after=None, limit=STEP, now=NOW)
        assert erased.batches == STEP
        old_leads.erase_leads(connection, before=before, after="", limit=STEP)


@pytest.mark.parametrize(
    "deed",
    [
        wave,
        wave_without_room,
        health,
        listed(),
        *(listed(status=status) for status in BatchStatus),
        listed(type="telegram"),
        listed(type="webhook"),
        listed(lead_id="77"),
        listed(before=(NOW - timedelta(minutes=BATCHES // 2), "b-")),
        listed(status=BatchStatus.FAILED, type="webhook"),
        sent_again,
        pruned,
        told,
    ],
    ids=lambda deed: deed.__name__,
)
def test_nothing_reads_all_that_there_ever_was(old_store: Store, inbox: Inbox, deed: Deed) -> None:
    plans = Plans(old_store.engine)
    with plans.watched():
        deed(old_store, inbox)
    assert plans.nodes
    read = plans.read_whole()
    assert {table: statements for table, statements in read.items() if table in LARGE} == {}
