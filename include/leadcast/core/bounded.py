"""Waits for work that may never end: somebody else's code, a driver without a time-out, a name that is not resolved."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

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
    outcome = begun(work, name=name)
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():
            raise  # the work's own
        raise NotInTime from None
