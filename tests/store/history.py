"""A store that has been in use for long: made by an older version, and upgraded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import create_engine, make_url, text

from leadcast.store.database import Store, open_engine
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import migrate

BATCHES = 100_000
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

INSERT INTO notifications (key, channel, occasion, payload, state, error, next_attempt_at)
SELECT 'dead-' || n, 'callback_url', 'batch.failed', '{{}}', 'dead', 'away',
    timestamptz '{NOW}' - CASE WHEN n > 20 THEN interval '1 year' ELSE interval '1 hour' END
FROM generate_series(1, {BATCHES // 2}) n;
"""
WAITING = """
UPDATE batches SET status = 'processing', finished_at = NULL, let_go = true WHERE mod(lead_id::int, 4000) = 11;
UPDATE deliveries
SET state = 'retrying', waits_for = 'circuit', account = 'a', next_attempt_at = now() - interval '1 hour'
WHERE batch_id IN (SELECT id FROM batches WHERE let_go);
INSERT INTO circuits (account, type, label, failures, opened_at, open_until)
VALUES ('a', 'telegram', 'a', 5, now(), now() + interval '1 hour');
"""

MANY = 2000
BACKLOG = f"""
INSERT INTO batches (id, lead_id, lead, status, priority, body_sha256, accepted_at)
SELECT 'waits-' || n, 'waits-' || n, '{{}}', 'pending', 1, '', timestamptz '{NOW}' - n * interval '1 second'
FROM generate_series(1, {MANY}) n;

INSERT INTO deliveries (id, batch_id, index, type, settings, state, listed_at)
SELECT id || '-0', id, 0, CASE WHEN mod(length(id), 2) = 0 THEN 'telegram' ELSE 'email' END, '{{}}', 'pending',
    accepted_at
FROM batches WHERE id LIKE 'waits-%%';
"""
"""What waits to be sent, in the tables of today."""


@contextmanager
def old_store(postgres_url: str, fernet_key: str, *, name: str, of: str) -> Iterator[Store]:
    """The store in a database of its own.

    Args:
        of: statements that write what it holds, in the tables of the older version.
    """
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = open_engine(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
    migrate.upgrade(engine, revision="0004")
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # who refers to what is right as it is written here
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.exec_driver_sql(of)
    migrate.upgrade(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # not of its own accord while we look
        for table in LARGE:
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
        connection.execute(text("VACUUM ANALYZE"))
    yield Store(engine, Sealer(fernet_key))
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
