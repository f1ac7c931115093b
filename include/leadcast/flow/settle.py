"""Settles: from the ledger to the status of each batch, and into the outbox what is to be told of it.

A function over the ledger and nothing else, so that the settle task, the callbacks of the run and the sweep can all
call it, in any order and as often as they like: the same ledger gives the same status, and each thing is told once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

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
from leadcast.store.batches import batches, claims, ledger, snapshots
from leadcast.store.database import Store, bound_waits
from leadcast.store.erasing import erasures
from leadcast.store.paces import Channel

log = structlog.get_logger("leadcast.settle")


@dataclass(frozen=True, kw_only=True)
class Settled:
    """One batch after settling.

    ended_as_before: it was critical, and told as that, before: its run was cleared, and has not come to its end again.
    """

    batch_id: str
    lead_id: str
    status: BatchStatus
    counters: Counters
    ended_as_before: bool = False


@dataclass(frozen=True, kw_only=True)
class Settler:
    """Gives batches their status, from what the ledger says of their deliveries.

    hooks: the moments for which there may be hooks of the user's. Who cannot know leaves it at all of them.
    """

    store: Store
    settings: Settings
    clock: Clock = utc_now
    hooks: Collection[str] = tuple(Moment)

    def wave(self, run_id: str, ending: Ending) -> list[Settled]:
        """Settles every batch of a wave that has ended so.

        Returns:
            The batches that this wave still has; not those that were requeued.

        Raises:
            Exception: of the first batch that could not be settled; all the others were, unless the store is away.
        """
        with self.store.begin() as connection:
            ids = batches.of_wave(connection, run_id=run_id, since=ending.since)
            not_begun = (
                claims.not_begun(connection, run_id=run_id, now=self.clock())
                if ending.critical and not ending.had_its_chance
                else 0
            )
            if not_begun:  # before the first of them is requeued: whoever settles after us finds none left
                self._tell_of_wave(connection, ending.told_as or run_id, f"{ending.critical}. {_go_back(not_begun)}")
        results: list[Settled | None] = []
        broken: list[Exception] = []
        for batch_id in ids:
            try:
                results.append(self.batch(batch_id, run_id=run_id, ending=ending))
            except Exception as error:
                log.error("batch not settled", batch_id=batch_id, run_id=run_id, error=type(error).__name__)
                broken.append(error)
                self.store.ping()
        silent = ending.had_its_chance or not all(_tells_of_itself(result) for result in results) or not ids
        if ending.critical and silent:
            with self.store.begin() as connection:
                self._tell_of_wave(connection, ending.told_as or run_id, ending.critical)
        if broken:
            raise broken[0]
        return [result for result in results if result is not None]

    def so_far(self, batch_ids: Collection[str], *, waits_s: float | None = None) -> None:
        """Gives batches the status that the ledger says they have, while their waves go on. To write what the ledger
        says is never wrong; to end what is open is for the wave that has it.

        Args:
            waits_s: how long to wait for what others hold; None: as long as usual.
        """
        with self.store.begin() as connection:
            if waits_s is not None:
                bound_waits(connection, waits_s)
            locked = batches.lock_all(connection, batch_ids=batch_ids)
            goes_on = snapshots.at_work(connection, batch_ids=batch_ids)
            for known in locked:
                if known.batch_id not in goes_on or known.status is not BatchStatus.PROCESSING:
                    self._write_status(connection, known, critical="", over=False)

    def batch(self, batch_id: str, *, run_id: str, ending: Ending) -> Settled | None:
        """Settles one batch of a wave that has ended so. None: this wave has it no longer, it was requeued."""
        with self.store.begin() as connection:
            known = batches.lock(connection, batch_id=batch_id)
            if known.wave_id != run_id:
                return None
            found = snapshots.of_batch(connection, batch_id=batch_id)
            opened = [item for item in found if self._is_open(item, over=True)]
            # what a process still sends is its own: what it writes counts, not what we would guess
            held = {item.id for item in opened if _is_held(connection, item)}
            dropped = set(ending.given_up()) if opened else set()
            if ending.had_its_chance:
                blamed = {item.id for item in opened}
            else:
                blamed = set(ending.failed_with()) if opened else set()
            goes_on: set[str] = set()
            if not known.is_cancelled:
                has_claims = known.claims < self.settings.max_claims
                begun = ending.requeue_begun and has_claims
                goes_on = {
                    item.id
                    for item in opened
                    if (has_claims or item.id not in blamed if item.is_not_begun else begun and self._has_tries(item))
                } - dropped
            ended = [item for item in opened if item.id not in held and item.id not in goes_on]
            for item in ended:
                self._close(connection, item, claims=known.claims, is_given_up=item.id in dropped)
            # and it holds the whole batch back, until the sweep comes by again
            if goes_on and not held:
                died = any(item.state is DeliveryState.SENDING for item in opened if item.id in goes_on)
                counts = died or bool(goes_on & blamed)
                claims.requeue(connection, batch_id=batch_id, counts=counts, now=self.clock())
                if ended and ending.critical:
                    batches.set_critical(connection, batch_id=batch_id, reason=ending.critical)
                log.warning("batch given back", batch_id=batch_id, lead_id=known.lead_id, reason=ending.critical)
                return None
            return self._write_status(connection, known, critical=ending.critical if ended else "", over=True)

    def cancelled(self, batch_id: str, *, sending: Collection[str]) -> Settled:
        """Settles a batch that was cancelled.

        Args:
            sending: ids of its deliveries that were marked as being sent; those that nobody sends any more are ended.
        """
        with self.store.begin() as connection:
            known = batches.lock(connection, batch_id=batch_id)
            for item in snapshots.of_batch(connection, batch_id=batch_id):
                if item.id in sending and self._is_open(item, over=True) and not _is_held(connection, item):
                    self._close(connection, item, claims=known.claims)
            return self._write_status(connection, known, critical="", over=False)

    def held(self, run_id: str) -> set[str]:
        """Ids of what is still being sent in a wave, by processes that may live."""
        with self.store.begin() as connection:
            return snapshots.held_of_wave(connection, run_id=run_id)

    def tell_of_run(self, told_as: str, *, reason: str) -> None:
        """Tells people of a run that no batch can tell of, once, however often it is asked for: the first word stands.

        Args:
            told_as: what a letter about the run is known by.
        """
        with self.store.begin() as connection:
            self._tell_of_wave(connection, told_as, reason)

    def _tell_of_wave(self, connection: Connection, told_as: str, critical: str) -> None:
        """Once a run, however often it is settled: the first word stands."""
        for channel in outbox.channels(self.settings, Occasion.CRITICAL):
            key = f"{told_as}:{channel}:{Occasion.CRITICAL}"
            outbox.queue(
                connection,
                outbox.New(key=key, batch_id=None, channel=channel, occasion=Occasion.CRITICAL, reason=critical),
                now=self.clock(),
            )

    def _close(
        self, connection: Connection, item: snapshots.DeliverySnapshot, *, claims: int, is_given_up: bool = False
    ) -> None:
        """Ends what nobody works on any more. Its batch is locked, so nobody begins it meanwhile."""
        state, error = _verdict(item, claims=claims)
        if is_given_up:
            # else the schedule would send it: what its last attempt has failed with may pass
            error = Blocked("Its task was marked as a success: somebody has seen to it.", code=GIVEN_UP)
        ledger.close(connection, delivery_id=item.id, state=state, error=error, now=self.clock())

    def _has_tries(self, item: snapshots.DeliverySnapshot) -> bool:
        if item.waits and item.type not in registry.types():
            return False  # it has waited for as long as it may, and there is nobody to try
        return item.state is DeliveryState.PENDING or item.tries < self.settings.delivering(item.type).tries

    def _is_open(self, item: snapshots.DeliverySnapshot, *, over: bool) -> bool:
        """Whether the run that has the batch has still to end it, or to begin it. One that waits is no run's: a later
        wave carries it on, unless it has waited too long and none has. One that was never begun has not, as long as
        there is somebody to begin it.

        Args:
            over: nothing of the run works any more.
        """
        if item.state.is_final or not item.waits:
            return not item.state.is_final
        now = self.clock()
        is_due = item.next_attempt_at is None or item.next_attempt_at <= now
        if not over:
            return is_due
        since = item.begun_at if item.type in registry.types() else item.round_at
        return is_due and since is not None and now - since > timedelta(seconds=self.settings.give_up_after_s)

    def _write_status(
        self, connection: Connection, known: batches.LockedBatch, *, critical: str, over: bool
    ) -> Settled:
        found = snapshots.of_batch(connection, batch_id=known.batch_id)
        counters = Counters.of(item.state for item in found)
        status = status_of(counters)
        now = self.clock()
        ends_critically = bool(critical)
        is_in_inbox = known.status is BatchStatus.PENDING and known.wave_id is None
        if is_in_inbox and counters.pending:
            status = known.status  # requeued since: no wave has it, and one has yet to claim it
        elif counters.pending and not any(self._is_open(item, over=over) for item in found):
            claims.park(connection, batch_id=known.batch_id)
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
        # settled again with nothing new, it is as critical as it was; so is one that has not ended meanwhile
        if not critical and (status is known.status or not known.status.is_final):
            critical = "" if status is BatchStatus.COMPLETED else known.critical
        if critical != known.critical:
            batches.set_critical(connection, batch_id=known.batch_id, reason=critical)
        is_news = False
        if status.is_final:
            is_news = tell(
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
        return Settled(
            batch_id=known.batch_id,
            lead_id=known.lead_id,
            status=status,
            counters=counters,
            ended_as_before=ends_critically and status.is_final and not is_news,
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


def _tells_of_itself(settled: Settled | None) -> bool:
    """A batch that goes on, is requeued, or ends as it did before, says nothing of the run."""
    return settled is not None and settled.status.is_final and not settled.ended_as_before


def _go_back(not_begun: int) -> str:
    return f"Deliveries that it had not begun: {not_begun}. A later run sends them."


def _verdict(item: snapshots.DeliverySnapshot, *, claims: int) -> tuple[DeliveryState, DeliveryError | None]:
    """What a delivery is, on which nobody works any more and which has not ended."""
    if item.is_not_begun:
        why = f"Not begun in as many runs as may fail with it ({claims}): see their logs."
        return DeliveryState.FAILED, TransientError(why, code="not_begun")
    if item.state is DeliveryState.RETRYING and not item.in_doubt:
        return DeliveryState.FAILED, None
    integration = registry.get_if_sound(item.type)
    if integration is not None and integration.repeatable:
        return DeliveryState.FAILED, UnknownOutcome("The attempt died; sending it again is safe.", code="died")
    return DeliveryState.UNKNOWN, UnknownOutcome("The attempt died; it may have arrived.", code="died")


def all_failed(settled: Sequence[Settled]) -> bool:
    """Whether a wave carried batches and every one of them failed."""
    return bool(settled) and all(item.status is BatchStatus.FAILED for item in settled)
