"""Notifies: takes what is due from the outbox and sends it, each thing once.

An attempt is counted first. Then its row stays locked while it is sent, and is marked in the same transaction: two
processes never send the same row. One that dies in between leaves it pending: it is sent again after the pause of that
attempt, and looks the same (same Message-ID, same webhook-id).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Connection

from leadcast.core.bounded import NotInTime, within
from leadcast.core.circuit import NETWORK_CODES
from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import (
    DeliveryError,
    LeadcastError,
    LeadTableError,
    RateLimited,
    SettingsError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.redact import one_line
from leadcast.store import outbox, views
from leadcast.store.database import Store
from leadcast.store.outbox import PACES, Channel

log = structlog.get_logger("leadcast.notify")

SLOW_S = 5.0
"""A caller who takes longer is served again only after all others had their turn."""
_IN_HAND_S = 1.0
"""What a sender may be late with its own time-out."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """What there is to tell: the batch as it stands now, and the row that asks for it.

    batch: None where a wave could not be run at all, and so no batch is to blame.
    callback_url: where the caller wants to hear of it, opened; empty: nowhere.
    """

    key: str
    occasion: str
    reason: str
    batch: views.BatchView | None
    callback_url: str = ""


class Sender(Protocol):
    """Sends what one channel carries."""

    def __call__(self, story: Story, *, timeout_s: float) -> None:
        """Sends it once. Raises whatever goes wrong; a `DeliveryError` that cannot pass is not tried again.

        Args:
            timeout_s: after which nobody waits for it any more, and it counts as not sent.
        """


@dataclass
class _Flush:
    """How far one flush is. Times are the timer's.

    passed: channel → the id of the last row that was looked at; channels with nothing left are taken out.
    away: callers who do not answer in this flush; slow: those who have had their turn.
    """

    until: float
    each_s: float
    passed: dict[Channel, int] = field(default_factory=lambda: dict.fromkeys(PACES, 0))
    away: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    sent: int = 0

    def is_through(self, channel: Channel) -> None:
        """No row of this channel is left."""
        if channel is Channel.CALLBACK_URL and self.slow:
            self.slow.clear()
            self.passed[channel] = 0
        else:
            del self.passed[channel]

    def is_away(self, channel: Channel, place: str) -> None:
        """One time-out tells enough: what else goes there is left for the next flush."""
        if place:
            self.away.add(place)
        else:
            self.passed.pop(channel, None)


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """Empties the outbox.

    timer: counts seconds for the bounds; unlike a clock it is never put back.
    chance: gives a number from 0 to below 1.
    """

    store: Store
    senders: Mapping[Channel, Sender]
    clock: Clock = utc_now
    timer: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    def flush(self, *, bound_s: float, each_s: float = inf) -> int:
        """Sends what is due, until nothing is or the time is over. What is left waits for the sweep.

        The channels take turns, so that a slow one leaves time to the others.

        Args:
            bound_s: seconds after which no further row is begun.
            each_s: how long one row may take, where its channel would let it take longer.

        Returns:
            How many rows were sent.
        """
        flush = _Flush(until=self.timer() + bound_s, each_s=each_s)
        turn_s = bound_s / len(PACES)
        while flush.passed and self.timer() < flush.until:
            for channel in tuple(flush.passed):
                turn_ends = min(self.timer() + turn_s, flush.until)
                while channel in flush.passed and self.timer() < turn_ends:
                    self._next(channel, flush)
        return flush.sent

    def _next(self, channel: Channel, flush: _Flush) -> None:
        with self.store.begin() as connection:
            found = outbox.take(connection, channel, now=self.clock(), after_id=flush.passed[channel])
            if found is None:
                flush.is_through(channel)
                return
            flush.passed[channel] = found.id
            place = self._place(connection, found)
            if place in flush.away or place in flush.slow:
                return
            row = outbox.begin(connection, found, now=self.clock())
        if row is None:
            log.warning("given up", batch_id=found.batch_id, channel=channel.value, occasion=found.occasion)
            return
        began_at = self.timer()
        with self.store.begin() as connection:
            if not outbox.hold(connection, row):
                return
            error = self._send(connection, row, timeout_s=min(PACES[channel].longest_s, flush.each_s))
            if error is None:
                outbox.sent(connection, row, now=self.clock())
                flush.sent += 1
            else:
                self._put_off(connection, row, error)
        if error is not None and _is_away(error):
            flush.is_away(channel, place)
        elif place and self.timer() - began_at > SLOW_S:
            flush.slow.add(place)

    def _send(self, connection: Connection, row: outbox.Row, *, timeout_s: float) -> Exception | None:
        bound = log.bind(batch_id=row.batch_id, channel=row.channel.value, occasion=row.occasion)
        sender = self.senders[row.channel]
        error: Exception | None = None
        try:
            story = self._story(connection, row)
            within(timeout_s + _IN_HAND_S, lambda: sender(story, timeout_s=timeout_s), name=f"send-{row.channel}")
        except NotInTime:
            error = UnknownOutcome(f"It had not ended after {timeout_s:g} s.", code="timeout")
        except Exception as raised:
            error = raised
        if error is None:
            bound.info("notified", attempt=row.attempts)
        else:
            bound.warning("not notified", error=_words(error), attempt=row.attempts)
        return error

    def _put_off(self, connection: Connection, row: outbox.Row, error: Exception) -> None:
        pace = PACES[row.channel]
        next_at = None
        if row.attempts < pace.max_attempts and _may_pass(row.channel, error):
            asked_s = error.retry_after_s or 0.0 if isinstance(error, TransientError) else 0.0
            pause_s = pace.pause_s(row.attempts, asked_s=asked_s, chance=self.chance())
            next_at = self.clock() + timedelta(seconds=pause_s)
        outbox.not_sent(connection, row, error=_words(error), next_at=next_at)

    def _place(self, connection: Connection, row: outbox.Row) -> str:
        """Which of a channel's receivers it goes to; empty: they are all one."""
        if row.channel is not Channel.CALLBACK_URL or row.batch_id is None:
            return ""
        try:
            return urlsplit(self._callback_url(connection, row.batch_id)).netloc
        except (SettingsError, ValueError):
            return ""  # sending it will say what is wrong

    def _story(self, connection: Connection, row: outbox.Row) -> Story:
        batch = None
        url = ""
        if row.batch_id is not None:
            batch = views.batch(connection, row.batch_id)
            url = self._callback_url(connection, row.batch_id)
        return Story(key=row.key, occasion=row.occasion, reason=row.reason, batch=batch, callback_url=url)

    def _callback_url(self, connection: Connection, batch_id: str) -> str:
        sealed = views.callback_url_sealed(connection, batch_id)
        return self.store.sealer.open(sealed)["url"] if sealed else ""


def _may_pass(channel: Channel, error: Exception) -> bool:
    """Whether to try again. A hook that raised or never ended has run: only if it asks for it (TransientError)."""
    if channel is Channel.HOOK:
        return isinstance(error, TransientError)
    return error.may_pass if isinstance(error, DeliveryError) else True


def _is_away(error: Exception) -> bool:
    """Whether it says something of the receiver, and so of all that goes there, not of this one row."""
    if isinstance(error, LeadTableError):
        return error.is_away
    if isinstance(error, DeliveryError):
        return isinstance(error, RateLimited) or error.code in NETWORK_CODES
    return isinstance(error, OSError)


def _words(error: Exception) -> str:
    """What to keep of an error. A hook's own text may hold anything, so only ours is kept in full."""
    if isinstance(error, LeadcastError):
        return one_line(f"{type(error).__name__}: {error}")
    return type(error).__name__
