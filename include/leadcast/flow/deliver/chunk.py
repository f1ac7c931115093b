"""Delivers many in one process: several at once, each as `Deliverer` does it, all under one lease.

A task of Airflow's costs a process. One that sends a chunk of twenty leads costs no more than one that sends one, and
each of the twenty still has its own attempts, limits, circuit and outcome: nobody waits for another's trouble but for a
thread. What may pass soon is tried again while others are at work; what then is left over comes back by Airflow's own
retry, so that no process waits for time to pass.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Condition

from leadcast.core.bounded import begun
from leadcast.core.errors import AttemptFailed, NotBegun

BEGINS_FOR_S = 60.0
"""For so long a chunk begins what it has: others wait for its slot."""
_SHORTEST_PAUSE_S = 1.0
_LAST_WORDS_S = 5.0
_LOOKS_EVERY_S = 0.5
"""How soon a thread that waits sees that the process is to end. A signal's handler can wake nobody."""


@dataclass(frozen=True, order=True)
class Part:
    """One delivery of a chunk."""

    delivery_id: str
    batch_id: str


@dataclass(frozen=True)
class ChunkEnd:
    """How the deliveries of a chunk stand when its process is through with it.

    arrived: how many are delivered, or cancelled: there is nothing left to do.
    failed: those that have ended without.
    waits: those that a later run carries on.
    comes_back: those that this run is to try again, and in how many seconds.
    not_begun: those that nobody has looked at: the time was over, or the process is to end.
    away: those that nobody could look at, since the store was away.
    broken: what else was raised.
    """

    arrived: int = 0
    failed: Sequence[AttemptFailed] = ()
    waits: Sequence[AttemptFailed] = ()
    comes_back: Sequence[tuple[float, AttemptFailed]] = ()
    not_begun: int = 0
    away: Sequence[NotBegun] = ()
    broken: Sequence[Exception] = ()


class Chunk:
    """The deliveries that one process sends.

    Args:
        parts: in the order in which they are begun.
        deliver: makes one attempt of one, as `Deliverer.deliver` does.
        at_once: how many threads do so.
        doubtful: those that a process has died with. They come last, and each alone: one that kills its process takes
            no other with it, again and again, until none of them has a try left.
        clock: in seconds.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        deliver: Callable[[Part], object],
        *,
        at_once: int,
        doubtful: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deliver, self._clock = deliver, clock
        self._threads = min(at_once, len(parts))
        self._parts = sorted(parts, key=lambda part: part.delivery_id in doubtful)
        self._due = [(0.0, place, part) for place, part in enumerate(self._parts)]
        self._doubtful = doubtful
        self._is_alone = False
        self._outcomes: dict[Part, Exception | None] = {}
        self._at_work = 0
        self._changed = Condition()
        self._stops = False
        self._ends_at = clock() + BEGINS_FOR_S

    def stop(self) -> None:
        """Begins nothing more. Locks nothing, so that the handler of a signal may call it."""
        self._stops = True

    def run(self) -> ChunkEnd:
        """Sends what it has, for as long as it may.

        Raises:
            BaseException: what has broken off a delivery that was sent in this thread.
        """
        if self._threads == 1:
            self._send_all()
            return self._end()
        helpers = self._helpers()
        try:
            wait(helpers)
        except BaseException:  # Airflow's time-out, say: what a thread has sent, it may still write
            self.stop()
            wait(helpers, timeout=_LAST_WORDS_S)
            raise
        for helper in helpers:
            helper.result()
        return self._end()

    def _helpers(self) -> list[Future[None]]:
        helpers: list[Future[None]] = []
        try:
            while len(helpers) < self._threads:
                helpers.append(begun(self._send_all, name=f"leadcast-deliver-{len(helpers)}"))
        except RuntimeError:  # the machine has no more threads: those that there are, or this one, do it all
            if not helpers:
                self._send_all()
        return helpers

    def _send_all(self) -> None:
        while (part := self._next()) is not None:
            outcome: Exception | None = None
            try:
                self._deliver(part)
            except Exception as error:
                outcome = error
            finally:  # whatever ends this thread, the others do not wait for it
                self._note(part, outcome)

    def _next(self) -> Part | None:
        """The part whose turn it is, as soon as it is due. None: there is nothing more to begin here."""
        with self._changed:
            while not self._stops and self._clock() < self._ends_at:
                wait_s = self._due[0][0] - self._clock() if self._due else _LOOKS_EVERY_S
                if wait_s <= 0 and self._may_begin(self._due[0][2]):
                    return self._begun(heapq.heappop(self._due)[2])
                if not self._at_work:
                    break
                self._changed.wait(_LOOKS_EVERY_S if wait_s <= 0 else min(wait_s, _LOOKS_EVERY_S))
        return None

    def _may_begin(self, part: Part) -> bool:
        return not self._is_alone and (part.delivery_id not in self._doubtful or not self._at_work)

    def _begun(self, part: Part) -> Part:
        self._at_work += 1
        self._is_alone = part.delivery_id in self._doubtful
        return part

    def _note(self, part: Part, outcome: Exception | None) -> None:
        with self._changed:
            self._at_work -= 1
            self._is_alone = False
            self._outcomes[part] = outcome
            if isinstance(outcome, AttemptFailed) and outcome.retry_in_s is not None and not outcome.waits:
                due_at = self._clock() + max(outcome.retry_in_s, _SHORTEST_PAUSE_S)
                heapq.heappush(self._due, (due_at, self._parts.index(part), part))
            self._changed.notify_all()

    def _end(self) -> ChunkEnd:
        now, outcomes = self._clock(), self._outcomes
        again = {part: max(due_at - now, 0.0) for due_at, _, part in self._due if part in outcomes}
        failures = {part: error for part, error in outcomes.items() if isinstance(error, AttemptFailed)}
        others = [error for error in outcomes.values() if error is not None and not isinstance(error, AttemptFailed)]
        return ChunkEnd(
            arrived=sum(error is None for error in outcomes.values()),
            failed=tuple(error for error in failures.values() if error.retry_in_s is None and not error.waits),
            waits=tuple(error for error in failures.values() if error.waits),
            comes_back=tuple((again[part], failures[part]) for part in again),
            not_begun=len(self._parts) - len(outcomes),
            away=tuple(error for error in others if isinstance(error, NotBegun)),
            broken=tuple(error for error in others if not isinstance(error, NotBegun)),
        )
