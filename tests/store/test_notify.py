"""The outbox: each thing goes out once, and what cannot go out now goes out later."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from sqlalchemy import Connection, select

from leadcast.core.errors import RejectedError, TransientError
from leadcast.flow.inbox import Accepted
from leadcast.flow.notify import Dispatcher, Sender, Story
from leadcast.store import outbox, sending
from leadcast.store.database import Store
from leadcast.store.paces import PACES, Channel
from leadcast.store.receivers import EVERYBODY, Receiver
from leadcast.store.schema import notifications

from .conftest import StoppedClock, waits_or_ends

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]


class Post:
    """Keeps what was sent, or fails as told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.stories: list[Story] = []

    def __call__(self, story: Story, *, timeout_s: float) -> None:
        self.stories.append(story)
        if self.failures:
            raise self.failures.pop(0)


def queue(
    store: Store,
    clock: StoppedClock,
    *keys: str,
    batch_id: str | None = None,
    channel: Channel = Channel.EMAIL,
    occasion: str = "failed",
    receiver: Receiver = EVERYBODY,
) -> None:
    with store.begin() as connection:
        for key in keys:
            new = outbox.New(
                key=key, batch_id=batch_id, channel=channel, occasion=occasion, reason="why", receiver=receiver
            )
            outbox.queue(connection, new, now=clock())


def dispatcher(store: Store, clock: StoppedClock, post: Sender, *, chance: float = 0.0) -> Dispatcher:
    """Sends one thing after the other, so that a test can say what becomes of each."""
    return Dispatcher(
        store=store,
        senders=dict.fromkeys(Channel, post),
        clock=clock,
        timer=lambda: clock().timestamp(),
        chance=lambda: chance,
        most=1,
    )


def states(store: Store) -> list[tuple[str, int]]:
    with store.begin() as connection:
        rows = connection.execute(select(notifications.c.state, notifications.c.attempts).order_by(notifications.c.id))
        return [(row.state, row.attempts) for row in rows]


def test_what_is_queued_goes_out_once(store: Store, clock: StoppedClock, accept: Accept) -> None:
    batch_id = accept(callback_url="https://example.com/hook").batch_id
    queue(store, clock, "a", batch_id=batch_id)
    queue(store, clock, "a", batch_id=batch_id)
    post = Post()
    assert dispatcher(store, clock, post).flush(bound_s=10) == 1
    assert dispatcher(store, clock, post).flush(bound_s=10) == 0
    (story,) = post.stories
    assert (story.occasion, story.reason, story.callback_url) == ("failed", "why", "https://example.com/hook")
    assert story.batch is not None
    assert story.batch.lead_id == "123"


def test_two_processes_never_send_the_same_row(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, *(f"k{number}" for number in range(40)))
    post = Post()
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda _: dispatcher(store, clock, post).flush(bound_s=30), range(4)))
    assert sum(sent) == 40
    assert sorted(story.key for story in post.stories) == sorted(f"k{number}" for number in range(40))


def test_of_two_who_look_at_the_same_moment_one_takes_the_row_and_the_other_what_comes_after(
    store: Store, clock: StoppedClock
) -> None:
    queue(store, clock, "a", "b")

    def taken(connection: Connection) -> list[str]:
        found = sending.take(connection, Channel.EMAIL, now=clock(), busy=(), limit=1, try_s=10)
        return [row.key for row in found.rows]

    def other() -> list[str]:
        with store.begin() as connection:
            return taken(connection)

    with ThreadPoolExecutor(1) as pool:
        with store.begin() as first:
            assert taken(first) == ["a"]
            second = pool.submit(other)
            waits_or_ends(store, second)
        assert second.result() == ["b"]


def test_a_machine_whose_clock_is_a_minute_ahead_does_not_send_what_another_is_sending(
    store: Store, clock: StoppedClock
) -> None:
    queue(store, clock, "a")

    def taken() -> list[str]:
        with store.begin() as connection:
            found = sending.take(connection, Channel.EMAIL, now=clock(), busy=(), limit=1, try_s=10)
        return [row.key for row in found.rows]

    assert taken() == ["a"]
    clock.pass_s(10 + 60)
    assert taken() == []
    clock.pass_s(16)
    assert taken() == ["a"], "the first has died"


def test_what_fails_is_sent_later_after_a_pause_that_grows(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a")
    post = Post(TransientError("server away"), OSError("server away"))
    for pause_s, state in ((0, ("pending", 1)), (29, ("pending", 1)), (1, ("pending", 2)), (60, ("sent", 3))):
        clock.pass_s(pause_s)
        dispatcher(store, clock, post).flush(bound_s=10)
        assert states(store) == [state]


def test_a_failure_does_not_hold_up_the_others(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", "b")
    assert dispatcher(store, clock, Post(TransientError("no"))).flush(bound_s=10) == 1
    assert states(store) == [("pending", 1), ("sent", 1)]


def test_what_will_never_pass_is_given_up_at_once(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a")
    dispatcher(store, clock, Post(RejectedError("410"))).flush(bound_s=10)
    assert states(store) == [("dead", 1)]


def test_what_fails_for_ever_is_given_up_in_the_end(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a")
    most = PACES[Channel.EMAIL].max_attempts
    post = Post(*[TransientError("no")] * most)
    for _ in range(most + 5):
        dispatcher(store, clock, post).flush(bound_s=10)
        clock.pass_s(3601)
    assert states(store) == [("dead", most)]


def test_what_could_not_go_out_can_be_asked_for(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", "b", "c")
    queue(store, clock, "d", channel=Channel.CALLBACK_URL)
    dispatcher(store, clock, Post(TransientError("away"), TransientError("away"))).flush(bound_s=10)
    queue(store, clock, "e", channel=Channel.CALLBACK_URL)
    dispatcher(store, clock, Post(RejectedError("410"))).flush(bound_s=10)
    with store.begin() as connection:
        found = outbox.troubles(connection, now=clock())
    assert [(item.channel, item.is_given_up, item.count, item.error) for item in found] == [
        (Channel.CALLBACK_URL, True, 1, "RejectedError: 410"),
        (Channel.EMAIL, False, 2, "TransientError: away"),
    ]
    clock.pass_s(8 * 86400)
    with store.begin() as connection:
        assert [item.channel for item in outbox.troubles(connection, now=clock())] == [Channel.EMAIL], "that is over"


def test_a_hook_that_raises_has_run_and_is_not_called_again(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", channel=Channel.HOOK)
    dispatcher(store, clock, Post(ValueError("in the user's code"))).flush(bound_s=10)
    assert states(store) == [("dead", 1)]


def test_a_hook_may_ask_to_be_called_again(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", channel=Channel.HOOK)
    dispatcher(store, clock, Post(TransientError("later"))).flush(bound_s=10)
    assert states(store) == [("pending", 1)]


def test_when_the_time_is_over_the_rest_waits(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", "b")

    class Slow(Post):
        def __call__(self, story: Story, *, timeout_s: float) -> None:
            clock.pass_s(60)

    assert dispatcher(store, clock, Slow()).flush(bound_s=5) == 1
    assert [state for state, _ in states(store)] == ["sent", "pending"]


def test_the_words_of_a_foreign_error_are_not_kept(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a")
    with structlog.testing.capture_logs() as logs:
        dispatcher(store, clock, Post(ValueError("password=s3cret"))).flush(bound_s=10)
    with store.begin() as connection:
        assert connection.execute(select(notifications.c.error)).scalar() == "ValueError"
    assert "s3cret" not in str(logs)


def test_where_a_callback_leads_is_not_logged_and_why_it_failed_is(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", channel=Channel.CALLBACK_URL)
    away = TransientError(
        "Cannot reach https://hook.example:8443: connection refused; nothing was sent.", code="unreachable"
    )
    with structlog.testing.capture_logs() as logs:
        dispatcher(store, clock, Post(away)).flush(bound_s=10)
    [line] = [line for line in logs if line["event"] == "not notified"]
    assert line["error"] == "TransientError: Cannot reach …: connection refused; nothing was sent."
    assert "hook.example" not in str(logs)
