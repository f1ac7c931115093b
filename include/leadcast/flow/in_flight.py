"""What is on its way to its receivers just now: one thing at a time to each, and beside those who are slow, others.

Threads only send. Whoever holds this takes and marks, so that no two of them use one connection.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from leadcast.core.bounded import NotInTime, begun
from leadcast.store.paces import Channel
from leadcast.store.sending import Row

AT_ONCE = 8
"""How many things may be on their way at once, not counting those whose receivers are slow. As many go to one host,
slow or not: one that hangs leaves room for others."""
SLOW_S = 1.0
"""A receiver who takes longer has shown that he does; nobody waits for him any more."""
_AFTER: Mapping[Channel, Channel] = {Channel.HOOK: Channel.LEAD_STATUS}
"""What is begun only when nothing of the other is on its way: a hook finds the lead's status written."""


@dataclass(frozen=True)
class _Flight:
    """One row on its way. Times are `time.monotonic`'s."""

    row: Row
    begun_at: float
    ends_at: float

    def is_slow(self) -> bool:
        return time.monotonic() - self.begun_at >= SLOW_S


@dataclass
class InFlight:
    """The rows of the outbox that are being sent just now, each in a thread, and the places that nothing more goes to.

    most: how many things at once in all, slow ones with them.
    """

    most: int
    _flights: dict[Future[None], _Flight] = field(default_factory=dict)
    _away: set[tuple[Channel, str]] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self._flights)

    def is_away(self, channel: Channel, place: str) -> None:
        """A place, or host, does not answer: nothing more goes there."""
        self._away.add((channel, place))

    def busy(self, channel: Channel) -> set[str]:
        """The places and hosts of a channel to which nothing more may be begun: they are away, something is on its way
        there, or to a host as much as may be; or one row tries whether it is back."""
        rows = [flight.row for flight in self._flights.values() if flight.row.channel is channel]
        full = {host for host, count in Counter(row.host for row in rows).items() if count >= AT_ONCE}
        tried = {row.host for row in rows if row.host_has_failed}
        return full | tried | {row.place for row in rows} | {at for its, at in self._away if its is channel}

    def room(self, channel: Channel) -> int:
        """How many more things of a channel may be begun."""
        brisk = [flight.row.channel for flight in self._flights.values() if not flight.is_slow()]
        if _AFTER.get(channel) in brisk:
            return 0
        return max(0, min(AT_ONCE - len(brisk), self.most - len(self._flights)))

    def begin(self, row: Row, send: Callable[[], None], *, longest_s: float) -> None:
        """Sends a row. After `longest_s` seconds nobody waits for it any more."""
        now = time.monotonic()
        self._flights[begun(send, name=f"send-{row.channel}")] = _Flight(row, now, now + longest_s)

    def ended(self) -> tuple[Row, BaseException | None] | None:
        """Waits until one has ended, and says how it went; no error, it went out. None: somebody has become slow.

        One that has not ended in its time has ended with `NotInTime`.
        """
        wait(self._flights, timeout=max(0.0, self._next_moment() - time.monotonic()), return_when=FIRST_COMPLETED)
        now = time.monotonic()
        for future, flight in self._flights.items():
            if future.done() or flight.ends_at <= now:
                del self._flights[future]
                return flight.row, future.exception() if future.done() else NotInTime()
        return None

    def _next_moment(self) -> float:
        now = time.monotonic()
        turns = (flight.begun_at + SLOW_S for flight in self._flights.values())
        ends = (flight.ends_at for flight in self._flights.values())
        return min([*(at for at in turns if at > now), *ends])
