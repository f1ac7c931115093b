"""Writes a lead's status back into the user's own table: the outbox's channel `lead_status`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from leadcast.core.errors import TransientError
from leadcast.core.model import BatchStatus
from leadcast.flow.notify import Story
from leadcast.store.batches import batches
from leadcast.store.database import Store

log = structlog.get_logger("leadcast.notify")

_ROUNDS = 4


class StatusSink(Protocol):
    """The user's own lead table, as far as a status goes into it."""

    def write_status(self, lead_id: str, status: BatchStatus, *, at: datetime) -> bool:
        """Writes it; False: there is no such lead. Raises LeadTableError where the table cannot be used."""


@dataclass(frozen=True)
class LeadStatus:
    """The sender of the channel `lead_status`: writes a lead's status back into the user's own table.

    What it writes is the status that the lead has now, its newest batch's, not the one that the row was queued for. So
    rows may go out late, twice and in any order, and the table ends with what is true: whoever has written looks again,
    since another may have written something newer in between, and it was overwritten.
    """

    store: Store
    sink: StatusSink

    def __call__(self, story: Story, *, timeout_s: float) -> None:
        """Writes it. How long that may take is the sink's own matter.

        Raises:
            TransientError: it has changed each time that it was written. The row stays in the outbox.
        """
        if story.batch is None:
            return
        lead_id = story.batch.lead_id
        written: tuple[BatchStatus, datetime] | None = None
        for _ in range(_ROUNDS):
            newest = self._newest(lead_id)
            if newest is None or newest == written:
                return
            status, since = newest
            if not self.sink.write_status(lead_id, status, at=since):
                log.info("lead table has no such lead", lead_id=lead_id, status=status.value)
                return
            written = newest
        raise TransientError("The lead's status changes faster than it can be written.")

    def _newest(self, lead_id: str) -> tuple[BatchStatus, datetime] | None:
        with self.store.begin() as connection:
            return batches.newest_ended(connection, lead_id=lead_id)
