"""Cancels: what of a batch is not being sent yet is not sent any more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import structlog

from leadcast.core.clock import Clock, utc_now
from leadcast.core.model import ManualAction, ManualKind
from leadcast.core.request_errors import BatchNotFound, NothingToCancel
from leadcast.core.settings import Settings
from leadcast.flow.settle import Settler
from leadcast.flow.told import Moment
from leadcast.store.batches import batches, rounds
from leadcast.store.batches.snapshots import BatchSnapshot
from leadcast.store.database import Store

log = structlog.get_logger("leadcast.cancel")


@dataclass(frozen=True, kw_only=True)
class Canceller:
    """Cancels batches for people: what of one is not being sent yet is not sent any more.

    hooks: the moments for which there may be hooks of the user's. Who cannot know leaves it at all of them.
    """

    store: Store
    settings: Settings
    clock: Clock = utc_now
    hooks: Collection[str] = tuple(Moment)

    def batch(self, batch_id: str, *, who: str = "") -> BatchSnapshot:
        """Cancels what waits. What is just being sent goes to the end of its attempt, which is the last one; what may
        have arrived becomes `unknown`. Done twice, it finds what the first has left, and be it nothing.

        Args:
            who: the user of Airflow, for the log.

        Raises:
            BatchNotFound, NothingToCancel: nothing was changed; it has ended without having been cancelled.
            StoreError: the store could not be used.
        """
        action = ManualAction(what=ManualKind.CANCEL, at=self.clock(), who=who)
        with self.store.begin() as connection:
            batch = batches.find_and_lock(connection, batch_id=batch_id)
            if batch is None:
                raise BatchNotFound(batch_id)
            # a caller who has not seen the answer asks again, and what he wants is done
            if batch.status.is_final and not batch.is_cancelled:
                raise NothingToCancel(batch_id, status=batch.status)
            sending = rounds.cancel(connection, batch_id=batch_id, action=action)
        log.info("batch cancelled", batch_id=batch_id, lead_id=batch.lead_id, still_sending=len(sending), asked_by=who)
        settler = Settler(store=self.store, settings=self.settings, clock=self.clock, hooks=self.hooks)
        return settler.cancelled(batch_id, sending=sending)
