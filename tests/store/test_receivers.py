"""Callers who share a host are apart, and one that cannot be reached costs the others little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Event

import pytest
from sqlalchemy import select

from leadcast.core.errors import RateLimited, TransientError, UnknownOutcome
from leadcast.flow.inbox import Accepted
from leadcast.flow.notify import Dispatcher, Story
from leadcast.store.database import Store
from leadcast.store.paces import Channel
from leadcast.store.receivers import FIRST_REST_S, Receiver
from leadcast.store.schema import places

from .conftest import StoppedClock
from .test_notify import queue

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]
HUB, SHOP = "https://hooks.example", "https://shop.example"


@pytest.mark.parametrize("url", ["https://[", "0b5e", "", "https:///hook"])
def test_what_cannot_be_read_shares_its_host_with_nobody(url: str) -> None:
    assert len({Receiver.at(each).host for each in (url, f"{url}x", SHOP, HUB)}) == 4


class Callers:
    """Who brings callback URLs, and what becomes of calling them: by the beginning of a URL."""

    def __init__(self, store: Store, clock: StoppedClock, accept: Accept) -> None:
        self.store, self.clock, self.accept = store, clock, accept
        self.own: dict[str, Callable[[], None]] = {}
        self.called: list[str] = []

    def are_to_hear(self, *urls: str) -> None:
        for number, url in enumerate(urls):
            batch_id = self.accept(callback_url=url).batch_id
            key, receiver = f"{url} {batch_id} {number}", Receiver.at(url)
            queue(self.store, self.clock, key, batch_id=batch_id, channel=Channel.CALLBACK_URL, receiver=receiver)

    def flush(self) -> list[str]:
        """As the sweep does. Returns whom it has called."""
        self.called.clear()
        Dispatcher(
            store=self.store,
            senders={Channel.CALLBACK_URL: self._call},
            clock=self.clock,
            timer=lambda: self.clock().timestamp(),
            chance=lambda: 0.0,
        ).flush(bound_s=60)
        return self.called

    def _call(self, story: Story, *, timeout_s: float) -> None:
        self.called.append(story.callback_url)
        for beginning, act in self.own.items():
            if story.callback_url.startswith(beginning):
                act()


@pytest.fixture
def callers(store: Store, clock: StoppedClock, accept: Accept) -> Callers:
    return Callers(store, clock, accept)


def raises(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


ASKED = RateLimited("429", retry_after_s=60)
HANGS = UnknownOutcome("no", code="timeout")
UNREACHABLE = TransientError("no", code="unreachable")


@pytest.mark.parametrize("error", [ASKED, HANGS], ids=lambda error: error.code)
def test_of_two_callers_at_one_host_one_who_is_away_holds_up_the_other_not_at_all(
    callers: Callers, clock: StoppedClock, error: Exception
) -> None:
    callers.are_to_hear(*[f"{HUB}/a"] * 30, f"{HUB}/b")
    callers.own[f"{HUB}/a"] = raises(error)
    assert Counter(callers.flush()) == {f"{HUB}/a": 1, f"{HUB}/b": 1}
    clock.pass_s(FIRST_REST_S)
    callers.are_to_hear(f"{HUB}/b")
    assert f"{HUB}/b" in callers.flush()


def test_behind_much_for_one_caller_another_at_the_same_host_has_his_turn(callers: Callers) -> None:
    callers.are_to_hear(*[f"{HUB}/a"] * 120, f"{HUB}/b")
    assert callers.flush().index(f"{HUB}/b") < 9


def test_who_asks_to_be_left_alone_for_an_hour_is_with_all_that_waits_for_him(
    callers: Callers, clock: StoppedClock
) -> None:
    callers.are_to_hear(*[f"{HUB}/a"] * 6)
    callers.own[HUB] = raises(RateLimited("429", retry_after_s=3600))
    calls = []
    for minute in range(121):
        calls += [minute for _ in callers.flush()]
        clock.pass_s(60)
    assert calls == [0, 60, 120]


def test_who_asks_when_others_have_found_him_away_is_left_alone_for_as_long_as_he_asks(
    callers: Callers, clock: StoppedClock
) -> None:
    """Two processes call him at the same moment: one gets no answer, the other a 429."""
    callers.are_to_hear(*[f"{HUB}/a"] * 3)
    other = Callers(callers.store, clock, callers.accept)
    other.own[HUB] = raises(HANGS)

    def meanwhile() -> None:
        other.flush()
        raise RateLimited("429", retry_after_s=900)

    callers.own[HUB] = meanwhile
    callers.flush()
    assert other.called == [f"{HUB}/a"]
    callers.own.clear()
    clock.pass_s(899)
    assert callers.flush() == []
    clock.pass_s(1)
    assert len(callers.flush()) == 3


def test_a_host_that_cannot_be_reached_is_asked_for_by_one_until_it_is_back(
    store: Store, callers: Callers, clock: StoppedClock
) -> None:
    callers.are_to_hear(*(f"{HUB}/{number}" for number in range(40)), f"{SHOP}/b")
    callers.own[HUB] = raises(UNREACHABLE)
    assert len(callers.flush()) <= 9, "those that were on their way when it was found out, and the other"
    assert f"{SHOP}/b" in callers.called
    for rest_s in (30, 60, 120, 240, 300):
        clock.pass_s(rest_s - 1)
        assert callers.flush() == []
        clock.pass_s(1)
        assert len(callers.flush()) == 1
    clock.pass_s(300)
    callers.own.clear()
    assert len(callers.flush()) > 25
    clock.pass_s(1800)
    callers.flush()
    assert callers.flush() == []
    with store.begin() as connection:
        assert connection.execute(select(places)).all() == []


def test_many_who_hang_at_one_host_leave_room_for_who_is_at_another(callers: Callers) -> None:
    told = Event()
    callers.are_to_hear(*(f"{HUB}/{number}" for number in range(60)), f"{SHOP}/b")
    callers.own = {HUB: lambda: None if told.wait(12) else raises(OSError())(), SHOP: told.set}
    callers.flush()
    assert told.is_set()
    assert callers.called.index(f"{SHOP}/b") <= 16


@pytest.mark.parametrize("url", ["https://a.example:99999/x", "https://[a/x"])
def test_a_url_that_cannot_be_read_is_nobody_elses(url: str) -> None:
    assert Receiver.at(url) != Receiver.at(f"{url}y")
    assert Receiver.at(url).host != Receiver.at(f"{url}y").host
