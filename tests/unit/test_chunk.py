"""A process that sends many: what it was made for, then what is due in its lane, several at once, and nothing more once
its time is over."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import pytest

from leadcast.core.errors import AttemptFailed, NotBegun, RejectedError, StoreError, TransientError
from leadcast.flow.deliver import chunk as chunks
from leadcast.flow.deliver.chunk import BEGINS_FOR_S, Chunk, ChunkEnd, Lane, Part

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
    """Seconds, which pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
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


class Queue:
    """What is due in a lane; of it some with which a process has died."""

    def __init__(self, due: Iterable[Part] = (), *, doubtful: Iterable[Part] = ()) -> None:
        self._due, self._doubtful = deque(due), deque(doubtful)
        self.looks = 0
        self.lane = Lane(take=self._take, take_doubtful=self._take_doubtful)

    def put(self, part: Part) -> None:
        """It is due from now on."""
        self._due.append(part)

    @property
    def left(self) -> int:
        return len(self._due) + len(self._doubtful)

    def _take(self, limit: int) -> list[Part]:
        self.looks += 1
        return self._some(self._due, limit)

    def _take_doubtful(self) -> list[Part]:
        return self._some(self._doubtful, 1)

    def _some(self, which: deque[Part], limit: int) -> list[Part]:
        return [which.popleft() for _ in range(min(limit, len(which)))]


@pytest.fixture(autouse=True)
def looks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_LOOKS_EVERY_S", 0.01)


def ended(chunk: Chunk) -> ChunkEnd:
    chunk.run()
    return chunk.end()


def test_each_that_it_was_made_for_is_sent_once_and_several_at_once() -> None:
    together, ledger = threading.Barrier(AT_ONCE, timeout=HANGS_S), Ledger()

    def deliver(part: Part) -> None:
        together.wait()
        ledger.deliver(part)

    end = ended(Chunk(parts(3 * AT_ONCE), deliver, at_once=AT_ONCE))
    assert end == ChunkEnd(arrived=3 * AT_ONCE)
    assert set(ledger.attempts.values()) == {1}


def test_each_of_its_lane_is_sent_once_and_several_at_once() -> None:
    together, ledger, queue = threading.Barrier(AT_ONCE, timeout=HANGS_S), Ledger(), Queue(parts(3 * AT_ONCE))

    def deliver(part: Part) -> None:
        together.wait()
        ledger.deliver(part)

    chunk = Chunk((), deliver, at_once=AT_ONCE, lane=queue.lane)
    assert ended(chunk) == ChunkEnd(arrived=3 * AT_ONCE)
    assert set(ledger.attempts.values()) == {1}
    assert (chunk.taken, chunk.time_is_over) == (3 * AT_ONCE, False)


@pytest.mark.parametrize("is_own", [True, False])
def test_they_are_begun_in_their_order(is_own: bool) -> None:
    begun: list[str] = []
    own, lane = (parts(9), None) if is_own else ([], Queue(parts(9)).lane)
    Chunk(own, lambda part: begun.append(part.delivery_id), at_once=1, lane=lane).run()
    assert begun == [f"d{number}" for number in range(9)]


def test_the_one_that_it_was_made_for_comes_before_its_lane_and_in_the_thread_that_is_told_to_end() -> None:
    """Airflow's signals arrive in the main thread alone."""
    own, *others = parts(9)
    begun: list[tuple[str, bool, int]] = []
    queue = Queue(others)

    def deliver(part: Part) -> None:
        begun.append((part.delivery_id, threading.current_thread() is threading.main_thread(), queue.looks))

    Chunk([own], deliver, at_once=AT_ONCE, lane=queue.lane).run()
    assert begun[0] == ("d0", True, 0)
    assert {(delivery_id, is_main) for delivery_id, is_main, _ in begun[1:]} == {(f"d{n}", False) for n in range(1, 9)}


def test_it_never_holds_more_than_it_has_threads_for() -> None:
    """What it has taken, others cannot send."""
    queue, guard, held = Queue(parts(20)), threading.Lock(), Counter[str]()
    most: list[int] = []

    def take(limit: int) -> Sequence[Part]:
        with guard:
            most.append(limit + held["now"])
            taken = queue.lane.take(limit)
            held["now"] += len(taken)
        return taken

    def deliver(part: Part) -> None:
        with guard:
            held["now"] -= 1

    lane = Lane(take=take, take_doubtful=queue.lane.take_doubtful)
    assert ended(Chunk((), deliver, at_once=AT_ONCE, lane=lane)).arrived == 20
    assert max(most) == AT_ONCE


def test_it_ends_as_the_one_that_it_was_made_for_whatever_becomes_of_the_others() -> None:
    own, *others = parts(5)
    ledger = Ledger(d1=[refused()], d2=[waits()], d3=[again(5)], d4=[RuntimeError()])
    chunk = Chunk([own], ledger.deliver, at_once=AT_ONCE, lane=Queue(others).lane)
    assert ended(chunk) == ChunkEnd(arrived=1)
    assert chunk.taken == 4


def test_what_nobody_expects_is_known_of_the_others_too() -> None:
    own, *others = parts(4)
    unexpected = RuntimeError()
    ledger = Ledger(d1=[refused()], d2=[unexpected], d3=[NotBegun("Away.")])
    chunk = Chunk([own], ledger.deliver, at_once=AT_ONCE, lane=Queue(others).lane)
    chunk.run()
    assert chunk.broken == [(others[1], unexpected)]


@pytest.mark.parametrize("error", [refused(), waits(), again(5), StoreError("No."), RuntimeError(), NotBegun("Away.")])
@pytest.mark.parametrize("is_own", [True, False])
def test_one_that_does_not_arrive_is_counted_once_and_keeps_none_of_the_others(is_own: bool, error: Exception) -> None:
    own, lane = (parts(9), None) if is_own else ([], Queue(parts(9)).lane)
    end = ended(Chunk(own, Ledger(d4=[error]).deliver, at_once=1, lane=lane))
    assert end.arrived == 8
    broken = [problem for _, problem in end.broken]
    others = [*end.failed, *end.waits, *(failed for _, failed in end.comes_back), *end.away, *broken]
    assert others == [error]


def test_what_fails_is_said_by_what_is_to_become_of_it() -> None:
    outcomes = [refused(), waits(), again(7), NotBegun("Away."), StoreError("No.")]
    ledger = Ledger(**{f"d{number}": [error] for number, error in enumerate(outcomes)})
    end = ended(Chunk(parts(5), ledger.deliver, at_once=1, clock=Clock()))
    assert (end.failed, end.waits, end.away, end.broken) == (
        (outcomes[0],),
        (outcomes[1],),
        (outcomes[3],),
        ((parts(5)[4], outcomes[4]),),
    )
    assert end.comes_back == ((7.0, outcomes[2]),)


@pytest.mark.parametrize("is_own", [True, False])
def test_what_is_due_again_is_taken_again_and_its_last_attempt_counts(is_own: bool) -> None:
    (part,) = parts(1)
    queue, ledger = Queue([] if is_own else [part]), Ledger(d0=[again(5), again(5)])

    def deliver(part: Part) -> None:
        try:
            ledger.deliver(part)
        except AttemptFailed:
            queue.put(part)
            raise

    chunk = Chunk([part] if is_own else [], deliver, at_once=2, lane=queue.lane)
    assert ended(chunk) == ChunkEnd(arrived=1)
    assert (ledger.attempts["d0"], chunk.taken) == (3, 0 if is_own else 1)


def test_what_comes_while_others_are_at_work_is_found() -> None:
    first, second = parts(2)
    queue, is_over = Queue([first]), threading.Event()

    def deliver(part: Part) -> None:
        if part == second:
            is_over.set()
            return
        looks, until = queue.looks, time.monotonic() + HANGS_S
        while queue.looks < looks + 2 and time.monotonic() < until:
            time.sleep(0.001)  # another thread has looked, and found nothing
        queue.put(second)
        assert is_over.wait(HANGS_S)

    assert ended(Chunk((), deliver, at_once=2, lane=queue.lane)) == ChunkEnd(arrived=2)


def test_no_process_waits_for_time_to_pass() -> None:
    """What alone is left comes back by Airflow's own retry."""
    ledger = Ledger(d0=[again(5)], d2=[again(3)])
    queue = Queue(parts(3))
    chunk = Chunk((), ledger.deliver, at_once=AT_ONCE, lane=queue.lane, clock=lambda: 0.0)
    end = ended(chunk)
    assert sorted(seconds for seconds, _ in end.comes_back) == [3.0, 5.0]
    assert ledger.attempts.total() == 3
    assert not chunk.time_is_over


def test_a_pause_that_has_run_meanwhile_is_shorter_by_that() -> None:
    clock = Clock()
    ledger = Ledger(d0=[again(5)])

    def deliver(part: Part) -> None:
        clock.now += 2
        ledger.deliver(part)

    ((wait_s, _),) = ended(Chunk(parts(2), deliver, at_once=1, clock=clock)).comes_back
    assert wait_s == 3.0


def test_one_alone_is_tried_once() -> None:
    ledger = Ledger(d0=[again(0.0)])
    end = ended(Chunk(parts(1), ledger.deliver, at_once=AT_ONCE, lane=Queue().lane))
    assert (end.arrived, ledger.attempts["d0"]) == (0, 1)


def test_where_nothing_is_due_nothing_is_sent() -> None:
    chunk = Chunk((), Ledger().deliver, at_once=AT_ONCE, lane=Queue().lane)
    assert ended(chunk) == ChunkEnd()
    assert (chunk.taken, chunk.time_is_over) == (0, False)


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_after_its_time_it_begins_nothing_more(at_once: int) -> None:
    clock = Clock()

    def deliver(part: Part) -> None:
        clock.now += BEGINS_FOR_S

    end = ended(Chunk(parts(20), deliver, at_once=at_once, clock=clock))
    assert 1 <= end.arrived <= at_once
    assert end.arrived + end.not_begun == 20


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_after_its_time_it_takes_nothing_more_and_knows_that_its_lane_is_not_empty(at_once: int) -> None:
    clock, queue = Clock(), Queue(parts(20))

    def deliver(part: Part) -> None:
        clock.now += BEGINS_FOR_S

    chunk = Chunk((), deliver, at_once=at_once, lane=queue.lane, clock=clock)
    end = ended(chunk)
    assert 1 <= end.arrived <= at_once
    assert queue.left == 20 - at_once
    assert (end.not_begun, chunk.time_is_over) == (0, True)


def test_one_that_takes_its_whole_time_leaves_the_lane_to_others() -> None:
    clock, (own, *others) = Clock(), parts(5)
    queue = Queue(others)

    def deliver(part: Part) -> None:
        clock.now += BEGINS_FOR_S

    chunk = Chunk([own], deliver, at_once=AT_ONCE, lane=queue.lane, clock=clock)
    assert ended(chunk) == ChunkEnd(arrived=1)
    assert (queue.left, chunk.taken, chunk.time_is_over) == (4, 0, True)


def test_a_lane_that_is_still_full_when_the_time_is_over_is_not_taken_for_empty() -> None:
    clock, queue = Clock(), Queue(parts(20))

    def deliver(part: Part) -> None:
        clock.now += 10

    chunk = Chunk((), deliver, at_once=1, lane=queue.lane, clock=clock)
    chunk.run()
    assert queue.left
    assert chunk.time_is_over


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_a_process_that_is_to_end_begins_nothing_more(at_once: int, is_own: bool) -> None:
    stop: list[Callable[[], None]] = []
    queue = Queue([] if is_own else parts(20))
    chunk = Chunk(parts(20) if is_own else [], lambda part: stop[0](), at_once=at_once, lane=queue.lane)
    stop.append(chunk.stop)
    end = ended(chunk)
    assert 1 <= end.arrived <= at_once
    assert end.arrived + end.not_begun == (20 if is_own else end.arrived)
    assert queue.left == (0 if is_own else 20 - at_once)
    assert not chunk.time_is_over, "it rings for nobody: it is to end"


def test_one_that_is_told_to_end_at_its_own_takes_no_other() -> None:
    own, *others = parts(4)
    queue = Queue(others)
    chunk = Chunk([own], lambda part: chunk.stop(), at_once=AT_ONCE, lane=queue.lane)
    assert ended(chunk) == ChunkEnd(arrived=1)
    assert queue.left == 3


def test_threads_that_wait_see_that_it_is_to_end() -> None:
    def others() -> list[threading.Thread]:
        mine = threading.current_thread()
        return [one for one in threading.enumerate() if one.name.startswith("leadcast-deliver-") and one is not mine]

    def deliver(part: Part) -> None:
        chunk.stop()
        until = time.monotonic() + HANGS_S
        while others() and time.monotonic() < until:
            time.sleep(0.001)
        assert not others()

    chunk = Chunk((), deliver, at_once=AT_ONCE, lane=Queue(parts(1)).lane)
    assert ended(chunk) == ChunkEnd(arrived=1)


def test_what_a_process_has_died_with_comes_last_and_alone() -> None:
    """One that kills its process takes no other with it again."""
    guard, at_work, seen = threading.Lock(), set[str](), list[tuple[str, int]]()
    together = threading.Barrier(AT_ONCE, timeout=HANGS_S)
    doubtful, others = parts(AT_ONCE + 2)[:2], parts(AT_ONCE + 2)[2:]

    def deliver(part: Part) -> None:
        with guard:
            at_work.add(part.delivery_id)
        if part not in doubtful:
            together.wait()
        with guard:
            seen.append((part.delivery_id, len(at_work)))
        if part not in doubtful:
            together.wait()
        with guard:
            at_work.remove(part.delivery_id)

    queue = Queue(others, doubtful=doubtful)
    assert ended(Chunk((), deliver, at_once=AT_ONCE, lane=queue.lane)).arrived == AT_ONCE + 2
    assert seen[-2:] == [("d0", 1), ("d1", 1)]
    assert {count for _, count in seen[:-2]} == {AT_ONCE}


def test_beside_one_that_is_sent_alone_nothing_is_taken() -> None:
    """What is taken dies with its process, too."""
    doubtful, ordinary = parts(2)
    queue = Queue(doubtful=[doubtful])
    left: list[int] = []

    def deliver(part: Part) -> None:
        if part == doubtful:
            queue.put(ordinary)
            threading.Event().wait(0.2)
            left.append(queue.left)

    assert ended(Chunk((), deliver, at_once=AT_ONCE, lane=queue.lane)) == ChunkEnd(arrived=2)
    assert left == [1]


def test_what_a_process_has_died_with_has_its_turn_in_a_lane_that_is_never_empty() -> None:
    clock, (doubtful, ordinary) = Clock(), parts(2)
    begun: list[str] = []

    def deliver(part: Part) -> None:
        begun.append(part.delivery_id)
        clock.now += 10

    lane = Lane(take=lambda limit: [ordinary] * limit, take_doubtful=lambda: [doubtful])
    chunk = Chunk((), deliver, at_once=1, lane=lane, clock=clock)
    chunk.run()
    assert begun[-1] == "d0"
    assert begun.count("d0") == 1
    assert chunk.time_is_over


def test_what_a_process_has_died_with_long_ago_has_its_turn_before_all_else() -> None:
    """In a lane that is never empty it would have none."""
    begun: list[str] = []
    overdue, ordinary = deque(parts(1)), deque(parts(4)[1:])
    lane = Lane(
        take=lambda limit: [ordinary.popleft() for _ in range(min(limit, len(ordinary)))],
        take_doubtful=list,
        take_overdue=lambda: [overdue.popleft()] if overdue else [],
    )
    Chunk((), lambda part: begun.append(part.delivery_id), at_once=AT_ONCE, lane=lane).run()
    assert begun[0] == parts(1)[0].delivery_id
    assert len(begun) == 4


def test_where_the_store_is_away_nothing_is_found_and_that_is_said() -> None:
    def away(limit: int = 1) -> list[Part]:
        raise StoreError("The store is away.", is_away=True)

    chunk = Chunk((), Ledger().deliver, at_once=AT_ONCE, lane=Lane(take=away, take_doubtful=away))
    end = ended(chunk)
    assert [str(error) for error in end.away] == ["The store is away."]
    assert not chunk.time_is_over, "it could not even ring"


def test_one_that_has_arrived_has_though_the_store_has_gone_since() -> None:
    def away(limit: int = 1) -> list[Part]:
        raise StoreError("The store is away.", is_away=True)

    assert ended(
        Chunk(parts(1), Ledger().deliver, at_once=AT_ONCE, lane=Lane(take=away, take_doubtful=away))
    ) == ChunkEnd(arrived=1)


class TimeoutOfAirflow(BaseException):
    """As Airflow's own, it is no `Exception`."""


@pytest.mark.parametrize("count", [1, 9])
def test_what_breaks_off_the_process_is_passed_on(count: int) -> None:
    with pytest.raises(TimeoutOfAirflow):
        Chunk(parts(count), Ledger(d0=[TimeoutOfAirflow()]).deliver, at_once=AT_ONCE).run()


def test_who_is_broken_off_at_his_own_takes_no_other() -> None:
    own, *others = parts(3)
    queue = Queue(others)
    with pytest.raises(TimeoutOfAirflow):
        Chunk([own], Ledger(d0=[TimeoutOfAirflow()]).deliver, at_once=AT_ONCE, lane=queue.lane).run()
    assert queue.left == 2


def test_what_breaks_off_one_thread_lets_the_others_end_what_they_send() -> None:
    is_sending, has_ended = threading.Event(), threading.Event()

    def deliver(part: Part) -> None:
        if part.delivery_id == "d0":
            assert is_sending.wait(HANGS_S)
            raise SystemExit
        is_sending.set()
        threading.Event().wait(0.1)
        has_ended.set()

    with pytest.raises(SystemExit):
        Chunk(parts(2), deliver, at_once=2).run()
    assert has_ended.is_set()


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("most", [0, 2])
def test_without_threads_it_is_sent_all_the_same(monkeypatch: pytest.MonkeyPatch, most: int, is_own: bool) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def refuses(thread: threading.Thread) -> None:
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuses)
    own, lane = (parts(9), None) if is_own else ([], Queue(parts(9)).lane)
    assert ended(Chunk(own, Ledger().deliver, at_once=AT_ONCE, lane=lane)) == ChunkEnd(arrived=9)
