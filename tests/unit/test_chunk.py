"""A process that sends many: several at once, again what may pass soon, and nothing more once its time is over."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from leadcast.core.errors import AttemptFailed, NotBegun, RejectedError, StoreError, TransientError
from leadcast.flow.deliver import chunk as chunks
from leadcast.flow.deliver.chunk import BEGINS_FOR_S, Chunk, ChunkEnd, Part

HANGS_S = 30
AT_ONCE = 4


def parts(count: int) -> list[Part]:
    return [Part(f"d{number}", f"b{number}") for number in range(count)]


def again(in_s: float) -> AttemptFailed:
    return AttemptFailed(TransientError("Not now."), retry_in_s=in_s)


def refused() -> AttemptFailed:
    return AttemptFailed(RejectedError("No."), retry_in_s=None)


def waits(in_s: float = 3600) -> AttemptFailed:
    return AttemptFailed(TransientError("Later."), retry_in_s=in_s, waits=True)


class Clock:
    """Seconds, which pass only when told to, or with each look at it."""

    def __init__(self, *, each_look_s: float = 0.0) -> None:
        self.now, self._each_look_s = 0.0, each_look_s

    def __call__(self) -> float:
        self.now += self._each_look_s
        return self.now


class Ledger:
    """What becomes of each delivery, attempt by attempt; without more to say, it arrives."""

    def __init__(self, **outcomes: Sequence[BaseException]) -> None:
        self._outcomes = {name: list(listed) for name, listed in outcomes.items()}
        self._lock = threading.Lock()
        self.attempts: Counter[str] = Counter()

    def deliver(self, part: Part) -> None:
        with self._lock:
            self.attempts[part.delivery_id] += 1
            planned = self._outcomes.get(part.delivery_id)
            outcome = planned.pop(0) if planned else None
        if outcome is not None:
            raise outcome


def test_each_is_sent_once_and_several_at_once() -> None:
    together, ledger = threading.Barrier(AT_ONCE, timeout=HANGS_S), Ledger()

    def deliver(part: Part) -> None:
        together.wait()
        ledger.deliver(part)

    end = Chunk(parts(3 * AT_ONCE), deliver, at_once=AT_ONCE).run()
    assert end == ChunkEnd(arrived=3 * AT_ONCE)
    assert set(ledger.attempts.values()) == {1}


def test_they_are_begun_in_their_order() -> None:
    begun: list[str] = []
    Chunk(parts(9), lambda part: begun.append(part.delivery_id), at_once=1).run()
    assert begun == [f"d{number}" for number in range(9)]


@pytest.mark.parametrize("error", [refused(), waits(), again(5), StoreError("No."), RuntimeError(), NotBegun("Away.")])
def test_one_that_does_not_arrive_is_counted_once_and_keeps_none_of_the_others(error: Exception) -> None:
    end = Chunk(parts(9), Ledger(d4=[error]).deliver, at_once=1, clock=Clock()).run()
    assert end.arrived == 8
    others = [*end.failed, *end.waits, *(failed for _, failed in end.comes_back), *end.away, *end.broken]
    assert others == [error]


def test_what_fails_is_said_by_what_is_to_become_of_it() -> None:
    outcomes = [refused(), waits(), again(7), NotBegun("Away."), StoreError("No.")]
    ledger = Ledger(**{f"d{number}": [error] for number, error in enumerate(outcomes)})
    end = Chunk(parts(5), ledger.deliver, at_once=1, clock=Clock()).run()
    assert (end.failed, end.waits, end.away, end.broken) == (
        (outcomes[0],),
        (outcomes[1],),
        (outcomes[3],),
        (outcomes[4],),
    )
    assert end.comes_back == ((7.0, outcomes[2]),)


def test_what_may_pass_soon_is_sent_again_while_others_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_LOOKS_EVERY_S", 0.01)
    ledger, is_over = Ledger(d1=[again(5), again(5)]), threading.Event()

    def deliver(part: Part) -> None:
        if part.delivery_id == "d0":
            assert is_over.wait(HANGS_S)
            return
        try:
            ledger.deliver(part)
        finally:
            if ledger.attempts["d1"] == 3:
                is_over.set()

    end = Chunk(parts(2), deliver, at_once=2, clock=Clock(each_look_s=0.5)).run()
    assert end == ChunkEnd(arrived=2)


def test_no_process_waits_for_time_to_pass() -> None:
    """What alone is left comes back by Airflow's own retry."""
    ledger = Ledger(d0=[again(5)], d2=[again(3)])
    end = Chunk(parts(3), ledger.deliver, at_once=AT_ONCE, clock=Clock()).run()
    assert sorted(seconds for seconds, _ in end.comes_back) == [3.0, 5.0]
    assert ledger.attempts.total() == 3


def test_one_alone_is_tried_once() -> None:
    ledger = Ledger(d0=[again(0.0)])
    end = Chunk(parts(1), ledger.deliver, at_once=AT_ONCE, clock=Clock()).run()
    assert (end.arrived, ledger.attempts["d0"]) == (0, 1)


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_after_its_time_it_begins_nothing_more(at_once: int) -> None:
    clock = Clock()

    def deliver(part: Part) -> None:
        clock.now += BEGINS_FOR_S

    end = Chunk(parts(20), deliver, at_once=at_once, clock=clock).run()
    assert 1 <= end.arrived <= at_once
    assert end.arrived + end.not_begun == 20


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_a_process_that_is_to_end_begins_nothing_more(at_once: int) -> None:
    stop: list[Callable[[], None]] = []
    chunk = Chunk(parts(20), lambda part: stop[0](), at_once=at_once)
    stop.append(chunk.stop)
    end = chunk.run()
    assert 1 <= end.arrived <= at_once
    assert end.arrived + end.not_begun == 20


def test_threads_that_wait_see_that_it_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_LOOKS_EVERY_S", 0.01)
    is_over = threading.Event()

    def deliver(part: Part) -> None:
        if part.delivery_id == "d0":
            assert is_over.wait(HANGS_S)
            return
        chunk.stop()
        is_over.set()
        raise again(3600)

    chunk = Chunk(parts(2), deliver, at_once=2)
    end = chunk.run()
    assert (end.arrived, len(end.comes_back)) == (1, 1)


def test_what_a_process_has_died_with_comes_last_and_alone() -> None:
    """One that kills its process takes no other with it again."""
    guard, at_work, seen = threading.Lock(), set[str](), list[tuple[str, int]]()
    together = threading.Barrier(AT_ONCE, timeout=HANGS_S)

    def deliver(part: Part) -> None:
        with guard:
            at_work.add(part.delivery_id)
        if part.delivery_id not in doubtful:
            together.wait()
        with guard:
            seen.append((part.delivery_id, len(at_work)))
        if part.delivery_id not in doubtful:
            together.wait()
        with guard:
            at_work.remove(part.delivery_id)

    doubtful = {"d0", "d3"}
    assert Chunk(parts(AT_ONCE + 2), deliver, at_once=AT_ONCE, doubtful=doubtful).run().arrived == AT_ONCE + 2
    assert seen[-2:] == [("d0", 1), ("d3", 1)]
    assert {count for _, count in seen[:-2]} == {AT_ONCE}


class TimeoutOfAirflow(BaseException):
    """As Airflow's own, it is no `Exception`."""


@pytest.mark.parametrize("count", [1, 9])
def test_what_breaks_off_the_process_is_passed_on(count: int) -> None:
    with pytest.raises(TimeoutOfAirflow):
        Chunk(parts(count), Ledger(d0=[TimeoutOfAirflow()]).deliver, at_once=AT_ONCE).run()


def test_what_breaks_off_one_thread_lets_the_others_end_what_they_send() -> None:
    is_sending, ended = threading.Event(), threading.Event()

    def deliver(part: Part) -> None:
        if part.delivery_id == "d0":
            assert is_sending.wait(HANGS_S)
            raise SystemExit
        is_sending.set()
        threading.Event().wait(0.1)
        ended.set()

    with pytest.raises(SystemExit):
        Chunk(parts(2), deliver, at_once=2).run()
    assert ended.is_set()


@pytest.mark.parametrize("most", [0, 2])
def test_without_threads_it_is_sent_all_the_same(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def refuses(thread: threading.Thread) -> None:
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuses)
    assert Chunk(parts(9), Ledger().deliver, at_once=AT_ONCE).run() == ChunkEnd(arrived=9)
