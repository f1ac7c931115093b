"""What the ledger knows of an attempt and its process does not: a commit whose answer was lost may have been one, and
who was silent for long may have been given up for dead."""

from __future__ import annotations

from sqlalchemy import Connection, select

from leadcast.core import model
from leadcast.core.model import AttemptOutcome, DeliveryState
from leadcast.store.batches.ledger import Begun
from leadcast.store.schema import attempts, deliveries


def is_written(connection: Connection, begun: Begun, *, worker: str) -> bool:
    """Whether this attempt is in the ledger, and nobody has taken it for dead since. A commit that is still under way
    is waited for."""
    connection.execute(select(deliveries.c.id).where(deliveries.c.id == begun.delivery_id).with_for_update())
    query = select(attempts.c.id).where(
        attempts.c.id == begun.attempt_id,
        attempts.c.delivery_id == begun.delivery_id,
        attempts.c.number == begun.attempt,
        attempts.c.worker == worker,
        attempts.c.outcome == AttemptOutcome.RUNNING,
    )
    return connection.execute(query).scalar() is not None


def is_heard(connection: Connection, begun: Begun, *, is_delivered: bool) -> bool:
    """Whether `ledger.end` would write what this attempt has ended with. Its batch is locked, so this stays so until
    the transaction ends.

    Args:
        is_delivered: it has ended with success.
    """
    both = attempts.join(deliveries, deliveries.c.id == attempts.c.delivery_id)
    query = select(attempts.c.outcome, deliveries.c.state).select_from(both).where(attempts.c.id == begun.attempt_id)
    row = connection.execute(query).one()
    is_running = row.outcome == AttemptOutcome.RUNNING
    return model.is_heard(is_running=is_running, state=DeliveryState(row.state), is_delivered=is_delivered)
