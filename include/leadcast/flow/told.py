"""What is told of a batch that has its final status, and to whom."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from leadcast.core.errors import SettingsError
from leadcast.core.model import BatchStatus
from leadcast.core.setting_choices import Occasion
from leadcast.core.settings import Settings
from leadcast.store import events, outbox
from leadcast.store.batches import batches
from leadcast.store.paces import Channel
from leadcast.store.receivers import EVERYBODY, Receiver
from leadcast.store.sealing import Sealer, callback_url_of


class Moment(StrEnum):
    """When the user's own hooks are called."""

    CATCH = "catch"
    THEN = "then"
    FINALLY = "finally"


def tell(
    connection: Connection,
    known: batches.LockedBatch,
    status: BatchStatus,
    *,
    critical: str,
    settings: Settings,
    sealer: Sealer,
    hooks: Collection[str],
    now: datetime,
) -> None:
    """Puts into the outbox what a final status has to be told of, with the batch as it stands now. It is locked.

    An outcome that comes again (settled twice) gives the same keys, and nothing is told twice; one that changes (what
    had failed was sent again) gives new ones, the same status with other states of its deliveries as well.

    Args:
        critical: why it could not be run as it should; empty: it could.
        hooks: the moments for which there may be hooks.
    """
    receiver = _receiver(known, sealer)
    # asked for by a person, it is told again how it went, the same or not
    times = f":{known.manual_actions}" if known.manual_actions else ""
    changes = events.changes(connection, known.batch_id)
    turn = f":turn{changes}" if changes else ""

    def row(channel: Channel, occasion: str) -> outbox.New:
        return outbox.New(
            key=f"{known.batch_id}:{channel}:{occasion}:{status}{times}{turn}",
            batch_id=known.batch_id,
            channel=channel,
            occasion=occasion,
            reason=critical,
            receiver=receiver if channel is Channel.CALLBACK_URL else EVERYBODY,
        )

    told = _told(settings, known, status, is_critical=bool(critical), hooks=hooks)
    rows = [row(channel, occasion) for channel, occasion in told]
    outbox.queue_event(connection, known.batch_id, rows, now=now)


def _told(
    settings: Settings, known: batches.LockedBatch, status: BatchStatus, *, is_critical: bool, hooks: Collection[str]
) -> Iterator[tuple[Channel, str]]:
    """The one map 'final status → what happens'."""
    for moment in Moment:
        if moment in hooks and (is_critical or moment is not Moment.CATCH):
            yield Channel.HOOK, moment
    occasion = Occasion.CRITICAL if is_critical else Occasion.of(status)
    if occasion is None:
        return
    for channel in outbox.channels(settings, occasion):
        yield channel, occasion
    if known.callback_url_sealed is not None:
        yield Channel.CALLBACK_URL, f"batch.{occasion}"


def _receiver(known: batches.LockedBatch, sealer: Sealer) -> Receiver:
    """Who is called back. A URL that cannot be opened is nobody else's."""
    if known.callback_url_sealed is None:
        return EVERYBODY
    try:
        opened = sealer.open(known.callback_url_sealed, for_=callback_url_of(known.batch_id))
        return Receiver.at(opened["url"])
    except SettingsError:
        return Receiver.at(known.batch_id)
