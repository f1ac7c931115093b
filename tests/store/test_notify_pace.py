"""When the outbox tries again: each channel at its own pace, whatever a receiver asks for and a clock does."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from leadcast.core.errors import Gone, LeadTableError, RateLimited, TransientError
from leadcast.flow.inbox import Accepted
from leadcast.flow.notify import Dispatcher, Story
from leadcast.store.database import Store
from leadcast.store.paces import CLOCKS_DIFFER_BY_S, IN_HAND_S, PACES, Channel
from leadcast.store.receivers import FIRST_REST_S

from .conftest import StoppedClock
from .test_notify import Post, dispatcher, queue, states

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
HOUR_S = 3600


class MailServer:
    """Away until it is told to come back. Keeps the keys of what it took."""

    def __init__(self) -> None:
        self.is_up = False
        self.calls = 0
        self.taken: list[str] = []

    def __call__(self, story: Story, *, timeout_s: float) -> None:
        self.calls += 1
        if not self.is_up:
            raise TransientError("Cannot talk to the mail server; nothing was sent.", code="unreachable")
        self.taken.append(story.key)


def is_tried(made: Dispatcher, post: Post) -> bool:
    before = len(post.stories)
    made.flush(bound_s=10)
    return len(post.stories) > before


def test_a_callback_is_tried_as_standard_webhooks_advise_and_then_given_up(
    store: Store, clock: StoppedClock, accept: Accept
) -> None:
    batch_id = accept(callback_url="https://shop.example/done").batch_id
    queue(store, clock, "a", batch_id=batch_id, channel=Channel.CALLBACK_URL)
    post = Post(*[TransientError("503")] * 20)
    made = dispatcher(store, clock, post)
    assert is_tried(made, post)
    for pause_s in (5, 300, 1800, 2 * HOUR_S, 5 * HOUR_S, 10 * HOUR_S, 14 * HOUR_S, 20 * HOUR_S, 24 * HOUR_S):
        clock.pass_s(pause_s - 1)
        assert not is_tried(made, post), f"before {pause_s} s"
        clock.pass_s(1)
        assert is_tried(made, post), f"after {pause_s} s"
    assert states(store) == [("dead", 10)]


def test_chance_lengthens_a_callbacks_pause_by_up_to_a_tenth(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", channel=Channel.CALLBACK_URL)
    post = Post(TransientError("503"), TransientError("503"))
    made = dispatcher(store, clock, post, chance=0.999)
    assert is_tried(made, post)
    clock.pass_s(6)
    assert is_tried(made, post)
    clock.pass_s(320)
    assert not is_tried(made, post)
    clock.pass_s(10)
    assert is_tried(made, post)


@pytest.mark.parametrize(
    ("asked_s", "pause_s"),
    [(900, 900), (1, FIRST_REST_S), (10 * 24 * HOUR_S, 1.1 * 24 * HOUR_S)],
    ids=["more", "less", "endless"],
)
def test_who_asks_to_be_left_alone_is_unless_for_too_little_or_for_ever(
    store: Store, clock: StoppedClock, asked_s: float, pause_s: float
) -> None:
    queue(store, clock, "a", channel=Channel.CALLBACK_URL)
    post = Post(RateLimited("429", retry_after_s=asked_s))
    made = dispatcher(store, clock, post)
    assert is_tried(made, post)
    clock.pass_s(pause_s - 1)
    assert not is_tried(made, post)
    clock.pass_s(1)
    assert is_tried(made, post)
    assert states(store) == [("sent", 2)]


def test_who_wants_no_more_gets_no_more(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", channel=Channel.CALLBACK_URL)
    dispatcher(store, clock, Post(Gone("410"))).flush(bound_s=10)
    assert states(store) == [("dead", 1)]


@pytest.mark.parametrize(("minutes", "calls"), [(0, 0), (60, 15)], ids=["in time", "an hour later"])
def test_what_gathers_while_the_mail_server_is_away_comes_after_once_each(
    store: Store, clock: StoppedClock, minutes: int, calls: int
) -> None:
    server = MailServer()
    made = dispatcher(store, clock, server)
    keys = [f"batch-{number}:failed" for number in range(30)] + ["run:critical"]
    queue(store, clock, *keys)
    for _ in range(minutes):
        made.flush(bound_s=60)
        clock.pass_s(60)
    assert server.calls == calls, "one row finds out, and then there is a rest that grows to five minutes"
    server.is_up = True
    for _ in range(60):
        made.flush(bound_s=60)
        clock.pass_s(60)
    assert sorted(server.taken) == sorted(keys)
    assert {state for state, _ in states(store)} == {"sent"}


def test_a_mail_server_that_is_away_over_a_long_weekend_loses_nothing(store: Store, clock: StoppedClock) -> None:
    server = MailServer()
    queue(store, clock, "a")
    made = dispatcher(store, clock, server)
    for _ in range(66 * 4):
        made.flush(bound_s=60)
        clock.pass_s(900)
    server.is_up = True
    clock.pass_s(HOUR_S)
    made.flush(bound_s=60)
    assert server.taken == ["a"]


@pytest.mark.parametrize("back_s", [HOUR_S, 30 * 24 * HOUR_S])
def test_a_clock_that_is_put_back_holds_up_no_new_row(store: Store, clock: StoppedClock, back_s: float) -> None:
    queue(store, clock, "a", channel=Channel.CALLBACK_URL)
    clock.pass_s(-back_s)
    assert dispatcher(store, clock, Post()).flush(bound_s=10) == 1


def test_a_clock_that_is_put_back_lengthens_no_pause_beyond_the_longest_of_the_channel(
    store: Store, clock: StoppedClock
) -> None:
    queue(store, clock, "a", channel=Channel.LEAD_STATUS)
    post = Post(LeadTableError("away", is_away=True))
    made = dispatcher(store, clock, post)
    assert is_tried(made, post)
    assert not is_tried(made, post)
    clock.pass_s(-HOUR_S)
    assert is_tried(made, post)
    assert states(store) == [("sent", 2)]


def test_a_clock_that_is_put_back_while_sending_makes_no_flush_longer(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, *(f"m{number}" for number in range(20)))
    seconds = iter(range(0, 1000, 3))

    class PutsBack(Post):
        def __call__(self, story: Story, *, timeout_s: float) -> None:
            clock.pass_s(-HOUR_S)

    made = Dispatcher(
        store=store, senders=dict.fromkeys(Channel, PutsBack()), clock=clock, timer=lambda: float(next(seconds))
    )
    assert made.flush(bound_s=15) < 6


@pytest.mark.parametrize("channel", Channel)
def test_a_row_is_its_takers_for_longer_than_sending_it_can_take(channel: Channel) -> None:
    pace = PACES[channel]
    for try_s in (pace.try_s(10), pace.try_s(inf)):
        leases = [pace.lease_s(attempt, try_s=try_s) for attempt in range(1, pace.max_attempts + 1)]
        assert min(leases) > try_s + IN_HAND_S + CLOCKS_DIFFER_BY_S
        assert max(leases) <= pace.longest_pause_s, "or it would count as one of a clock that was put back"


def test_every_channel_has_a_pace() -> None:
    assert set(PACES) == set(Channel)
    assert all(pace.pause_s(10_000) <= pace.longest_pause_s for pace in PACES.values())
