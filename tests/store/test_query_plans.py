"""Nothing grows with history: what waves, lists and people ask for is found by an index, however much has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import text, update

from leadcast.control.erase import Eraser
from leadcast.control.monitor import Monitor
from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import TransientError
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.settings import Settings
from leadcast.engine.dags.sweep_steps import free_lanes, pick_up
from leadcast.flow import plan as flow_plan
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Inbox
from leadcast.flow.notify import Dispatcher, Story
from leadcast.flow.plan import ring_for_rest
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import blame, end_uninstalled
from leadcast.integrations.base import Account
from leadcast.store import outbox
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.batches import lanes
from leadcast.store.batches.listing import Filter, listing
from leadcast.store.database import Store
from leadcast.store.erasing import old_leads
from leadcast.store.paces import Channel
from leadcast.store.receivers import Receiver
from leadcast.store.schema import deliveries
from tests.store.plans import Plans
from tests.support.leases import dead, living
from tests.support.planned import plan

from . import history
from .conftest import OneSecret, Service
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


_numbers = count()


def accept(inbox: Inbox) -> str:
    number = next(_numbers)
    body = {"lead_id": f"new-{number}", "lead": {"name": "Анна"}, "integrations": [{"type": "telegram"}]}
    return inbox.accept(body, idempotency_key=f"new-{number}").batch_id


Deed = Callable[[Store, Inbox], object]


def sends(store: Store) -> Deliverer:
    """A process that sends, to a service that takes all."""
    return Deliverer(
        store=store,
        settings=Settings(),
        accounts=lambda integration, inline: Account(credentials=OneSecret()),
        tokens=StoredTokens(store),
        hide=lambda secret: None,
        worker="test",
        clock=lambda: NOW,
    )


def wave(store: Store, inbox: Inbox) -> None:
    """One from its acceptance to its end, with what lets others wait."""
    for _ in range(3):
        accept(inbox)
    planned = plan(store, Settings(), run_id="new-wave", clock=lambda: NOW)
    assert planned.count("telegram") >= 1
    deliverer = sends(store)
    worker = deliverer.new_worker(sends_many=True)
    with store.begin() as connection:
        lanes.begin(connection, "telegram", run_id="new-wave")
    lane = worker.lane("telegram")
    with worker.lease.of_process():
        first, *_ = lane.take(3)
        deliverer.deliver(first.delivery_id, integration=Service(), last_in_run=True, run_id="new-wave", by=worker)
    settler = Settler(store=store, settings=Settings(), clock=lambda: NOW)
    settler.so_far([first.batch_id])
    assert first.batch_id in {batch.batch_id for batch in settler.wave("new-wave", Ending(critical="stopped"))}
    ring_for_rest(store, Settings(), clock=lambda: NOW, kind="telegram")
    ring_for_rest(store, Settings(), clock=lambda: NOW)


def wave_without_tasks(store: Store, inbox: Inbox) -> None:
    """One that finds the tasks of another waiting, but has a request of its own; and its plan is run again."""
    for _ in range(3):
        accept(inbox)
    flow_plan.plan(store, Settings(), run_id="waits", clock=lambda: NOW)
    own = accept(inbox)
    for _ in range(2):
        planned = flow_plan.plan(
            store, Settings(), run_id="own", own_batch_id=own, since=NOW - timedelta(days=1), clock=lambda: NOW
        )
        assert [ref.batch_id for ref in planned.work["telegram"]] == [own]
    assert free_lanes(store, will_begin=lambda run_id, kind: False) >= 1


def wave_of_the_past(store: Store, inbox: Inbox) -> None:
    """A person has started the plan of one again: what has failed in it is its own."""
    planned = flow_plan.plan(store, Settings(), run_id="wave-7", clock=lambda: NOW)
    assert len(planned.work["telegram"]) >= 2
    free_lanes(store, will_begin=lambda run_id, kind: False)


def taken_over(store: Store, inbox: Inbox) -> None:
    """From a process that has died with what it had taken, and with one that it was sending."""
    for _ in range(3):
        accept(inbox)
    with store.begin() as connection:
        died = dead(store).take(connection)
        taken = lanes.take(connection, "telegram", worker_id=died, now=NOW, limit=3)
        sending = deliveries.c.id == taken[0][0]
        connection.execute(update(deliveries).where(sending).values(state=DeliveryState.SENDING, in_doubt=True))
    settler = Settler(store=store, settings=Settings(), clock=lambda: NOW)
    pick_up(settler)
    blame(settler, [delivery_id for delivery_id, _ in taken])
    with store.begin() as connection:
        lives = living(store).take(connection)
        doubtful = lanes.take(connection, "telegram", worker_id=lives, now=NOW, limit=1, are_doubtful=True)
        assert doubtful[0] in taken


def not_installed(store: Store, inbox: Inbox) -> None:
    """It waits, and is given up."""
    batch_id = accept(inbox)
    its = deliveries.c.batch_id == batch_id
    with store.begin() as connection:
        connection.execute(update(deliveries).where(its).values(type="slack"))
    flow_plan.plan(store, Settings(), run_id="finds-it", clock=lambda: NOW)
    later = NOW + timedelta(seconds=Settings().give_up_after_s + 3600)
    assert end_uninstalled(Settler(store=store, settings=Settings(), clock=lambda: later)) == 1
    free_lanes(store, will_begin=lambda run_id, kind: False)


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
    batch_id = accept(inbox)
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


OF_LANES: list[Deed] = [wave, wave_without_tasks, wave_of_the_past, taken_over, not_installed]


@pytest.mark.parametrize(
    "deed",
    [
        *OF_LANES,
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


@pytest.fixture(scope="module")
def backlog(old_store: Store) -> Store:
    """The same, when for long nobody has sent anything."""
    with old_store.begin() as connection:
        connection.exec_driver_sql(history.BACKLOG)
    with old_store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return old_store


@pytest.mark.parametrize("deed", OF_LANES, ids=lambda deed: deed.__name__)
def test_with_much_that_waits_nothing_reads_what_has_ended(backlog: Store, inbox: Inbox, deed: Deed) -> None:
    plans = Plans(backlog.engine, counts=True)
    with plans.watched():
        deed(backlog, inbox)
    assert plans.nodes
    assert {table: statements for table, statements in plans.read_whole().items() if table in LARGE} == {}
    assert plans.dear(above=10 * history.MANY) == {}
