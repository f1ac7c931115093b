"""What is told of a batch that has its final status, and to whom."""

from __future__ import annotations

from collections.abc import Iterator

from leadcast.core.model import BatchStatus
from leadcast.core.settings import Occasion, Settings
from leadcast.store import batches, outbox


def told(settings: Settings, known: batches.Standing, status: BatchStatus, *, critical: str) -> Iterator[outbox.New]:
    """The rows that a final status puts into the outbox: the one map 'final status → what happens'.

    A status that comes again (settled twice) gives the same keys, and nothing is told twice; one that changes (a failed
    delivery was sent again) gives new ones.
    """

    def row(channel: outbox.Channel, occasion: str) -> outbox.New:
        # asked for by a person, it is told again how it went, the same or not
        times = f":{known.asks}" if known.asks else ""
        key = f"{known.batch_id}:{channel}:{occasion}:{status}{times}"
        return outbox.New(key=key, batch_id=known.batch_id, channel=channel, occasion=occasion, reason=critical)

    if critical:
        yield row(outbox.Channel.HOOK, "catch")
    yield row(outbox.Channel.HOOK, "then")
    yield row(outbox.Channel.HOOK, "finally")
    occasion = Occasion.CRITICAL if critical else Occasion.of(status)
    if occasion is None:
        return
    for channel in outbox.channels(settings, occasion):
        yield row(channel, occasion)
    if known.has_callback_url:
        yield row(outbox.Channel.CALLBACK_URL, f"batch.{occasion}")
