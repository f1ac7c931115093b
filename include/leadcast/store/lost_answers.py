"""A commit whose answer was lost: whether it was one. Only the database knows."""

from __future__ import annotations

from sqlalchemy import Connection, select

from leadcast.core.model import AttemptOutcome
from leadcast.store.ledger import Begun
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
