"""What happened to a batch, as it was when it happened: what is told of it, then and whenever it is repeated.

Written in the transaction that writes the status, while the batch is locked; never changed after, but for what an
erasing takes. Answers of services stand apart from the rest: they are what may be personal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, func, insert, select

from leadcast.store.batches import views
from leadcast.store.batches.views import BatchView
from leadcast.store.schema import batches, deliveries, events

_ANSWERS = ("receipt", "error")
_OF_WHOEVER_LOOKS = {"sent_by", "is_masked"}


@dataclass(frozen=True, kw_only=True)
class Event:
    """A batch as it was when something of it was to be told: what is told later says the same.

    sequence: 1 for the first that was told of its batch, then 2, 3, …
    """

    sequence: int
    at: datetime
    snapshot: Mapping[str, Any] = field(repr=False)
    answers: Mapping[str, Any] = field(repr=False)

    @property
    def batch(self) -> BatchView:
        """The batch as it was. Without the attempts of its deliveries."""
        # an erasing takes all answers
        unanswered = dict.fromkeys(_ANSWERS)
        deliveries = [item | self.answers.get(item["id"], unanswered) for item in self.snapshot["deliveries"]]
        return _form().validate_python({**self.snapshot, "deliveries": deliveries})


def write(connection: Connection, batch_id: str, *, now: datetime) -> int:
    """Writes down how the batch stands now. It is locked, so that no two get one number.

    Returns:
        Its number in the batch.
    """
    batch = views.batch(connection, batch_id, history=False)
    assert batch is not None
    snapshot = _form().dump_python(batch, mode="json", exclude=_OF_WHOEVER_LOOKS)
    answers = {item["id"]: {name: item.pop(name) for name in _ANSWERS} for item in snapshot["deliveries"]}
    latest = select(func.coalesce(func.max(events.c.sequence), 0) + 1).where(events.c.batch_id == batch_id)
    sequence: int = connection.execute(latest).scalar_one()
    values = {"batch_id": batch_id, "sequence": sequence, "at": now, "snapshot": snapshot, "answers": answers}
    connection.execute(insert(events).values(values))
    return sequence


def find(connection: Connection, batch_id: str, sequence: int) -> Event | None:
    """What happened, as it was written."""
    row = connection.execute(
        select(events).where(events.c.batch_id == batch_id, events.c.sequence == sequence)
    ).one_or_none()
    if row is None:
        return None
    return Event(sequence=row.sequence, at=row.at, snapshot=row.snapshot, answers=row.answers)


def changes(connection: Connection, batch_id: str) -> int:
    """How often a batch has ended otherwise than what was told before had it, up to how it stands now: with another
    status, or in other states of its deliveries."""
    states = func.jsonb_path_query_array(events.c.snapshot, "$.deliveries[*].state")
    told = select(events.c.snapshot["status"].astext, states).where(events.c.batch_id == batch_id)
    status = connection.execute(select(batches.c.status).where(batches.c.id == batch_id)).scalar_one()
    now = select(deliveries.c.state).where(deliveries.c.batch_id == batch_id).order_by(deliveries.c.index)
    outcomes = [tuple(row) for row in connection.execute(told.order_by(events.c.sequence))]
    outcomes.append((status, list(connection.execute(now).scalars())))
    return sum(before != after for before, after in pairwise(outcomes))


@cache
def _form() -> TypeAdapter[BatchView]:
    return TypeAdapter(BatchView)
