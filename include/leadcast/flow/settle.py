"""Settles: from the ledger to the status of each batch, and into the outbox what is to be told of it.

A function over the ledger and nothing else, so that the settle task, the callbacks of the run and the sweep can all
call it, in any order and as often as they like: the same ledger gives the same status, and each thing is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from leadcast.core.clock import Clock, utc_now
from leadcast.core.ending import Ending
from leadcast.core.errors import GIVEN_UP, Blocked, DeliveryError, TransientError, UnknownOutcome
from leadcast.core.model import BatchStatus, Counters, DeliveryState, status_of
from leadcast.core.setting_choices import Occasion
from leadcast.core.settings import Settings
from leadcast.flow.told import Moment, tell
from leadcast.integrations import registry
from leadcast.store import lease, outbox
from leadcast.store.batches import batches, lanes, ledger, snapshots
from leadcast.store.batches.snapshots import BatchSnapshot
from leadcast.store.database import Store, bound_waits
from leadcast.store.erasing import erasures
from leadcast.store.paces import Channel

log = structlog.get_logger("leadcast.settle")

AT_ONCE = 200
"""Batches in one transaction."""


@dataclass(frozen=True, kw_only=True)
class Settler:
    """Gives batches their status, from what the ledger says of their deliveries.

    hooks: the moments for which there may be hooks of the user's. Who cannot know leaves it at all of them.
    """

    store: Store
    settings: Settings
    clock: Clock = utc_now
    hooks: Collection[str] = tuple(Moment)

    def wave(self, run_id: str, ending: Ending) -> list[BatchSnapshot]:
        """Settles every batch that was begun in a run which has ended so. What is open in them goes on: it is in its
        lane, and a later run sends it.

        Returns:
            All that were begun in it.

        Raises:
            Exception: of the first batch that could not be settled; all the others were, unless the store is away.
        """
        with self.store.begin() as connection:
            opened = batches.of_wave(connection, run_id=run_id, since=ending.since, is_open=True)
            lanes.give_up(connection, run_id=run_id)
        broken: list[Exception] = []
        broken += self._given_up(run_id, ending)
        broken += self._settled([*opened, *self._untold(run_id, ending)])
        with self.store.begin() as connection:
            ids = batches.of_wave(connection, run_id=run_id, since=ending.since)
            results = snapshots.of_batches(connection, batch_ids=ids)
        left = sum(settled.counters.pending for settled in results)
        if ending.critical:
            self.tell_of_run(ending.told_as or run_id, reason=f"{ending.critical}. {_go_on(left)}")
        if broken:
            raise broken[0]
        return results

    def settle_all(self, batch_ids: Sequence[str]) -> None:
        """As `so_far`, of many, each of which is settled whatever becomes of the others.

        Raises:
            Exception: of the first batch that could not be settled.
        """
        for error in self._settled(batch_ids):
            raise error

    def _settled(self, batch_ids: Sequence[str]) -> list[Exception]:
        broken: list[Exception] = []
        for start in range(0, len(batch_ids), AT_ONCE):
            group = batch_ids[start : start + AT_ONCE]
            try:
                self.so_far(group)
            except Exception:  # one of them: the others have their status all the same
                self.store.ping()
                broken += self._each(group, lambda batch_id: self.so_far([batch_id]))
        return broken

    def _untold(self, run_id: str, ending: Ending) -> list[str]:
        """Batches that a process has given their status which did not know of the hooks that there are."""
        always = [moment for moment in self.hooks if moment != Moment.CATCH]
        with self.store.begin() as connection:
            ids = batches.of_wave(connection, run_id=run_id, since=ending.since, is_open=False)
            return sorted(outbox.lacking(connection, batch_ids=ids, channel=Channel.HOOK, occasions=always))

    def _each(self, batch_ids: Sequence[str], settle: Callable[[str], object]) -> list[Exception]:
        """Settles each by itself. What has gone wrong."""
        broken: list[Exception] = []
        for batch_id in batch_ids:
            try:
                settle(batch_id)
            except Exception as error:
                log.error("batch not settled", batch_id=batch_id, error=type(error).__name__)
                broken.append(error)
                self.store.ping()
        return broken

    def so_far(self, batch_ids: Collection[str], *, waits_s: float | None = None) -> None:
        """Gives batches the status that the ledger says they have. To write what the ledger says is never wrong.

        Args:
            waits_s: how long to wait for what others hold; None: as long as usual.
        """
        with self.store.begin() as connection:
            if waits_s is not None:
                bound_waits(connection, waits_s)
            # what goes on is not locked: those who send it would wait
            ended = set(batch_ids) - snapshots.open_among(connection, batch_ids=batch_ids)
            for known in batches.lock_all(connection, batch_ids=ended) if ended else ():
                self._write_status(connection, known)

    def _given_up(self, run_id: str, ending: Ending) -> list[Exception]:
        """Ends deliveries that are not to go on, whichever run has begun their batches. What has gone wrong."""
        ids = ending.given_up()
        if not ids:
            return []
        with self.store.begin() as connection:
            opened = [item for item in snapshots.these(connection, delivery_ids=ids) if not item.state.is_final]
        their_batches = sorted({item.batch_id for item in opened})
        return self._each(their_batches, lambda batch_id: self._drop(batch_id, ids, run_id=run_id, since=ending.since))

    def _drop(self, batch_id: str, dropped: Collection[str], *, run_id: str, since: datetime | None) -> None:
        with self.store.begin() as connection:
            known = batches.lock(connection, batch_id=batch_id)
            for item in snapshots.of_batch(connection, batch_id=batch_id):
                # a person has wanted it sent since, by another run
                is_wanted = item.asked_at and since and item.asked_at > since and known.wave_id != run_id
                # what a process still sends is its own: what it writes counts, not what we would guess
                is_theirs = is_wanted or _is_held(connection, item)
                if item.id in dropped and not item.state.is_final and not is_theirs:
                    # else the schedule would send it: what its last attempt has failed with may pass
                    seen_to = Blocked("Its task was marked as a success: somebody has seen to it.", code=GIVEN_UP)
                    self.close(connection, item, error=seen_to)
        self.so_far([batch_id])

    def cancelled(self, batch_id: str, *, sending: Collection[str]) -> BatchSnapshot:
        """Settles a batch that was cancelled.

        Args:
            sending: ids of its deliveries that were marked as being sent; those that nobody sends any more are ended.
        """
        with self.store.begin() as connection:
            known = batches.lock(connection, batch_id=batch_id)
            for item in snapshots.of_batch(connection, batch_id=batch_id):
                if item.id in sending and not item.state.is_final and not _is_held(connection, item):
                    self.close(connection, item)
            return self._write_status(connection, known)

    def still_open(self, delivery_ids: Collection[str]) -> set[str]:
        """Those of these deliveries that have not ended."""
        with self.store.begin() as connection:
            found = snapshots.these(connection, delivery_ids=delivery_ids) if delivery_ids else []
            return {item.id for item in found if not item.state.is_final}

    def held(self, delivery_ids: Collection[str]) -> set[str]:
        """Those of these deliveries that are still being sent, by processes that may live."""
        with self.store.begin() as connection:
            return {item.id for item in snapshots.these(connection, delivery_ids=delivery_ids) if item.is_held}

    def tell_of_run(self, told_as: str, *, reason: str) -> None:
        """Tells people of a run that no batch can tell of, once, however often it is asked for: the first word stands.

        Args:
            told_as: what a letter about the run is known by.
        """
        with self.store.begin() as connection:
            for channel in outbox.channels(self.settings, Occasion.CRITICAL):
                key = f"{told_as}:{channel}:{Occasion.CRITICAL}"
                new = outbox.New(key=key, batch_id=None, channel=channel, occasion=Occasion.CRITICAL, reason=reason)
                outbox.queue(connection, new, now=self.clock())

    def close(
        self, connection: Connection, item: snapshots.DeliverySnapshot, *, error: DeliveryError | None = None
    ) -> None:
        """Ends what nobody works on any more. Its batch is locked, so nobody begins it meanwhile."""
        state, found = _verdict(item)
        ledger.close(connection, delivery_id=item.id, state=state, error=error or found, now=self.clock())

    def _write_status(self, connection: Connection, known: batches.LockedBatch) -> BatchSnapshot:
        found = snapshots.of_batch(connection, batch_id=known.batch_id)
        counters = Counters.of(item.state for item in found)
        status = status_of(counters)
        now = self.clock()
        if not status.is_final and not known.status.is_final:
            status = known.status  # nothing of it has begun, or it goes on
        if status is not known.status:
            batches.set_status(connection, batch_id=known.batch_id, status=status, now=now)
            self._queue_lead_status(connection, known.batch_id, status, now=now)
            log.info(
                "batch settled",
                batch_id=known.batch_id,
                lead_id=known.lead_id,
                status=status.value,
                delivered=counters.delivered,
                failed=counters.failed,
                total=counters.total,
            )
        critical = "" if status is BatchStatus.COMPLETED else known.critical
        if critical != known.critical:
            batches.set_critical(connection, batch_id=known.batch_id, reason=critical)
        if status.is_final:
            tell(
                connection,
                known,
                status,
                critical=critical,
                settings=self.settings,
                sealer=self.store.sealer,
                hooks=self.hooks,
                now=now,
            )
            # asked for while it was being sent; and what an attempt has written since goes, too
            if known.is_erased:
                erasures.erase(connection, known.lead_id, [known.batch_id], now=now)
        return BatchSnapshot(
            batch_id=known.batch_id,
            lead_id=known.lead_id,
            status=status,
            counters=counters,
        )

    def _queue_lead_status(self, connection: Connection, batch_id: str, status: BatchStatus, *, now: datetime) -> None:
        """Before the hooks, as the Laravel system's `finally` finds it. At each change anew, the same status after
        another, too: what stands in the user's table by then may be of another batch of this lead."""
        if self.settings.status_column and status.is_final:
            channel = Channel.LEAD_STATUS
            key = f"{batch_id}:{channel}:{now.isoformat()}"
            new = outbox.New(key=key, batch_id=batch_id, channel=channel, occasion=status)
            outbox.queue(connection, new, now=now)


def _is_held(connection: Connection, item: snapshots.DeliverySnapshot) -> bool:
    """Whether a process that may live is sending it. If not, it is dead from here on."""
    if item.is_held:
        return True
    return item.state is DeliveryState.SENDING and not lease.end_if_over(connection, item.worker_id)


def _go_on(left: int) -> str:
    return f"Deliveries that it leaves: {left}. A later run sends them." if left else "A later run sends what is due."


def _verdict(item: snapshots.DeliverySnapshot) -> tuple[DeliveryState, DeliveryError | None]:
    """What a delivery is, on which nobody works any more and which has not ended."""
    if item.losses and item.is_not_begun:
        why = f"Not begun: as many processes have died with it as may ({item.losses}). See the logs of its runs."
        return DeliveryState.FAILED, TransientError(why, code="not_begun")
    if not item.in_doubt:
        return DeliveryState.FAILED, None
    integration = registry.get_if_sound(item.type)
    if integration is not None and integration.repeatable:
        return DeliveryState.FAILED, UnknownOutcome("The attempt died; sending it again is safe.", code="died")
    return DeliveryState.UNKNOWN, UnknownOutcome("The attempt died; it may have arrived.", code="died")


def all_failed(settled: Sequence[BatchSnapshot]) -> bool:
    """Whether a wave carried batches and every one of them failed."""
    return bool(settled) and all(item.status is BatchStatus.FAILED for item in settled)
