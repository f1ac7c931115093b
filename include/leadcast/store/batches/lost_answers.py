"""What the ledger knows of an attempt and its process does not: a commit whose answer was lost may have been one, and
who was silent for long may have been given up for dead."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from leadcast.core import model
from leadcast.core.model import DeliveryState
from leadcast.store.batches.ledger import Begun
from leadcast.store.batches.ledger.ended_attempts import is_of
from leadcast.store.schema import deliveries


def is_written(connection: Connection, begun: Begun) -> bool:
    """Whether this attempt is in the ledger, and nobody has taken it for dead since. A commit that is still under way
    is waited for."""
    known = select(deliveries.c.worker_id, deliveries.c.epoch, deliveries.c.state)
    row = connection.execute(known.where(deliveries.c.id == begun.delivery_id).with_for_update()).one()
    return is_of(row, begun)


def heard(connection: Connection, ended: Sequence[tuple[Begun, bool]]) -> set[str]:
    """Ids of the deliveries of which `ledger.end_all` would write what these attempts have ended with. Their batches
    are locked, so this stays so until the transaction ends.

    Args:
        ended: attempts, each with whether it has ended with success.
    """
    known = select(deliveries.c.id, deliveries.c.epoch, deliveries.c.state, deliveries.c.worker_id)
    these = known.where(deliveries.c.id.in_([begun.delivery_id for begun, _ in ended]))
    rows = {row.id: row for row in connection.execute(these)}
    return {
        begun.delivery_id
        for begun, is_delivered in ended
        if model.is_heard(
            is_running=is_of(rows[begun.delivery_id], begun),
            state=DeliveryState(rows[begun.delivery_id].state),
            is_delivered=is_delivered,
        )
    }
