"""Who is slow, away or never returns holds up nobody: neither the other rows nor the status, nor the flush itself."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest
from sqlalchemy import event, select, text

from leadcast.core.errors import RateLimited, TransientError, UnknownOutcome
from leadcast.core.model import BatchStatus
from leadcast.engine.dags.sweep_steps import forget_old
from leadcast.flow.inbox import Accepted
from leadcast.flow.notify import Dispatcher, Story
from leadcast.flow.settle import Settler
from leadcast.flow.take_over import take_over
from leadcast.store.batches import views
from leadcast.store.database import Store
from leadcast.store.paces import IN_HAND_S, PACES, Channel
from leadcast.store.receivers import FIRST_REST_S, Receiver
from leadcast.store.schema import places
from tests.support.planned import plan

from .conftest import StoppedClock
from .test_deliver import die_in_mid_air
from .test_notify import Post, dispatcher, queue, states

pytestmark = pytest.mark.store
HANGS_S = 12.0
"""Only a guard: less than a callback may take, so that what waits for it in vain says so."""
Accept = Callable[..., Accepted]
Queue = Callable[..., None]


class Receivers:
    """All who are told. Some do something of their own first, by host or by channel."""

    def __init__(self, store: Store, clock: StoppedClock) -> None:
        self.store, self.clock = store, clock
        self.own: dict[str, Callable[[], None]] = {}
        self.told: list[str] = []

    def dispatcher(self, *, most: int = 32) -> Dispatcher:
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
            most=most,
        )


@pytest.fixture
def receivers(store: Store, clock: StoppedClock) -> Receivers:
    return Receivers(store, clock)


@pytest.fixture
def callback(store: Store, clock: StoppedClock, accept: Accept) -> Callable[[str, str], None]:
    """Queues what a caller at this host is to be told."""

    def callback(host: str, key: str) -> None:
        batch_id = accept(callback_url=f"https://{host}/done/{key}").batch_id
        to_it = Receiver(host, f"{host}/done")
        queue(store, clock, key, batch_id=batch_id, channel=Channel.CALLBACK_URL, receiver=to_it)

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
        RateLimited("not now", retry_after_s=FIRST_REST_S),
    ],
    ids=lambda error: error.code,
)
def test_a_caller_who_is_away_is_left_alone_by_all_for_a_while_and_the_others_are_told(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue, error: Exception
) -> None:
    for key in ("a1", "a2", "a3"):
        callback("away.example", key)
    callback("good.example", "b1")
    receivers.own["away.example"] = raises(error)
    receivers.dispatcher().flush(bound_s=60)
    assert sorted(receivers.told) == ["away.example a1", "good.example b1"]
    assert states(store) == [("pending", 1), ("pending", 0), ("pending", 0), ("sent", 1)]
    receivers.own.clear()
    receivers.dispatcher().flush(bound_s=60)
    assert len(receivers.told) == 2, "another process does not ask, either"
    clock.pass_s(FIRST_REST_S)
    receivers.dispatcher().flush(bound_s=60)
    assert [told for told in receivers.told[2:] if not told.endswith("a1")] == ["away.example a2", "away.example a3"]


def test_each_time_that_a_caller_does_not_answer_he_is_left_alone_for_longer_and_once_he_does_no_more(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue
) -> None:
    for number in range(8):
        callback("away.example", f"a{number}")
    receivers.own["away.example"] = raises(TransientError("no", code="timeout"))
    for rest_s in (30, 60, 120, 240, 300, 300):
        receivers.dispatcher().flush(bound_s=60)
        asked = len(receivers.told)
        clock.pass_s(rest_s - 1)
        receivers.dispatcher().flush(bound_s=60)
        assert len(receivers.told) == asked
        clock.pass_s(1)
    receivers.own["away.example"] = lambda: None
    receivers.dispatcher().flush(bound_s=60)
    clock.pass_s(3600)
    receivers.dispatcher().flush(bound_s=60)
    assert {state for state, _ in states(store)} == {"sent"}
    with store.begin() as connection:
        assert connection.execute(select(places)).all() == []


def test_what_is_known_of_a_caller_for_whom_nothing_is_left_is_forgotten_after_a_day(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue
) -> None:
    callback("away.example", "a")
    receivers.own["away.example"] = raises(TransientError("no", code="timeout"))
    receivers.dispatcher().flush(bound_s=60)
    for is_known, hours in ((1, 23), (0, 2)):
        clock.pass_s(hours * 3600)
        forget_old(store, clock=clock)
        with store.begin() as connection:
            assert len(connection.execute(select(places)).all()) == is_known


def test_how_many_rows_wait_for_a_caller_who_is_away_costs_the_others_nothing(
    store: Store, clock: StoppedClock, callback: Queue
) -> None:
    dead = [f"dead-{number}" for number in range(1000)]
    queue(store, clock, *dead, channel=Channel.CALLBACK_URL, receiver=Receiver.at("https://dead.example"))
    callback("good.example", "b1")
    looks: list[str] = []

    def note(*given: object) -> None:
        looks.append(str(given[2]))

    event.listen(store.engine, "before_cursor_execute", note)
    assert dispatcher(store, clock, Post(TransientError("no", code="timeout"))).flush(bound_s=60) == 1
    event.remove(store.engine, "before_cursor_execute", note)
    assert [attempts for _, attempts in states(store)] == [1, *[0] * 999, 1]
    assert len(looks) < 40


def test_callers_who_never_answer_do_not_hold_up_one_who_does(
    store: Store, receivers: Receivers, callback: Queue
) -> None:
    told = Event()
    for number in range(14):
        callback(f"silent-{number}.example", "a")
        receivers.own[f"silent-{number}.example"] = lambda: None if told.wait(HANGS_S) else raises(OSError())()
    callback("good.example", "b")
    receivers.own["good.example"] = told.set
    receivers.dispatcher().flush(bound_s=60)
    assert receivers.told[-1] == "good.example b"
    assert {state for state, _ in states(store)} == {"sent"}


@pytest.mark.parametrize("silent", [Channel.LEAD_STATUS, Channel.EMAIL, Channel.NOTIFIER, Channel.HOOK])
def test_who_hangs_delays_only_its_channel(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue, silent: Channel
) -> None:
    others = {channel.value for channel in Channel if channel is not silent} - {Channel.CALLBACK_URL} | {"shop.example"}
    told = Event()

    def note(name: str) -> Callable[[], None]:
        def act() -> None:
            others.discard(name)
            if not others:
                told.set()

        return act

    for channel in (Channel.LEAD_STATUS, Channel.EMAIL, Channel.NOTIFIER, Channel.HOOK):
        queue(store, clock, f"{channel}-1", f"{channel}-2", channel=channel)
    callback("shop.example", "a")
    receivers.own = {name: note(name) for name in others}
    receivers.own[silent] = lambda: None if told.wait(HANGS_S) else raises(OSError())()
    receivers.dispatcher().flush(bound_s=60)
    assert {state for state, _ in states(store)} == {"sent"}


def test_a_hook_is_called_when_the_leads_status_is_written(
    store: Store, clock: StoppedClock, receivers: Receivers
) -> None:
    queue(store, clock, "h", channel=Channel.HOOK)
    queue(store, clock, "s1", "s2", "s3", channel=Channel.LEAD_STATUS)
    receivers.dispatcher().flush(bound_s=60)
    assert receivers.told == ["lead_status s1", "lead_status s2", "lead_status s3", "hook h"]


def test_what_one_caller_is_told_goes_out_in_the_order_in_which_it_happened(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue
) -> None:
    answers = iter([TransientError("The receiver answered 500.", code="500")])
    receivers.own["shop.example"] = lambda: raises(error)() if (error := next(answers, None)) else None
    callback("shop.example", "first")
    receivers.dispatcher().flush(bound_s=60)
    clock.pass_s(5)
    for key in ("second", "third"):
        callback("shop.example", key)
    receivers.dispatcher().flush(bound_s=60)
    assert receivers.told[1:] == ["shop.example first", "shop.example second", "shop.example third"]


def test_one_message_that_a_caller_does_not_take_says_nothing_of_the_others(
    store: Store, receivers: Receivers, callback: Queue
) -> None:
    callback("shop.example", "a")
    callback("shop.example", "b")
    answers = iter([TransientError("The receiver answered 500.", code="500"), None])
    receivers.own["shop.example"] = lambda: raises(error)() if (error := next(answers)) else None
    receivers.dispatcher().flush(bound_s=60)
    assert states(store) == [("pending", 1), ("sent", 1)]


def test_where_one_must_wait_people_are_told_before_programs(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue
) -> None:
    callback("shop.example", "a")
    queue(store, clock, "b", channel=Channel.HOOK)
    queue(store, clock, "c", channel=Channel.EMAIL)
    queue(store, clock, "d", channel=Channel.LEAD_STATUS)
    receivers.dispatcher(most=1).flush(bound_s=60)
    assert receivers.told == ["lead_status d", "email c", "hook b", "shop.example a"]


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
    for _ in range(settler.settings.max_claims):
        die_in_mid_air(store, f"{batch_id}-0", clock)
        take_over(settler)
    receivers.dispatcher().flush(bound_s=60)
    assert seen == [BatchStatus.FAILED] * 5, "the e-mail, three hooks, the caller"


def test_a_row_that_is_being_sent_is_nobody_elses_for_as_long_as_sending_may_take(
    store: Store, clock: StoppedClock, receivers: Receivers
) -> None:
    queue(store, clock, "a")
    other = Receivers(store, clock)

    def meanwhile() -> None:
        clock.pass_s(PACES[Channel.EMAIL].longest_s + IN_HAND_S)
        other.dispatcher().flush(bound_s=60)

    receivers.own["email"] = meanwhile
    assert receivers.dispatcher().flush(bound_s=7200) == 1
    assert other.told == []
    assert states(store) == [("sent", 1)]


def test_who_was_held_up_for_so_long_that_another_has_sent_it_changes_nothing_of_that(
    store: Store, clock: StoppedClock, receivers: Receivers
) -> None:
    queue(store, clock, "a")
    other = Receivers(store, clock)

    def meanwhile() -> None:
        clock.pass_s(3600)
        other.dispatcher().flush(bound_s=60)
        raise TransientError("broken off")

    receivers.own["email"] = meanwhile
    assert receivers.dispatcher().flush(bound_s=7200) == 0
    assert other.told == ["email a"]
    assert states(store) == [("sent", 2)]


def test_no_transaction_is_open_while_something_goes_out(
    store: Store, clock: StoppedClock, receivers: Receivers, callback: Queue
) -> None:
    queue(store, clock, "m")
    callback("shop.example", "a")
    seen: list[int] = []
    in_use = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"

    def look() -> None:
        with store.begin() as connection:
            seen.append(connection.execute(text(in_use)).scalar_one())

    receivers.own = dict.fromkeys(("email", "shop.example"), look)
    receivers.dispatcher(most=1).flush(bound_s=60)
    assert seen == [1, 1], "the one that looks"


def test_a_hook_that_asks_for_it_is_called_again_but_not_one_whose_call_got_no_answer(
    store: Store, clock: StoppedClock
) -> None:
    queue(store, clock, "a", "b", channel=Channel.HOOK)
    senders = dict.fromkeys(Channel, Post(TransientError("again"), UnknownOutcome("who knows")))
    Dispatcher(store=store, senders=senders, clock=clock).flush(bound_s=60)
    assert states(store) == [("pending", 1), ("dead", 1)]
