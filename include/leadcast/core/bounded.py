"""Waits for work that may never end: somebody else's code, a driver without a time-out, a name that is not resolved."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from threading import BoundedSemaphore, Lock, Thread
from time import monotonic
from typing import TypeVar

from leadcast.core.errors import StoreError

T = TypeVar("T")


class NotInTime(Exception):  # noqa: N818 - as the errors of the tree are called
    """The work had not ended."""


def begun(work: Callable[[], T], *, name: str) -> Future[T]:
    """Begins it in another thread, which keeps no process from ending.

    Args:
        name: of the thread.
    """
    outcome: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            outcome.set_result(context.run(work))
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=run, name=name, daemon=True).start()
    return outcome


def within(seconds: float, work: Callable[[], T], *, name: str) -> T:
    """Does it in another thread, and waits so long for it.

    Args:
        name: of the thread.

    Raises:
        NotInTime: it takes longer. The thread is left to its fate; it keeps no process from ending.
        BaseException: what the work raised.
    """
    return _answer_of(begun(work, name=name), seconds)


def _answer_of(outcome: Future[T], seconds: float) -> T:
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():
            raise  # the work's own
        raise NotInTime from None


class Turns:
    """Asks one thing, a store say, that may never answer: so many at once, each for so long. After one that had no
    answer in time nobody asks for a while, and then one at a time until one is answered.

    Args:
        name: of the threads.
        at_once: how many ask. Who has been given up is one of them until his thread ends.
        within_s: how long one waits for his answer.
        in_line_s: how long another one waits for his turn; nobody does while an answer is missing.
        rest_s: how long nobody asks after one that had no answer; 0: the others go on as before.
        clock: in seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        at_once: int,
        within_s: float,
        in_line_s: float = 0.0,
        rest_s: float = 0.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._name, self._within_s, self._in_line_s, self._rest_s = name, within_s, in_line_s, rest_s
        self._turns = BoundedSemaphore(at_once)
        self._clock = clock
        self._lock = Lock()
        self._again_at: float | None = None
        """While an answer is missing: when the next one may ask."""

    def ask(self, work: Callable[[], T]) -> T:
        """What it returns.

        Raises:
            NotInTime: it has not ended in time, or was not begun: its turn has not come, or an answer is missing.
            BaseException: what the work raised.
        """
        if not self._turns.acquire(timeout=self._waits_s()):
            raise NotInTime

        def asked() -> T:
            try:
                answer = work()
            except StoreError:
                raise
            except BaseException:
                self._has_answered()
                raise
            else:
                self._has_answered()
                return answer
            finally:  # when it ends, however long ago it was given up
                self._turns.release()

        try:
            outcome = begun(asked, name=self._name)
        except RuntimeError:  # the machine gives this process no more threads
            self._turns.release()
            raise NotInTime from None
        try:
            return _answer_of(outcome, self._within_s)
        except NotInTime:
            if self._rest_s:
                with self._lock:
                    self._again_at = self._clock() + self._rest_s
            raise

    def _waits_s(self) -> float:
        """How long to wait for a turn. Raises NotInTime where somebody else is to find out whether it answers."""
        with self._lock:
            if self._again_at is None:
                return self._in_line_s
            if (now := self._clock()) < self._again_at:
                raise NotInTime
            self._again_at = now + self._within_s + self._rest_s
            return 0.0

    def _has_answered(self) -> None:
        with self._lock:
            self._again_at = None
