"""Notifies: takes what is due from the outbox and sends it, each thing once.

A row is taken in a transaction of its own, for longer than sending it can take; it is sent outside of any, and marked
in another: two processes never send the same row at once. One that dies in between leaves it pending: it is sent again
when that time is over, and looks the same (same Message-ID, same webhook-id, same words).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Protocol

import structlog
from sqlalchemy import Connection

from leadcast.core.bounded import NotInTime
from leadcast.core.circuit import NETWORK_CODES, NOT_REACHED_CODES
from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import (
    DeliveryError,
    LeadcastError,
    LeadTableError,
    RateLimited,
    StoreError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.redact import one_line
from leadcast.flow.in_flight import InFlight
from leadcast.integrations.text.own_words import ours_of
from leadcast.store import events, receivers, sending
from leadcast.store.batches import views
from leadcast.store.database import Store
from leadcast.store.paces import IN_HAND_S, PACES, Channel
from leadcast.store.persistent import persistent
from leadcast.store.sealing import callback_url_of
from leadcast.store.sending import Row

log = structlog.get_logger("leadcast.notify")


@dataclass(frozen=True, kw_only=True)
class Story:
    """What a row of the outbox tells, opened, for whatever sends it.

    batch: as it was when it happened; None where a wave could not be run at all, and so no batch is to blame.
    at: when it happened; None: what is told is how the batch stands now.
    sequence: the how-manieth event of its batch that is told; 0: none, it tells of now.
    callback_url: where the caller wants to hear of it, opened; empty: nowhere.
    """

    key: str
    occasion: str
    reason: str
    batch: views.BatchView | None
    at: datetime | None = None
    sequence: int = 0
    callback_url: str = ""


class Sender(Protocol):
    """Sends what one channel carries."""

    def __call__(self, story: Story, *, timeout_s: float) -> None:
        """Sends it once. Raises whatever goes wrong; a `DeliveryError` that cannot pass is not tried again.

        Args:
            timeout_s: after which nobody waits for it any more, and it counts as not sent.
        """


Ended = tuple[Row, Exception | None]
"""A row that was on its way, and what went wrong; None: it went out."""


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """Sends the rows of the outbox that are due, several at a time, and puts off those that could not go out.

    timer: counts seconds for the bounds; unlike a clock it is never put back.
    chance: gives a number from 0 to below 1.
    most: how many things may be on their way at once, each to another receiver.
    """

    store: Store
    senders: Mapping[Channel, Sender]
    clock: Clock = utc_now
    timer: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    most: int = 32

    def flush(self, *, bound_s: float, each_s: float = inf) -> int:
        """Sends what is due, until nothing is or the time is over. What is left waits for the sweep.

        Nobody waits for a receiver who is slow, or does not answer.

        Args:
            bound_s: seconds after which no further row is begun.
            each_s: how long one row may take, where its channel would let it take longer.

        Returns:
            How many rows were sent.

        Raises:
            StoreError: the store could not be used. What was on its way by then has ended.
        """
        until, in_flight, sent = self.timer() + bound_s, InFlight(most=self.most), 0
        unmarked: list[Ended] = []
        left = {channel for channel in PACES if channel in self.senders}
        try:
            while True:
                for channel in PACES:
                    # a receiver gets one row at a time: behind what waits for it there may be some for others
                    while channel in left and in_flight.room(channel) and self.timer() < until:
                        if self._is_empty(channel, in_flight, each_s):
                            left.discard(channel)
                if not in_flight:
                    return sent
                if (ended := in_flight.ended()) is not None:
                    unmarked = [self._seen(*ended, in_flight)]
                    self._mark(unmarked)
                    row, error = unmarked.pop()
                    sent += error is None
                    left.add(row.channel)
        except StoreError:
            # it goes out a second time only where the store is away for longer than that takes
            while in_flight:
                if (ended := in_flight.ended()) is not None:
                    unmarked.append(self._seen(*ended, in_flight))
            with suppress(StoreError):
                self._mark(unmarked)
            raise

    def _is_empty(self, channel: Channel, in_flight: InFlight, each_s: float) -> bool:
        """Begins what is due in a channel, as far as there is room. Whether there was nothing."""
        try_s = PACES[channel].try_s(each_s)
        with self.store.begin() as connection:
            room, busy = in_flight.room(channel), in_flight.busy(channel)
            taken = sending.take(connection, channel, now=self.clock(), busy=busy, limit=room, try_s=try_s)
            tellings = [(row, self._telling(connection, row, try_s=try_s)) for row in taken.rows]
        for row in taken.given_up:
            log.warning("given up", batch_id=row.batch_id, channel=channel.value, occasion=row.occasion)
        for row, telling in tellings:
            in_flight.begin(row, telling, longest_s=try_s + IN_HAND_S)
        return not taken

    def _telling(self, connection: Connection, row: Row, *, try_s: float) -> Callable[[], None]:
        """What sends a row, all that it needs of the store in hand."""
        event = now = sealed = None
        for_ = callback_url_of(row.batch_id or "")
        if row.batch_id is not None:
            event = events.find(connection, row.batch_id, row.sequence) if row.sequence else None
            # of no event: what is told is how it stands now
            now = views.batch(connection, row.batch_id, history=False) if event is None else None
            sealed = views.callback_url_sealed(connection, row.batch_id)

        def tell() -> None:
            story = Story(
                key=row.key,
                occasion=row.occasion,
                reason=row.reason,
                batch=event.batch if event else now,
                at=event.at if event else None,
                sequence=event.sequence if event else 0,
                callback_url=self.store.sealer.open(sealed, for_=for_)["url"] if sealed else "",
            )
            self.senders[row.channel](story, timeout_s=try_s)

        return tell

    def _seen(self, row: Row, error: BaseException | None, in_flight: InFlight) -> Ended:
        """How a row has ended that was on its way."""
        if isinstance(error, NotInTime):
            error = UnknownOutcome(f"It had not ended after {PACES[row.channel].longest_s:g} s.", code="timeout")
        if error is not None and not isinstance(error, Exception):
            raise error
        bound = log.bind(batch_id=row.batch_id, channel=row.channel.value, occasion=row.occasion)
        if error is None:
            bound.info("notified", attempt=row.attempts)
        else:
            bound.warning(
                "not notified",
                error=_words(error, of_callers=row.channel is Channel.CALLBACK_URL),
                attempt=row.attempts,
            )
        away = _away(row, error)
        if away is not None:
            in_flight.is_away(row.channel, away)
        return row, error

    @persistent
    def _mark(self, all_ended: Sequence[Ended]) -> None:
        """Writes down how they have ended."""
        with self.store.begin() as connection:
            for row, error in all_ended:
                self._mark_one(connection, row, error)

    def _mark_one(self, connection: Connection, row: Row, error: Exception | None) -> None:
        if error is None:
            sending.sent(connection, row, now=self.clock())
        else:
            next_at = self._next_at(row, error)
            sending.not_sent(connection, row, error=_words(error), next_at=next_at, now=self.clock())
        away = _away(row, error)
        # a hook is code of the user's: that one call of it has failed says nothing of the next
        if away is not None and row.channel is not Channel.HOOK:
            receivers.leave_alone(connection, row.channel, away, now=self.clock(), asked_s=_asked_s(error))
        elif away is None and (row.has_failed or row.host_has_failed):
            receivers.is_back(connection, row.channel, row.host, row.place)

    def _next_at(self, row: Row, error: Exception) -> datetime | None:
        """When a row is tried again that could not go out; None: never."""
        pace = PACES[row.channel]
        if row.attempts >= pace.max_attempts or not _may_pass(row.channel, error):
            return None
        pause_s = pace.pause_s(row.attempts, asked_s=_asked_s(error), chance=self.chance())
        return self.clock() + timedelta(seconds=pause_s)


def _may_pass(channel: Channel, error: Exception) -> bool:
    """Whether to try again. A hook that raised or never ended has run: only if it asks for it (TransientError)."""
    if channel is Channel.HOOK:
        return isinstance(error, TransientError)
    return error.may_pass if isinstance(error, DeliveryError) else True


def _asked_s(error: BaseException | None) -> float:
    """How long the receiver asks to be left alone."""
    return error.retry_after_s or 0.0 if isinstance(error, TransientError) else 0.0


def _away(row: Row, error: Exception | None) -> str | None:
    """The place, or host, of which it says that nothing gets there now, not this row nor others; None: of none."""
    if isinstance(error, DeliveryError) and error.code in NOT_REACHED_CODES:
        return row.host
    return row.place if error is not None and _is_away(error) else None


def _is_away(error: Exception) -> bool:
    if isinstance(error, LeadTableError):
        return error.is_away
    if isinstance(error, DeliveryError):
        return isinstance(error, RateLimited) or error.code in NETWORK_CODES
    return isinstance(error, OSError)


def _words(error: Exception, *, of_callers: bool = False) -> str:
    """What to keep of an error, or to log. A hook's own text may hold anything, so only ours is kept in full.

    Args:
        of_callers: without where it leads, which is the caller's to know.
    """
    if isinstance(error, LeadcastError):
        return one_line(f"{type(error).__name__}: {ours_of(str(error)) if of_callers else error}")
    return type(error).__name__
