"""Notifies: takes what is due from the outbox and sends it, each thing once.

A row stays locked while it is sent and is marked in the same transaction, so two processes never send the same row. One
that dies in between leaves it pending: it is sent again, and looks the same (same Message-ID, same webhook-id).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import DeliveryError
from leadcast.core.redact import one_line
from leadcast.store import outbox, views
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
        while self.clock() < until:
            with self.store.begin() as connection:
                row = outbox.take(connection, now=self.clock(), after_id=last_id)
                if row is None:
                    return sent
                last_id = row.id
                error = self._send(row)
                if error is None:
                    outbox.sent(connection, row, now=self.clock())
                    sent += 1
                else:
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
    if isinstance(error, DeliveryError):
        return one_line(f"{type(error).__name__}: {error.message}")
    return type(error).__name__
