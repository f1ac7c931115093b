"""What several threads ask for at the same time is done at once, and each has his own answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from leadcast.core.errors import StoreError
from leadcast.core.group_commit import GroupCommit

HANGS_S = 30


class Work:
    """Doubles numbers. The first group is held up until `go`."""

    def __init__(self, *, refuses: int | None = None, error: Exception | None = None) -> None:
        self.groups: list[list[int]] = []
        self.began, self.go = threading.Event(), threading.Event()
        self._refuses, self._error = refuses, error

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(asked))
        if not self.began.is_set():
            self.began.set()
            assert self.go.wait(HANGS_S)
        if self._error is not None and self._refuses in asked:
            raise self._error
        return [ValueError("seven") if number == 7 else 2 * number for number in asked]


def asked_while_one_is_at_work(work: Work, numbers: Sequence[int]) -> list[int | BaseException]:
    """What comes of 0, and of all these numbers, which are asked for meanwhile."""
    group: GroupCommit[int, int] = GroupCommit(work)
    with ThreadPoolExecutor(1 + len(numbers)) as pool:
        first = pool.submit(group.ask, 0)
        assert work.began.wait(HANGS_S)
        others = [pool.submit(group.ask, number) for number in numbers]
        while len(group._waiting) < len(numbers):
            assert not first.done()
        work.go.set()
        return [future.exception(HANGS_S) or future.result() for future in (first, *others)]


def test_one_alone_is_done_at_once() -> None:
    work = Work()
    work.go.set()
    assert GroupCommit(work).ask(4) == 8
    assert work.groups == [[4]]


def test_who_comes_meanwhile_is_done_together_next() -> None:
    work = Work()
    assert asked_while_one_is_at_work(work, [1, 2, 3]) == [0, 2, 4, 6]
    assert [len(group) for group in work.groups] == [1, 3]


def test_each_has_what_is_said_of_him() -> None:
    answers = asked_while_one_is_at_work(Work(), [1, 7, 2])
    assert answers[:2] + answers[3:] == [0, 2, 4]
    assert isinstance(answers[2], ValueError)


@pytest.mark.parametrize("error", [StoreError("cannot be written"), KeyError("a fault of ours")])
def test_one_that_cannot_be_done_keeps_none_of_the_others(error: Exception) -> None:
    work = Work(refuses=2, error=error)
    assert asked_while_one_is_at_work(work, [1, 2, 3]) == [0, 2, error, 6]
    assert [len(group) for group in work.groups] == [1, 3, 1, 1, 1]


def test_a_store_that_is_away_is_not_asked_again_for_each() -> None:
    away = StoreError("away", is_away=True)
    work = Work(refuses=2, error=away)
    assert asked_while_one_is_at_work(work, [1, 2, 3]) == [0, away, away, away]
    assert len(work.groups) == 2


def test_what_breaks_off_the_thread_that_does_it_leaves_nobody_waiting() -> None:
    class TimeOut(BaseException):
        pass

    def breaks(asked: Sequence[int]) -> list[int]:
        raise TimeOut

    group: GroupCommit[int, int] = GroupCommit(breaks)
    for _ in range(2):
        with pytest.raises(TimeOut):
            group.ask(1)


def test_under_many_threads_each_is_done_once_and_answered() -> None:
    done: list[int] = []
    group: GroupCommit[int, int] = GroupCommit(lambda asked: [done.append(number) or -number for number in asked])  # type: ignore[func-returns-value]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(group.ask, range(2000))) == [-number for number in range(2000)]
    assert sorted(done) == list(range(2000))
