"""Notifies: takes what is due from the outbox and sends it, each thing once.

A row stays locked while it is sent and is marked in the same transaction, so two processes never send the same row. One
that dies in between leaves it pending: it is sent again, and looks the same (same Message-ID, same webhook-id).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import DeliveryError, LeadcastError, LeadTableError, TransientError
from leadcast.core.model import BatchStatus
from leadcast.core.redact import one_line
from leadcast.store import batches, outbox, views
from leadcast.store.database import Store
from leadcast.store.outbox import Channel

log = structlog.get_logger("leadcast.notify")


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

    def __call__(self, story: Story) -> None:
        """Sends it once. Raises whatever goes wrong; a `DeliveryError` that cannot pass is not tried again."""


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """Empties the outbox."""

    store: Store
    senders: Mapping[Channel, Sender]
    clock: Clock = utc_now

    def flush(self, *, bound_s: float) -> int:
        """Sends what is due, until nothing is or the time is over. What is left waits for the sweep.

        Args:
            bound_s: seconds after which no further row is begun.

        Returns:
            How many rows were sent.
        """
        until = self.clock() + timedelta(seconds=bound_s)
        sent = 0
        last_id = 0
        away: set[Channel] = set()
        while self.clock() < until:
            with self.store.begin() as connection:
                row = outbox.take(connection, now=self.clock(), after_id=last_id, without=away)
                if row is None:
                    return sent
                last_id = row.id
                error = self._send(row)
                if error is None:
                    outbox.sent(connection, row, now=self.clock())
                    sent += 1
                else:
                    # all of its rows go to one place: one time-out tells enough
                    if isinstance(error, LeadTableError) and error.is_away:
                        away.add(row.channel)
                    for_good = not _may_pass(row.channel, error)
                    outbox.not_sent(connection, row, error=_words(error), now=self.clock(), for_good=for_good)
        return sent

    def _send(self, row: outbox.Row) -> Exception | None:
        bound = log.bind(batch_id=row.batch_id, channel=row.channel.value, occasion=row.occasion)
        try:
            self.senders[row.channel](self._story(row))
        except Exception as error:
            bound.warning("not notified", error=_words(error), attempt=row.attempts + 1)
            return error
        bound.info("notified", attempt=row.attempts + 1)
        return None

    def _story(self, row: outbox.Row) -> Story:
        batch = None
        url = ""
        if row.batch_id is not None:
            with self.store.begin() as connection:
                batch = views.batch(connection, row.batch_id)
                sealed = views.callback_url_sealed(connection, row.batch_id)
            url = self.store.sealer.open(sealed)["url"] if sealed else ""
        return Story(key=row.key, occasion=row.occasion, reason=row.reason, batch=batch, callback_url=url)


def _may_pass(channel: Channel, error: Exception) -> bool:
    """Whether to try again. A hook that raised has run: it is called again only if it asks for it (TransientError)."""
    if isinstance(error, DeliveryError):
        return error.may_pass
    return channel is not Channel.HOOK


def _words(error: Exception) -> str:
    """What to keep of an error. A hook's own text may hold anything, so only ours is kept in full."""
    if isinstance(error, LeadcastError):
        return one_line(f"{type(error).__name__}: {error}")
    return type(error).__name__


class StatusSink(Protocol):
    """The user's own lead table, as far as a status goes into it."""

    def write_status(self, lead_id: str, status: BatchStatus, *, at: datetime) -> bool:
        """Writes it; False: there is no such lead. Raises LeadTableError where the table cannot be used."""


@dataclass(frozen=True)
class LeadStatus:
    """The sender of the channel `lead_status`: writes a lead's status back into the user's own table.

    What it writes is the status that the lead has now, its newest batch's, not the one that the row was queued for. So
    rows may go out late, twice and in any order, and the table ends with what is true.
    """

    store: Store
    sink: StatusSink

    def __call__(self, story: Story) -> None:
        """Writes it once."""
        if story.batch is None:
            return
        lead_id = story.batch.lead_id
        # between reading the status and writing it nobody else may write a newer one
        with self.store.lock(f"lead-status:{lead_id}") as is_ours:
            if not is_ours:
                raise TransientError("Another process is writing this lead's status.")
            with self.store.begin() as connection:
                newest = batches.newest_ended(connection, lead_id=lead_id)
            if newest is None:
                return
            status, since = newest
            if not self.sink.write_status(lead_id, status, at=since):
                log.info("lead table has no such lead", lead_id=lead_id, status=status.value)
