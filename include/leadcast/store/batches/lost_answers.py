"""What the ledger knows of an attempt and its process does not: a commit whose answer was lost may have been one, and
who was silent for long may have been given up for dead."""

from __future__ import annotations

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


def is_heard(connection: Connection, begun: Begun, *, is_delivered: bool) -> bool:
    """Whether `ledger.end` would write what this attempt has ended with. Its batch is locked, so this stays so until
    the transaction ends.

    Args:
        is_delivered: it has ended with success.
    """
    known = select(deliveries.c.epoch, deliveries.c.state, deliveries.c.worker_id)
    row = connection.execute(known.where(deliveries.c.id == begun.delivery_id)).one()
    return model.is_heard(is_running=is_of(row, begun), state=DeliveryState(row.state), is_delivered=is_delivered)
