"""What several threads ask for at the same time is done at once, and each has his own answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from leadcast.core.errors import StoreError
from leadcast.core.group_commit import GroupCommit

HANGS_S = 30
GATHERS_S = 0.001


class Work:
    """Doubles numbers, and knows nothing of 7. The first group is held up until `go`."""

    def __init__(self, *, refuses: int | None = None) -> None:
        self.groups: list[list[int]] = []
        self.by_themselves: list[int] = []
        self.began, self.go, self.lets_go = threading.Event(), threading.Event(), threading.Event()
        self.refuses = refuses
        self.lets_go.set()

    def together(self, asked: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(asked))
        if not self.began.is_set():
            self.began.set()
            assert self.go.wait(HANGS_S)
        if self.refuses in asked:
            raise StoreError("somebody holds it")
        return [_doubled(number) for number in asked]

    def alone(self, asked: int) -> int | Exception:
        self.by_themselves.append(asked)
        if asked == self.refuses:
            assert self.lets_go.wait(HANGS_S)
        return _doubled(asked)

    def group(self) -> GroupCommit[int, int]:
        return GroupCommit(self.together, self.alone, gathers_s=GATHERS_S)


def _doubled(number: int) -> int | Exception:
    return ValueError("seven") if number == 7 else 2 * number


def asked_while_one_is_at_work(work: Work, numbers: Sequence[int]) -> list[int | BaseException]:
    """What comes of 0, and of all these numbers, which are asked for meanwhile."""
    group = work.group()
    with ThreadPoolExecutor(1 + len(numbers)) as pool:
        first = pool.submit(group.ask, 0)
        assert work.began.wait(HANGS_S)
        others = [pool.submit(group.ask, number) for number in numbers]
        while len(group._waiting) < len(numbers):
            assert not first.done()
        work.go.set()
        return [future.exception(HANGS_S) or future.result() for future in (first, *others)]


def test_who_has_nobody_beside_him_does_it_himself_at_once() -> None:
    work = Work()
    assert GroupCommit(work.together, work.alone, gathers_s=0).ask(4) == 8
    assert (work.groups, work.by_themselves) == ([], [4])


def test_who_comes_meanwhile_is_done_together_next() -> None:
    work = Work()
    assert asked_while_one_is_at_work(work, [1, 2, 3]) == [0, 2, 4, 6]
    assert [len(group) for group in work.groups] == [1, 3]
    assert work.by_themselves == []


def test_each_has_what_is_said_of_him() -> None:
    answers = asked_while_one_is_at_work(Work(), [1, 7, 2])
    assert answers[:2] + answers[3:] == [0, 2, 4]
    assert isinstance(answers[2], ValueError)


def test_what_cannot_be_done_together_each_does_himself() -> None:
    work = Work(refuses=2)
    assert asked_while_one_is_at_work(work, [1, 2, 3]) == [0, 2, 4, 6]
    assert sorted(work.by_themselves) == [1, 2, 3]


def test_one_who_has_to_wait_holds_up_nobody() -> None:
    work = Work(refuses=2)
    work.lets_go.clear()
    work.go.set()
    group = work.group()
    with ThreadPoolExecutor(1) as pool:
        held_up = pool.submit(group.ask, 2)
        for number in (1, 3, 5):
            assert group.ask(number) == 2 * number
        assert not held_up.done()
        work.lets_go.set()
        assert held_up.result(HANGS_S) == 4


def test_what_breaks_off_the_thread_that_does_it_leaves_nobody_waiting() -> None:
    class TimeOut(BaseException):
        pass

    def breaks(asked: Sequence[int]) -> list[int]:
        raise TimeOut

    group: GroupCommit[int, int] = GroupCommit(breaks, lambda asked: asked, gathers_s=GATHERS_S)
    for _ in range(2):
        with pytest.raises(TimeOut):
            group.ask(1)


def test_under_many_threads_each_is_done_once_and_answered() -> None:
    done: list[int] = []

    def together(asked: Sequence[int]) -> list[int]:
        done.extend(asked)
        return [-number for number in asked]

    group: GroupCommit[int, int] = GroupCommit(together, lambda asked: asked, gathers_s=GATHERS_S)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(group.ask, range(2000))) == [-number for number in range(2000)]
    assert sorted(done) == list(range(2000))
