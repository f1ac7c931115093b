"""Threads of our own for what waits for the store.

The api-server has 40 threads for all that is blocking, Airflow's own routes and what tasks ask of it among it. A store
that is slow or locked must not take them: whoever finds all of ours in use is told to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from leadcast.core.errors import NoAnswerYet, StoreError

THREADS = 16
WAITS_S = 2.0
"""How long a caller waits for one: no longer than a statement of the door waits for a lock."""
ANSWERS_WITHIN_S = 15.0
"""How long a caller waits for what is done there. Nothing else bounds it where the store's machine stands still: it
takes a question, and its time-outs stand still, too."""

Answer = TypeVar("Answer")


class Threads:
    """Threads for work that may wait for the store: so many at once, so that Airflow's own API goes on meanwhile.

    Args:
        waits_s: how long a caller waits for one.
        answers_within_s: how long he waits for what is done there.
    """

    def __init__(
        self, size: int = THREADS, *, waits_s: float = WAITS_S, answers_within_s: float = ANSWERS_WITHIN_S
    ) -> None:
        self._size, self._waits_s, self._answers_within_s = size, waits_s, answers_within_s
        self._places: CapacityLimiter | None = None

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """What it returns, done in one of them. It goes to its end even where nobody waits for it any more.

        Raises:
            StoreError: none was free in time. Nothing was begun.
            NoAnswerYet: it has not ended in time, and keeps its thread until it does.
        """
        places, place = self._opened(), object()
        loop = asyncio.get_running_loop()

        def leave() -> None:
            with suppress(RuntimeError):  # it has been let go of
                places.release_on_behalf_of(place)

        is_begun = False

        def done() -> Answer:
            nonlocal is_begun
            is_begun = True
            try:
                return work()
            finally:
                with suppress(RuntimeError):  # the server has ended meanwhile
                    loop.call_soon_threadsafe(leave)

        try:
            with anyio.fail_after(self._waits_s):
                await places.acquire_on_behalf_of(place)
        except TimeoutError:
            raise StoreError(f"All {self._size} threads that wait for the store are in use.") from None
        try:
            with anyio.move_on_after(self._answers_within_s):
                # a limiter for it alone: it has its place
                return await to_thread.run_sync(done, limiter=CapacityLimiter(1), abandon_on_cancel=True)
        finally:
            if not is_begun:
                leave()
        raise NoAnswerYet(f"No answer within {self._answers_within_s:g} s.")

    def _opened(self) -> CapacityLimiter:
        # belongs to the event loop in which it is first used
        if self._places is None:
            self._places = CapacityLimiter(self._size)
        return self._places


def _threads(request: Request) -> Threads:
    threads: Threads = request.app.state.threads
    return threads


ThreadsDep = Annotated[Threads, Depends(_threads)]
