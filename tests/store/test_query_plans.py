"""Nothing grows with history: what waves, lists and people ask for is found by an index, however much has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from leadcast.control.erase import Eraser
from leadcast.control.monitor import Monitor
from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import TransientError
from leadcast.core.model import BatchStatus
from leadcast.core.settings import Settings
from leadcast.flow.inbox import Inbox
from leadcast.flow.notify import Dispatcher, Story
from leadcast.flow.plan import plan, ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.store import outbox
from leadcast.store.batches import claims
from leadcast.store.batches.listing import Filter, listing
from leadcast.store.database import Store
from leadcast.store.erasing import old_leads
from leadcast.store.paces import Channel
from leadcast.store.receivers import Receiver
from tests.store.plans import Plans

from . import history
from .ground import die_in_mid_call
from .history import BATCHES, HISTORY, LARGE, NOW, WAITING

pytestmark = pytest.mark.store

STEP = 20
"""As small beside all as a step of the night's work is beside a million."""


@pytest.fixture(scope="module")
def old_store(postgres_url: str, fernet_key: str) -> Iterator[Store]:
    with history.old_store(postgres_url, fernet_key, name="history", of=HISTORY + WAITING) as store:
        yield store


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
    Settler(store=store, settings=Settings(), clock=lambda: NOW).wave("new-wave", Ending())


def wave_without_room(store: Store, inbox: Inbox) -> None:
    """One that claims what there is room for, and leaves the rest in the inbox; then it is stopped."""
    little = Settings(pool_slots=1, wave_timeout_s=60)
    for number in range(100, 105):
        accept(inbox, number)
    for run_id in ("little-0", "little-1"):
        planned = plan(store, little, run_id=run_id, clock=lambda: NOW)
    assert not planned.work
    ring_for_rest(store, little, clock=lambda: NOW)
    Settler(store=store, settings=little, clock=lambda: NOW).wave("little-0", Ending(critical="stopped"))


def health(store: Store, inbox: Inbox) -> None:
    assert Monitor(store).health().unsent == {}
    with store.begin() as connection:
        assert [trouble.count for trouble in outbox.troubles(connection, now=NOW)] == [20]


def told(store: Store, inbox: Inbox) -> None:
    """Of a batch, and of nothing to a receiver who does not answer, for whom much waits."""
    with store.begin() as connection:
        for number in range(2000):
            new = outbox.New(
                key=f"waits-{number}",
                batch_id=None,
                channel=Channel.CALLBACK_URL,
                occasion="batch.failed",
                receiver=Receiver("dead", "dead/done"),
            )
            outbox.queue(connection, new, now=NOW)
    batch_id = accept(inbox, 77)
    plan(store, Settings(), run_id="told-wave", own_batch_id=batch_id, clock=lambda: NOW)
    die_in_mid_call(store, "told-wave")
    Settler(store=store, settings=Settings(), clock=lambda: NOW).wave("told-wave", Ending())

    def send(story: Story, *, timeout_s: float) -> None:
        if story.key.startswith("waits"):
            raise TransientError("no answer", code="timeout")

    senders = dict.fromkeys((Channel.HOOK, Channel.CALLBACK_URL), send)
    dispatcher = Dispatcher(store=store, senders=senders, clock=lambda: NOW)
    assert dispatcher.flush(bound_s=60) >= 2
    assert dispatcher.flush(bound_s=60) == 0


def listed(**wanted: object) -> Deed:
    def look(store: Store, inbox: Inbox) -> None:
        with store.begin() as connection:
            listing(connection, Filter(**wanted))  # type: ignore[arg-type]

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
