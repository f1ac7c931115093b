"""What is told of a batch that has its final status, and to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

from sqlalchemy import Connection

from leadcast.core.errors import SettingsError
from leadcast.core.model import BatchStatus
from leadcast.core.settings import Occasion, Settings
from leadcast.store import batches, outbox
from leadcast.store.paces import Channel
from leadcast.store.sealing import Sealer

_PORTS = {"http": 80, "https": 443}


class Moment(StrEnum):
    """When the user's own hooks are called."""

    CATCH = "catch"
    THEN = "then"
    FINALLY = "finally"


def tell(
    connection: Connection,
    known: batches.Standing,
    status: BatchStatus,
    *,
    critical: str,
    settings: Settings,
    sealer: Sealer,
    hooks: Collection[str],
    now: datetime,
) -> bool:
    """Puts into the outbox what a final status has to be told of, with the batch as it stands now. It is locked.

    A status that comes again (settled twice) gives the same keys, and nothing is told twice; one that changes (a failed
    delivery was sent again) gives new ones.

    Args:
        critical: why it could not be run as it should; empty: it could.
        hooks: the moments for which there may be hooks.

    Returns:
        Whether there is anything new to tell.
    """
    place = _place(known, sealer)
    # asked for by a person, it is told again how it went, the same or not
    times = f":{known.asks}" if known.asks else ""

    def row(channel: Channel, occasion: str) -> outbox.New:
        return outbox.New(
            key=f"{known.batch_id}:{channel}:{occasion}:{status}{times}",
            batch_id=known.batch_id,
            channel=channel,
            occasion=occasion,
            reason=critical,
            place=place if channel is Channel.CALLBACK_URL else "",
        )

    told = _told(settings, known, status, is_critical=bool(critical), hooks=hooks)
    rows = [row(channel, occasion) for channel, occasion in told]
    return outbox.queue_event(connection, known.batch_id, rows, now=now)


def _told(
    settings: Settings, known: batches.Standing, status: BatchStatus, *, is_critical: bool, hooks: Collection[str]
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


def _place(known: batches.Standing, sealer: Sealer) -> str:
    """Which receiver a `callback_url` belongs to: its scheme, host and port, as a hash. One that cannot be read is a
    receiver of its own; sending to it will say what is wrong."""
    if known.callback_url_sealed is None:
        return ""
    try:
        url = urlsplit(sealer.open(known.callback_url_sealed)["url"])
        receiver = f"{url.scheme}://{url.hostname}:{url.port or _PORTS.get(url.scheme)}"
    except (SettingsError, ValueError):
        receiver = known.batch_id
    return hashlib.sha256(receiver.encode()).hexdigest()[:32]
