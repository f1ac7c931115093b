"""What is told of a batch was true when it happened, is repeated as it was, and says in which order it happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from leadcast.control.erase import Eraser, InAirflow
from leadcast.control.retry import Retrier
from leadcast.core.ending import Ending
from leadcast.core.errors import CredentialsError, RejectedError
from leadcast.core.model import BatchStatus, DeliveryState, Receipt
from leadcast.core.settings import Settings
from leadcast.flow.inbox import Accepted
from leadcast.flow.notify import Dispatcher
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import take_over
from leadcast.flow.told import Moment
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.store import events
from leadcast.store.batches import lanes
from leadcast.store.database import Store
from leadcast.store.outbox import OutboxState
from leadcast.store.paces import Channel
from leadcast.store.schema import batches as batch_rows
from leadcast.store.schema import events as event_rows
from leadcast.store.schema import notifications
from tests.support.planned import plan

from .conftest import Service, StoppedClock
from .dies_while_telling import real_sender
from .ground import Ground, die_in_mid_call
from .test_notify import Post, dispatcher, queue

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
D, S = DeliveryState, BatchStatus
REFUSED = RejectedError("no such pipeline", code="400")


class Batches:
    """Batches of webhooks, from the door to their status and to another one."""

    def __init__(self, ground: Ground, retrier: Retrier) -> None:
        self.ground, self.retrier = ground, retrier
        self.waves = 0

    def accept(self, *others: str, **more: Any) -> str:
        return self.ground.accept("webhook", *others, **more).batch_id

    def retry_on_schedule(self) -> None:
        now = self.retrier.clock()
        self.retrier.window(since=now - timedelta(days=1), until=now)

    def send(self, *answers: Receipt | BaseException) -> None:
        """One wave: everything that is due is tried once, and settled."""
        self.waves += 1
        service = Service(answers=list(answers))
        self.ground.plan(f"w{self.waves}")
        with self.ground.store.begin() as connection:
            due = lanes.due(connection, "webhook", now=self.ground.deliverer.clock(), limit=100)
        for ref in due:
            self.ground.attempt(ref.delivery_id, service, run_id=f"w{self.waves}")
        self.ground.settler.wave(f"w{self.waves}", Ending())


@pytest.fixture
def batches(ground: Ground, store: Store, settings: Settings, clock: StoppedClock) -> Batches:
    return Batches(ground, Retrier(store=store, settings=settings, clock=clock))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as running:
        yield running


@pytest.fixture
def callbacks(store: Store, clock: StoppedClock, sandbox: Sandbox) -> Dispatcher:
    """Calls the callback URLs as settle and the sweep do; nobody else is told."""
    sandbox.reset()
    sender = real_sender(Channel.CALLBACK_URL, smtp=(sandbox.smtp_host, sandbox.smtp_port), hooks_file="")
    return Dispatcher(store=store, senders={Channel.CALLBACK_URL: sender}, clock=clock, chance=lambda: 0.0)


def test_a_callback_that_is_repeated_after_the_batch_went_on_is_the_same_to_the_byte(
    batches: Batches, callbacks: Dispatcher, clock: StoppedClock, sandbox: Sandbox
) -> None:
    """It failed, its caller was away; a person retried it, and it is completed when the caller is back."""
    batch_id = batches.accept(callback_url=f"{sandbox.webhook_url}/done")
    batches.send(REFUSED)
    sandbox.fault(service="webhook", kind="status", status=503, times=1)
    callbacks.flush(bound_s=60)
    batches.retrier.batch(batch_id)
    clock.pass_s(2)
    batches.send(Receipt(external_id="77"))
    callbacks.flush(bound_s=60)
    clock.pass_s(3600)
    callbacks.flush(bound_s=60)
    failed, completed, again = sandbox.received("webhook")
    assert again["body"] == failed["body"]
    assert again["headers"]["webhook-id"] == failed["headers"]["webhook-id"]
    assert [json.loads(each["body"])["data"]["sequence"] for each in (failed, completed, again)] == [1, 2, 1]
    first, second = json.loads(failed["body"]), json.loads(completed["body"])
    assert (first["type"], first["data"]["status"], first["data"]["failed_jobs"]) == ("batch.failed", "failed", 1)
    assert (second["type"], second["data"]["status"], second["data"]["failed_jobs"]) == (
        "batch.completed",
        "completed",
        0,
    )
    assert [item["state"] for item in first["data"]["deliveries"]] == ["failed"]
    assert second["data"]["deliveries"][0]["receipt"] == "77"
    assert (first["timestamp"], second["timestamp"]) == ("2026-11-23T09:00:00.000000Z", "2026-11-23T09:00:02.000000Z")


def test_what_is_told_while_a_retry_is_under_way_is_how_the_batch_had_ended(
    store: Store, clock: StoppedClock, batches: Batches
) -> None:
    batch_id = batches.accept(callback_url="https://shop.example/done")
    batches.send(REFUSED)
    batches.retrier.batch(batch_id)
    post = Post()
    dispatcher(store, clock, post).flush(bound_s=60)
    assert sorted(story.occasion for story in post.stories) == ["batch.failed", "failed", "finally", "then"]
    for story in post.stories:
        assert story.batch is not None
        assert (story.batch.status, story.batch.counters.failed, story.batch.counters.pending) == (S.FAILED, 1, 0)
        assert story.batch.finished_at == story.at == datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
        (item,) = story.batch.deliveries
        assert (item.state, item.attempts) == (D.FAILED, 1)
        assert item.error is not None
        assert item.error["message"] == "no such pipeline"


def test_one_event_is_written_once_for_all_who_hear_of_it_however_often_it_is_settled(
    store: Store, settler: Settler, batches: Batches
) -> None:
    batches.accept(callback_url="https://shop.example/done")
    batches.send(REFUSED)
    for _ in range(3):
        settler.wave("w1", Ending())
    with store.begin() as connection:
        assert [row.sequence for row in connection.execute(select(event_rows))] == [1]
        assert list(connection.execute(select(notifications.c.sequence)).scalars()) == [1] * 4


def test_a_batch_of_which_nobody_hears_has_no_event(store: Store, clock: StoppedClock, accept: Accept) -> None:
    accept("webhook")
    plan(store, Settings(), run_id="w", clock=clock)
    Settler(store=store, settings=Settings(), clock=clock, hooks=()).wave("w", Ending())
    with store.begin() as connection:
        assert connection.execute(select(event_rows)).all() == []
        assert connection.execute(select(notifications)).all() == []


@pytest.mark.parametrize("moment", Moment)
def test_hooks_are_queued_where_there_are_some_and_elsewhere_not(
    store: Store, settings: Settings, clock: StoppedClock, accept: Accept, moment: Moment
) -> None:
    accept("webhook")
    plan(store, settings, run_id="w", clock=clock)
    settler = Settler(store=store, settings=settings, clock=clock, hooks={moment})
    for _ in range(settings.max_claims):
        die_in_mid_call(store, "w")
        take_over(settler)
    with store.begin() as connection:
        told = connection.execute(select(notifications.c.channel, notifications.c.occasion)).all()
    assert sorted(told) == [("email", "critical"), ("hook", moment)]


def test_a_hook_that_one_process_does_not_know_of_is_queued_by_the_next_that_settles(
    store: Store, settings: Settings, settler: Settler, clock: StoppedClock, batches: Batches
) -> None:
    batches.accept()
    batches.ground.settler = Settler(store=store, settings=settings, clock=clock, hooks=())
    batches.send(REFUSED)
    settler.wave("w1", Ending())
    with store.begin() as connection:
        told = connection.execute(select(notifications.c.occasion).order_by(notifications.c.id))
        assert list(told.scalars()) == ["failed", "then", "finally"]


def test_a_row_that_was_queued_before_there_were_events_tells_how_the_batch_stands(
    store: Store, clock: StoppedClock, batches: Batches
) -> None:
    batch_id = batches.accept()
    batches.send(REFUSED)
    with store.begin() as connection:
        connection.execute(update(notifications).values(state=OutboxState.SENT))
    queue(store, clock, "older", batch_id=batch_id, channel=Channel.CALLBACK_URL, occasion="batch.failed")
    post = Post()
    dispatcher(store, clock, post).flush(bound_s=60)
    (story,) = post.stories
    assert story.batch is not None
    assert (story.batch.status, story.at, story.sequence) == (S.FAILED, None, 0)


def test_each_callback_url_is_a_receiver_of_its_own_and_those_at_one_host_are_known_to_be(
    store: Store, batches: Batches
) -> None:
    hosts = ("https://a.example", "https://A.example:443", "https://a.example:8443", "http://a.example")
    ids = [batches.accept(callback_url=f"{host}/{number}?x=1") for number, host in enumerate(hosts)]
    ids.append(batches.accept(callback_url=f"{hosts[0]}/0?x=1"))
    batches.send()
    with store.begin() as connection:
        chosen = select(notifications.c.batch_id, notifications.c.host, notifications.c.place)
        rows = connection.execute(chosen.where(notifications.c.channel == Channel.CALLBACK_URL)).all()
    by_batch = {row.batch_id: row for row in rows}
    first, second, other_port, other_scheme, again = (by_batch[batch_id] for batch_id in ids)
    assert first.host == second.host == again.host
    assert len({first.host, other_port.host, other_scheme.host}) == 3
    assert len({row.place for row in rows}) == 4
    assert first.place == again.place
    assert "example" not in f"{first.host} {first.place}"


def test_after_an_erasing_an_event_holds_nothing_that_a_service_has_said(
    store: Store, settings: Settings, clock: StoppedClock, batches: Batches
) -> None:
    batches.accept(lead_id=7)
    batches.send(Receipt(external_id="needle", detail={"to": "needle"}))
    Eraser(store=store, settings=settings, clock=clock).lead("7", asked_by="officer", in_airflow=InAirflow())
    with store.begin() as connection:
        held = connection.execute(select(event_rows)).one()
    assert "needle" not in str(held)
    post = Post()
    dispatcher(store, clock, post).flush(bound_s=60)
    assert len(post.stories) == 3, "the letter and the hooks go out all the same"
    for story in post.stories:
        assert story.batch is not None
        (item,) = story.batch.deliveries
        assert (story.batch.status, item.state, item.receipt) == (S.COMPLETED, D.DELIVERED, None)


def outcomes(store: Store) -> list[tuple[int, str, list[str]]]:
    """What there is to tell, as it was written down."""
    with store.begin() as connection:
        rows = connection.execute(select(event_rows).order_by(event_rows.c.sequence)).all()
    return [(row.sequence, row.snapshot["status"], [d["state"] for d in row.snapshot["deliveries"]]) for row in rows]


NO_RIGHT = CredentialsError("The service does not take the token (401).", code="401")
"""What the schedule sends again, and no run by itself."""
ALL = ("batch.partial", "finally", "partial", "then")


def test_what_is_partial_and_then_more_of_it_is_delivered_is_told_again(
    store: Store, clock: StoppedClock, batches: Batches
) -> None:
    """The caller's last word would say that what has arrived since has failed."""
    batch_id = batches.accept("webhook", "webhook", callback_url="https://shop.example/done")
    batches.send(Receipt(external_id="1"), NO_RIGHT, NO_RIGHT)
    clock.pass_s(3600)
    batches.retry_on_schedule()
    batches.send(Receipt(external_id="2"), NO_RIGHT)
    assert outcomes(store) == [
        (1, "partial", [D.DELIVERED, D.FAILED, D.FAILED]),
        (2, "partial", [D.DELIVERED, D.DELIVERED, D.FAILED]),
    ]
    batches.ground.settler.wave("w2", Ending())
    post = Post()
    dispatcher(store, clock, post).flush(bound_s=60)
    told = sorted((story.sequence, story.occasion) for story in post.stories)
    assert told == [(sequence, occasion) for sequence in (1, 2) for occasion in ALL]
    assert {story.batch.id for story in post.stories if story.batch} == {batch_id}


def test_what_fails_again_as_before_when_the_schedule_sends_it_is_not_told_again(
    store: Store, clock: StoppedClock, batches: Batches
) -> None:
    batches.accept("webhook", callback_url="https://shop.example/done")
    batches.send(Receipt(external_id="1"), NO_RIGHT)
    clock.pass_s(3600)
    batches.retry_on_schedule()
    batches.send(NO_RIGHT)
    assert outcomes(store) == [(1, "partial", [D.DELIVERED, D.FAILED])]


def test_what_a_person_clears_and_fails_again_is_told_again_once(
    store: Store, clock: StoppedClock, batches: Batches
) -> None:
    batch_id = batches.accept("webhook", callback_url="https://shop.example/done")
    batches.send(REFUSED, REFUSED)
    clock.pass_s(3600)
    service = Service(answers=[REFUSED, REFUSED])
    for index in (0, 1):
        batches.ground.attempt(f"{batch_id}-{index}", service, run_id="w1", asked=True, asked_by="w1:2")
    for _ in range(2):
        batches.ground.settler.wave("w1", Ending())
    assert outcomes(store) == [(sequence, "failed", [D.FAILED, D.FAILED]) for sequence in (1, 2)]
    post = Post()
    dispatcher(store, clock, post).flush(bound_s=60)
    assert sorted(story.sequence for story in post.stories) == [1] * 4 + [2] * 4


def test_what_a_person_clears_while_its_account_is_left_alone_is_told_again_when_it_has_failed(
    store: Store, clock: StoppedClock, batches: Batches, settings: Settings
) -> None:
    batch_id = batches.accept()
    batches.send(CredentialsError("subscription over", code="402", for_all=True))
    with store.begin() as connection:
        before = connection.execute(select(batch_rows.c.asks)).scalar()
    batches.ground.attempt(f"{batch_id}-0", Service(), run_id="w1", asked=True, asked_by="w1:2")
    with store.begin() as connection:
        row = connection.execute(select(batch_rows.c.asks, batch_rows.c.status)).one()
    assert (before, row.asks, row.status) == (0, 1, S.PROCESSING)


WRITTEN = {
    "snapshot": {
        "id": "b", "lead_id": "123", "status": "partial", "priority": "normal", "run_id": "w", "critical": None,
        "accepted_at": "2026-11-23T09:00:00Z", "started_at": "2026-11-23T09:00:00.25Z",
        "finished_at": "2026-11-23T09:00:07Z", "cancelled_at": None, "waits": False, "is_erased": False,
        "deliveries": [
            {
                "id": "b-0", "type": "email", "queue": "integration-email", "state": "failed", "attempts": 2,
                "next_attempt_at": None, "started_at": None, "finished_at": None, "waits_for": None, "history": [],
            }
        ],
    },
    "answers": {"b-0": {"receipt": None, "error": {"class": "RejectedError", "code": "550", "message": "no"}}},
}  # fmt: skip
"""As the first version that had events wrote it. What is in a store stays readable."""


def test_an_event_of_the_first_version_is_still_read(store: Store, batches: Batches) -> None:
    batch_id = batches.accept()
    with store.begin() as connection:
        at = datetime(2026, 11, 23, 9, 0, 7, tzinfo=UTC)
        connection.execute(insert(event_rows).values(batch_id=batch_id, sequence=1, at=at, **WRITTEN))
        event = events.find(connection, batch_id, 1)
    assert event is not None
    assert (event.at, event.batch.status, event.batch.duration_s) == (at, S.PARTIAL, 7.0)
    (item,) = event.batch.deliveries
    assert (item.type, item.state, item.attempts, item.receipt) == ("email", D.FAILED, 2, None)
    assert item.error == {"class": "RejectedError", "code": "550", "message": "no"}
