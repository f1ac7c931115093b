"""Settles: from the ledger to the status of each batch, and into the outbox what is to be told of it.

A function over the ledger and nothing else, so that the settle task, the callbacks of the run and the sweep can all
call it, in any order and as often as they like: the same ledger gives the same status, and each thing is told once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import DeliveryError, TransientError, UnknownOutcome
from leadcast.core.model import BatchStatus, Counters, DeliveryState, status_of
from leadcast.core.settings import Occasion, Settings
from leadcast.integrations import registry
from leadcast.store import batches, ledger, outbox
from leadcast.store.database import Store

log = structlog.get_logger("leadcast.settle")


@dataclass(frozen=True, kw_only=True)
class Settled:
    """One batch after settling."""

    batch_id: str
    lead_id: str
    status: BatchStatus
    counters: Counters


@dataclass(frozen=True, kw_only=True)
class Settler:
    """Settles batches."""

    store: Store
    settings: Settings
    clock: Clock = utc_now

    def wave(self, run_id: str, *, over: bool, critical: str = "", give_back: bool = False) -> list[Settled]:
        """Settles every batch of a wave.

        Args:
            over: nothing of this wave works any more, so what is still open in the ledger will not end by itself.
            critical: what to say of batches that are still open: why the wave could not be run to its end.
            give_back: a batch that nobody has begun goes back to the inbox, up to `max_claims` times.
        """
        with self.store.begin() as connection:
            ids = batches.of_wave(connection, run_id=run_id)
        results = [
            self.batch(batch_id, run_id=run_id, over=over, critical=critical, give_back=give_back) for batch_id in ids
        ]
        if give_back and (not ids or None in results):
            self._tell_of_wave(run_id, critical)
        return [result for result in results if result is not None]

    def batch(
        self, batch_id: str, *, run_id: str, over: bool, critical: str = "", give_back: bool = False
    ) -> Settled | None:
        """Settles one batch. None: this wave has it no longer, it was given back to the inbox."""
        opened = self._open(batch_id) if over else []
        # whoever still sends one of these holds its lock, and what it writes counts, not what we would guess
        locks = {f"delivery:{item.id}": item.id for item in opened}
        with self.store.locks(locks) as free, self.store.begin() as connection:
            known = batches.lock(connection, batch_id=batch_id)
            if known.wave_id != run_id:
                return None
            if give_back and known.claims < self.settings.max_claims and not _begun(connection, batch_id):
                batches.release(connection, batch_id=batch_id)
                log.warning("batch given back", batch_id=batch_id, lead_id=known.lead_id, reason=critical)
                return None
            for name in free:
                self._close(connection, locks[name])
            return self._write_status(connection, known, critical=critical if opened else "")

    def _tell_of_wave(self, run_id: str, critical: str) -> None:
        with self.store.begin() as connection:
            for channel in _channels(self.settings, Occasion.CRITICAL):
                key = f"{run_id}:{channel}:{Occasion.CRITICAL}"
                outbox.queue(
                    connection,
                    outbox.New(key=key, batch_id=None, channel=channel, occasion=Occasion.CRITICAL, reason=critical),
                    now=self.clock(),
                )

    def _open(self, batch_id: str) -> list[ledger.Standing]:
        with self.store.begin() as connection:
            return [item for item in ledger.standing(connection, batch_id=batch_id) if not item.state.is_final]

    def _close(self, connection: Connection, delivery_id: str) -> None:
        item = ledger.standing_of(connection, delivery_id=delivery_id)
        if item.state.is_final:
            return
        state, error = _verdict(item)
        ledger.close(connection, delivery_id=delivery_id, state=state, error=error, now=self.clock())

    def _write_status(self, connection: Connection, known: batches.Standing, *, critical: str) -> Settled:
        counters = Counters.of(item.state for item in ledger.standing(connection, batch_id=known.batch_id))
        status = status_of(counters)
        now = self.clock()
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
        # settled again with nothing new, it is as critical as it was
        critical = critical or (known.critical if status is known.status else "")
        if critical != known.critical:
            batches.set_critical(connection, batch_id=known.batch_id, reason=critical)
        if status.is_final:
            for row in told(self.settings, known, status, critical=critical):
                outbox.queue(connection, row, now=now)
        return Settled(batch_id=known.batch_id, lead_id=known.lead_id, status=status, counters=counters)

    def _queue_lead_status(self, connection: Connection, batch_id: str, status: BatchStatus, *, now: datetime) -> None:
        """Before the hooks, as the seed's `finally` finds it. At each change anew, the same status after another, too:
        what stands in the user's table by then may be of another batch of this lead."""
        if self.settings.status_column and status.is_final:
            channel = outbox.Channel.LEAD_STATUS
            key = f"{batch_id}:{channel}:{now.isoformat()}"
            new = outbox.New(key=key, batch_id=batch_id, channel=channel, occasion=status)
            outbox.queue(connection, new, now=now)


def told(settings: Settings, known: batches.Standing, status: BatchStatus, *, critical: str) -> Iterator[outbox.New]:
    """The rows that a final status puts into the outbox: the one map 'final status → what happens'.

    A status that comes again (settled twice) gives the same keys, and nothing is told twice; one that changes (a failed
    delivery was sent again) gives new ones.
    """

    def row(channel: outbox.Channel, occasion: str) -> outbox.New:
        key = f"{known.batch_id}:{channel}:{occasion}:{status}"
        return outbox.New(key=key, batch_id=known.batch_id, channel=channel, occasion=occasion, reason=critical)

    if critical:
        yield row(outbox.Channel.HOOK, "catch")
    yield row(outbox.Channel.HOOK, "then")
    yield row(outbox.Channel.HOOK, "finally")
    occasion = Occasion.CRITICAL if critical else Occasion.of(status)
    if occasion is None:
        return
    for channel in _channels(settings, occasion):
        yield row(channel, occasion)
    if known.has_callback_url:
        yield row(outbox.Channel.CALLBACK_URL, f"batch.{occasion}")


def _channels(settings: Settings, occasion: Occasion) -> Iterator[outbox.Channel]:
    """How people are told of this: as the settings say; a notifier stands instead of e-mail."""
    if occasion not in settings.notify_on:
        return
    if settings.notifier:
        yield outbox.Channel.NOTIFIER
    elif settings.notify_emails:
        yield outbox.Channel.EMAIL


def _begun(connection: Connection, batch_id: str) -> bool:
    return any(item.attempts for item in ledger.standing(connection, batch_id=batch_id))


def _verdict(item: ledger.Standing) -> tuple[DeliveryState, DeliveryError | None]:
    """What a delivery is, on which nobody works any more and which has not ended."""
    if item.state is DeliveryState.PENDING:
        return DeliveryState.FAILED, TransientError("Never begun: the wave ended before.", code="not_begun")
    if item.state is DeliveryState.RETRYING and not item.in_doubt:
        return DeliveryState.FAILED, None
    if registry.get(item.type).repeatable:
        return DeliveryState.FAILED, UnknownOutcome("The attempt died; sending it again is safe.", code="died")
    return DeliveryState.UNKNOWN, UnknownOutcome("The attempt died; it may have arrived.", code="died")


def all_failed(settled: Sequence[Settled]) -> bool:
    """Whether a wave carried batches and every one of them failed."""
    return bool(settled) and all(item.status is BatchStatus.FAILED for item in settled)
