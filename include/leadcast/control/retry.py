"""Retries: what has ended without success is requeued, for a person or on schedule.

The delivered is never sent again. What may have arrived stays in doubt, and the service is asked before it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from leadcast.core.clock import Clock, utc_now
from leadcast.core.model import ManualAction, ManualKind
from leadcast.core.request_errors import BatchBusy, BatchErased, BatchNotFound, NothingToRetry
from leadcast.core.settings import Settings
from leadcast.flow.plan import ring_for_rest
from leadcast.integrations import registry
from leadcast.store.batches import batches, bell, rounds
from leadcast.store.database import Store

log = structlog.get_logger("leadcast.retry")

AT_ONCE = 200
"""Batches looked up in one query."""


@dataclass(frozen=True, kw_only=True)
class Requeued:
    """How much was requeued.

    run_id: the wave that will carry it, as far as it is known by now.
    must_ring: the caller must create that run now. If it cannot, the next arrival or the sweep does.
    """

    batches: int
    deliveries: int
    run_id: str | None = None
    must_ring: bool = False


@dataclass(frozen=True, kw_only=True)
class Retrier:
    """Has sent again what has ended without success."""

    store: Store
    settings: Settings
    clock: Clock = utc_now

    def batch(self, batch_id: str, *, who: str = "") -> Requeued:
        """For a person: the failed and unknown deliveries of one batch, whatever their error was.

        Args:
            who: the user of Airflow, for the log.

        Raises:
            BatchNotFound, BatchBusy, BatchErased, NothingToRetry: nothing was changed.
            StoreError: the store could not be used.
        """
        now = self.clock()
        with self.store.begin() as connection:
            batch = batches.find_and_lock(connection, batch_id=batch_id)
            if batch is None:
                raise BatchNotFound(batch_id)
            if batch.is_erased:
                raise BatchErased(batch_id)
            count = _requeue(connection, batch, action=ManualAction(what=ManualKind.RETRY, at=now, who=who))
            if not count and not batch.status.is_final:
                raise BatchBusy(batch_id, status=batch.status)
            if not count:
                raise NothingToRetry(batch_id, status=batch.status)
            timeout = timedelta(seconds=self.settings.bell_timeout_s)
            rung = bell.ring_if_needed(connection, now=now, timeout=timeout)
        log.info("batch put back", batch_id=batch_id, lead_id=batch.lead_id, deliveries=count, asked=True, asked_by=who)
        return Requeued(batches=1, deliveries=count, run_id=rung.run_id, must_ring=rung.must_ring)

    def window(self, *, since: datetime, until: datetime, action: ManualAction | None = None) -> Requeued:
        """On schedule: what may pass by now, of the batches accepted from `since` to before `until`, each up to
        `retry_rounds` times. Done twice, or beside a wave, it finds nothing more to do.

        Args:
            action: a person has chosen this window, and wants its leads sent however old they are.

        Raises:
            StoreError: the store could not be used; what was requeued by then will be sent.
        """
        requeued: list[int] = []
        after = ""
        while ids := self._retriable(since, until, after):
            requeued += filter(None, (self._of_window(batch_id, action=action) for batch_id in ids))
            after = ids[-1]
        run_id = ring_for_rest(self.store, self.settings, clock=self.clock) if requeued else None
        return Requeued(batches=len(requeued), deliveries=sum(requeued), run_id=run_id, must_ring=run_id is not None)

    def _retriable(self, since: datetime, until: datetime, after: str) -> Sequence[str]:
        with self.store.begin() as connection:
            return rounds.retriable(
                connection,
                since=since,
                until=until,
                max_rounds=self.settings.retry_rounds,
                after=after,
                limit=AT_ONCE,
            )

    def _of_window(self, batch_id: str, *, action: ManualAction | None) -> int:
        """How many deliveries of this batch were requeued."""
        with self.store.begin() as connection:
            batch = batches.find_and_lock(connection, batch_id=batch_id)
            # since it was looked up, a person, a wave or a second run of this may have come before us
            if batch is None or batch.is_erased or batch.is_cancelled:
                return 0
            if batch.rounds >= self.settings.retry_rounds:
                return 0
            count = _requeue(connection, batch, action=action)
        if count:
            log.info("batch put back", batch_id=batch_id, lead_id=batch.lead_id, deliveries=count, asked=False)
        return count


def _requeue(connection: Connection, batch: batches.LockedBatch, *, action: ManualAction | None) -> int:
    return rounds.requeue(
        connection,
        batch,
        can_find=_can_find,
        needs_decision=_needs_decision,
        action=action,
    )


def _can_find(integration_type: str) -> bool:
    integration = registry.get_if_sound(integration_type)
    return integration is not None and integration.can_find


def _needs_decision(integration_type: str) -> bool:
    integration = registry.get_if_sound(integration_type)
    return integration is not None and integration.needs_decision
