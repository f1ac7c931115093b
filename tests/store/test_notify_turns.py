"""Who is slow, away or never returns holds up nobody: neither the other rows nor the status, nor the flush itself."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest

from leadcast.core.errors import RateLimited, TransientError, UnknownOutcome
from leadcast.core.model import BatchStatus
from leadcast.inbox import Accepted
from leadcast.notify import Dispatcher, Story
from leadcast.plan import plan
from leadcast.settle import Settler
from leadcast.store import views
from leadcast.store.database import Store
from leadcast.store.outbox import Channel

from .conftest import StoppedClock
from .test_notify import Post, queue, states

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
Queue = Callable[..., None]


class Receivers:
    """All who are told. Some do something of their own first, by host or by channel."""

    def __init__(self, store: Store, clock: StoppedClock) -> None:
        self.store, self.clock = store, clock
        self.own: dict[str, Callable[[], None]] = {}
        self.told: list[str] = []

    def dispatcher(self) -> Dispatcher:
        def sender(channel: Channel) -> Callable[..., None]:
            def send(story: Story, *, timeout_s: float) -> None:
                name = story.callback_url.split("/")[2] if channel is Channel.CALLBACK_URL else channel.value
                self.told.append(f"{name} {story.key}")
                self.own.get(name, lambda: None)()

            return send

        return Dispatcher(
            store=self.store,
            senders={channel: sender(channel) for channel in Channel},
            clock=self.clock,
            timer=lambda: self.clock().timestamp(),
            chance=lambda: 0.0,
        )


@pytest.fixture
def receivers(store: Store, clock: StoppedClock) -> Receivers:
    return Receivers(store, clock)


@pytest.fixture
def callback(store: Store, clock: StoppedClock, accept: Accept) -> Callable[[str, str], None]:
    """Queues what a caller at this host is to be told."""

    def callback(host: str, key: str) -> None:
        batch_id = accept(callback_url=f"https://{host}/done/{key}").batch_id
        queue(store, clock, key, batch_id=batch_id, channel=Channel.CALLBACK_URL)

    return callback


def raises(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "error",
    [
        TransientError("no", code="unreachable"),
        TransientError("no", code="dns"),
        UnknownOutcome("no", code="timeout"),
        UnknownOutcome("no", code="no_answer"),
        RateLimited("not now", retry_after_s=60),
    ],
    ids=lambda error: error.code,
)
def test_a_caller_who_is_away_is_asked_once_a_flush_and_the_others_are_told(
    store: Store, receivers: Receivers, callback: Queue, error: Exception
) -> None:
    for key in ("a1", "a2", "a3"):
        callback("away.example", key)
    callback("good.example", "b1")
    receivers.own["away.example"] = raises(error)
    receivers.dispatcher().flush(bound_s=60)
    assert receivers.told == ["away.example a1", "good.example b1"]
    assert states(store) == [("pending", 1), ("pending", 0), ("pending", 0), ("sent", 1)]
    receivers.own.clear()
    receivers.dispatcher().flush(bound_s=60)
    assert receivers.told[2:] == ["away.example a2", "away.example a3"], "what was left was left due"


def test_one_message_that_a_caller_does_not_take_says_nothing_of_the_others(
    store: Store, receivers: Receivers, callback: Queue
) -> None:
    callback("shop.example", "a")
    callback("shop.example", "b")
    answers = iter([TransientError("The receiver answered 500.", code="500"), None])
    receivers.own["shop.example"] = lambda: raises(error)() if (error := next(answers)) else None
    receivers.dispatcher().flush(bound_s=60)
    assert states(store) == [("pending", 1), ("sent", 1)]


def test_people_are_told_before_programs(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue
) -> None:
    callback("shop.example", "a")
    queue(store, clock, "b", channel=Channel.HOOK)
    queue(store, clock, "c", channel=Channel.EMAIL)
    queue(store, clock, "d", channel=Channel.LEAD_STATUS)
    receivers.dispatcher().flush(bound_s=60)
    assert receivers.told == ["lead_status d", "email c", "hook b", "shop.example a"]


def test_a_channel_that_is_slow_leaves_time_to_the_others_and_has_what_is_left(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue
) -> None:
    queue(store, clock, *(f"m{number}" for number in range(20)))
    callback("shop.example", "a")
    receivers.own["email"] = lambda: clock.pass_s(10)
    receivers.dispatcher().flush(bound_s=60)
    assert receivers.told.index("shop.example a") == 2
    assert len(receivers.told) == 7


def test_a_caller_who_is_slow_is_served_again_after_all_others(
    clock: StoppedClock, receivers: Receivers, callback: Queue
) -> None:
    for number in range(4):
        callback("slow.example", f"a{number}")
    callback("good.example", "b1")
    callback("good.example", "b2")
    receivers.own["slow.example"] = lambda: clock.pass_s(14)
    receivers.dispatcher().flush(bound_s=40)
    assert receivers.told == [
        "slow.example a0", "good.example b1", "good.example b2", "slow.example a1", "slow.example a2"
    ]  # fmt: skip


@pytest.fixture
def never() -> Event:
    """Something that does not happen before the test is over."""
    return Event()


def test_a_hook_that_never_returns_is_given_up_and_not_called_again(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue, never: Event
) -> None:
    queue(store, clock, "then", "finally", channel=Channel.HOOK)
    queue(store, clock, "mail")
    callback("shop.example", "a")
    receivers.own["hook"] = never.wait  # type: ignore[assignment]
    receivers.dispatcher().flush(bound_s=60, each_s=0.05)
    assert sorted(receivers.told) == ["email mail", "hook then", "shop.example a"]
    receivers.own.clear()
    clock.pass_s(3600)
    receivers.dispatcher().flush(bound_s=60)
    never.set()
    assert receivers.told.count("hook then") == 1
    assert receivers.told[-1] == "hook finally"
    assert states(store)[:2] == [("dead", 1), ("sent", 1)]


def test_a_batch_has_its_status_before_anybody_is_told(
    store: Store, clock: StoppedClock, receivers: Receivers, accept: Accept, settler: Settler
) -> None:
    batch_id = accept(callback_url="https://shop.example/done").batch_id
    plan(store, settler.settings, run_id="w", clock=clock)
    seen: list[BatchStatus] = []

    def looks() -> None:
        with store.begin() as connection:
            view = views.batch(connection, batch_id)
        assert view is not None
        seen.append(view.status)

    receivers.own = dict.fromkeys(("email", "hook", "shop.example"), looks)
    settler.wave("w", over=True, critical="the run timed out")
    receivers.dispatcher().flush(bound_s=60)
    assert seen == [BatchStatus.FAILED] * 5, "the e-mail, three hooks, the caller"


def test_a_row_that_is_being_sent_is_nobody_elses_however_late_it_gets(
    store: Store, clock: StoppedClock, receivers: Receivers
) -> None:
    queue(store, clock, "a")
    other = Receivers(store, clock)

    def meanwhile() -> None:
        clock.pass_s(3600)
        other.dispatcher().flush(bound_s=60)

    receivers.own["email"] = meanwhile
    assert receivers.dispatcher().flush(bound_s=7200) == 1
    assert other.told == []
    assert states(store) == [("sent", 1)]


def test_a_hook_that_asks_for_it_is_called_again_but_not_one_whose_call_got_no_answer(
    store: Store, clock: StoppedClock
) -> None:
    queue(store, clock, "a", "b", channel=Channel.HOOK)
    senders = dict.fromkeys(Channel, Post(TransientError("again"), UnknownOutcome("who knows")))
    Dispatcher(store=store, senders=senders, clock=clock).flush(bound_s=60)
    assert states(store) == [("pending", 1), ("dead", 1)]
