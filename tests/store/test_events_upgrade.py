"""What waited to be told at the upgrade to a version with events: it says what is true, or is not told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text

from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.notes import Note
from leadcast.core.settings import Settings
from leadcast.flow.notify import Story
from leadcast.flow.settle import Settler
from leadcast.store.database import Store
from leadcast.store.paces import Channel
from leadcast.store.schema import events, notifications
from leadcast.store.upkeep import migrate
from tests.support.older_store import older_store
from tests.support.seals import unbound

from .conftest import StoppedClock
from .test_notify import Post, dispatcher

pytestmark = pytest.mark.store
AT = datetime(2026, 11, 23, 8, 30, 0, 125000, tzinfo=UTC)
BATCHES = f"""
INSERT INTO batches
    (id, lead_id, lead, notes, status, priority, body_sha256, wave_id, claims, asks, critical, accepted_at, started_at,
     finished_at)
SELECT id, '7', '{{"name": "Анна"}}', '[{{"loc": ["lead", "utm"], "msg": "dropped"}}]', status, 0, '', 'w', 1, asks,
    critical, at - interval '1 minute', at, CASE WHEN status IN ('failed', 'partial') THEN at END
FROM (VALUES
    ('true', 'partial', 0, NULL), ('gone-on', 'processing', 0, NULL), ('asked', 'failed', 1, NULL),
    ('critical', 'failed', 0, 'it timed out')
) b (id, status, asks, critical), (SELECT timestamptz '{AT.isoformat()}') t (at);

INSERT INTO deliveries (id, batch_id, index, type, settings, state, attempts, started_at, finished_at, receipt, error)
SELECT b.id || '-' || i, b.id, i, 'webhook', '{{}}',
    CASE WHEN i = 0 AND b.status = 'partial' THEN 'delivered' ELSE 'failed' END, 1 + i, b.started_at, b.finished_at,
    CASE WHEN i = 0 THEN '{{"external_id": "77", "merged": false, "detail": {{}}}}'::jsonb END,
    CASE WHEN i = 1 THEN
        '{{"class": "RejectedError", "code": "400", "message": "no", "detail": "", "may_pass": false}}'::jsonb END
FROM batches b, generate_series(0, 1) i;

INSERT INTO notifications (key, batch_id, channel, occasion, payload, state)
SELECT concat_ws(':', batch_id, channel, occasion, status), batch_id, channel, occasion, '{{"reason": ""}}', state
FROM (VALUES
    ('true', 'callback_url', 'batch.partial', 'partial', 'pending'), ('true', 'hook', 'then', 'partial', 'pending'),
    ('true', 'email', 'partial', 'partial', 'sent'),
    ('gone-on', 'callback_url', 'batch.failed', 'failed', 'pending'), ('gone-on', 'hook', 'then', 'failed', 'pending'),
    ('asked', 'callback_url', 'batch.failed', 'failed', 'pending'),
    ('asked', 'callback_url', 'batch.failed', 'failed:1', 'pending'),
    ('critical', 'email', 'critical', 'failed', 'pending')
) n (batch_id, channel, occasion, status, state);

INSERT INTO notifications (key, batch_id, channel, occasion, payload, state) VALUES
    ('true:lead_status:2026', 'true', 'lead_status', 'partial', '{{"reason": ""}}', 'pending'),
    ('w:email:critical', NULL, 'email', 'critical', '{{"reason": "it timed out"}}', 'pending');
"""


@pytest.fixture
def upgraded(postgres_url: str, fernet_key: str) -> Iterator[Store]:
    """A store that has come from the version before, while some of its rows waited."""
    with older_store(postgres_url, name="upgraded", revision="0007", fernet_key=fernet_key) as store:
        with store.begin() as connection:
            connection.exec_driver_sql(BATCHES)
            url = unbound({"url": "https://shop.example/done"}, key=fernet_key)
            connection.execute(text("UPDATE batches SET callback_url_sealed = :url"), {"url": url})
        migrate.upgrade(store.engine)
        yield store


def rows(store: Store) -> dict[str, int | None]:
    """What there is in the outbox, and the event that it tells of."""
    with store.begin() as connection:
        found = connection.execute(select(notifications.c.key, notifications.c.sequence))
        return {row.key: row.sequence for row in found}


def told(store: Store, clock: StoppedClock) -> dict[str, Story]:
    post = Post()
    clock.now = datetime.now(UTC)
    dispatcher(store, clock, post).flush(bound_s=60)
    return {story.key: story for story in post.stories}


def test_what_is_still_true_is_written_down_and_what_is_not_is_dropped(upgraded: Store) -> None:
    assert rows(upgraded) == {
        "true:callback_url:batch.partial:partial": 1,
        "true:hook:then:partial": 1,
        "true:email:partial:partial": None,
        "asked:callback_url:batch.failed:failed:1": 1,
        "critical:email:critical:failed": 1,
        "true:lead_status:2026": None,
        "w:email:critical": None,
    }
    with upgraded.begin() as connection:
        written = connection.execute(select(events.c.batch_id, events.c.sequence, events.c.at).order_by("batch_id"))
        assert [tuple(row) for row in written] == [(name, 1, AT) for name in ("asked", "critical", "true")]


def test_what_waited_is_told_as_it_was_at_the_upgrade_although_its_batch_has_gone_on(
    upgraded: Store, clock: StoppedClock
) -> None:
    clock.now = datetime.now(UTC)
    Retrier(store=upgraded, settings=Settings(), clock=clock).batch("true")
    story = told(upgraded, clock)["true:callback_url:batch.partial:partial"]
    assert (story.at, story.sequence, story.callback_url) == (AT, 1, "https://shop.example/done")
    batch = story.batch
    assert batch is not None
    assert (batch.status, batch.priority, batch.run_id, batch.finished_at) == (BatchStatus.PARTIAL, "high", "w", AT)
    assert list(batch.notes) == [Note(("lead", "utm"), "dropped")]
    delivered, failed = batch.deliveries
    assert (delivered.state, delivered.attempts) == (DeliveryState.DELIVERED, 1)
    assert (failed.state, failed.attempts, failed.finished_at) == (DeliveryState.FAILED, 2, AT)
    assert delivered.receipt is not None
    assert failed.error is not None
    assert (delivered.receipt["external_id"], failed.error["message"]) == ("77", "no")


def test_what_was_told_before_the_upgrade_is_not_told_again_when_it_is_settled_after_it(upgraded: Store) -> None:
    before = rows(upgraded)
    settings = Settings(notify_emails=("sales@example.com",), notify_on=("partial", "failed", "critical"))
    Settler(store=upgraded, settings=settings, hooks=("then",)).so_far(["true"])
    assert rows(upgraded) == before


def test_what_was_dropped_is_told_when_its_batch_has_ended(upgraded: Store, clock: StoppedClock) -> None:
    Settler(store=upgraded, settings=Settings(), hooks=("then",)).wave("w", Ending())
    story = told(upgraded, clock)["gone-on:callback_url:batch.failed:failed"]
    assert (story.sequence, story.batch and story.batch.status) == (1, BatchStatus.FAILED)


def test_what_waits_survives_going_back_to_the_version_before_and_forward_again(upgraded: Store) -> None:
    with upgraded.begin() as connection:
        connection.exec_driver_sql("UPDATE notifications SET key = key || ':turn2' WHERE batch_id = 'asked'")
    before = rows(upgraded)
    migrate.downgrade(upgraded.engine, revision="0007")
    migrate.upgrade(upgraded.engine)
    assert rows(upgraded) == before


def test_who_waited_waits_for_nobody_else(upgraded: Store, clock: StoppedClock) -> None:
    with upgraded.begin() as connection:
        waiting = select(notifications.c.place).where(notifications.c.channel == Channel.CALLBACK_URL)
        found = list(connection.execute(waiting).scalars())
    assert len(set(found)) == len(found) == 2


def test_what_a_process_of_the_version_before_still_writes_goes_out_too(upgraded: Store, clock: StoppedClock) -> None:
    with upgraded.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO notifications (key, batch_id, channel, occasion, payload, state) "
                "VALUES ('old', 'true', 'callback_url', 'batch.partial', '{}', 'pending')"
            )
        )
    assert "old" in told(upgraded, clock)
