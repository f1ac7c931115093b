"""Whose batches and leads are: which user of Airflow's has sent the one, and stored the other.

Without a user (a run that nobody triggered, a row of an older version), they are nobody's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakSet

from sqlalchemy import Connection, Engine, select, text

from leadcast.store.schema import batches, leads

_KNOWS = text(
    "SELECT EXISTS (SELECT FROM pg_attribute "
    "WHERE attrelid = 'leads'::regclass AND attname = 'others_stored' AND NOT attisdropped)"
)
_known: WeakSet[Engine] = WeakSet()


@dataclass(frozen=True, kw_only=True)
class Owners:
    """Users who have to do with a lead; None among them: nobody knows who.

    stored: whoever has stored it last, and None where anybody else had before; empty: it is not stored.
    sent: whoever has sent a batch of it; empty: it was never sent.
    """

    stored: Sequence[str | None] = ()
    sent: Sequence[str | None] = ()

    @property
    def all(self) -> frozenset[str | None]:
        """All users who have stored the lead or sent it; None among them: one whom nobody knows."""
        return frozenset((*self.stored, *self.sent))

    def are_only(self, user: str) -> bool:
        """Whether this user alone has to do with it, as far as anybody has."""
        return self.all <= {user or None} - {None}


def has_a_place(connection: Connection) -> bool:
    """Whether the tables say whose a row is. Those of an older version do not, and take leads all the same. A process
    asks until they do, and anew once `forget` was called."""
    if connection.engine in _known:
        return True
    if not connection.execute(_KNOWS).scalar():
        return False
    _known.add(connection.engine)
    return True


def forget(engine: Engine) -> None:
    """The tables are not what they were: somebody has gone back to an older version."""
    _known.discard(engine)


def of_batch(connection: Connection, batch_id: str) -> Sequence[str | None]:
    """Who has sent this batch; empty: there is none."""
    return list(connection.execute(select(batches.c.sent_by).where(batches.c.id == batch_id)).scalars())


def unerased_of_lead(connection: Connection, lead_id: str, *, limit: int) -> list[tuple[str, str | None]]:
    """The newest batches that still hold this lead: id and sender of each, the newest first."""
    its = select(batches.c.id, batches.c.sent_by).where(batches.c.lead_id == lead_id, batches.c.erased_at.is_(None))
    rows = connection.execute(its.order_by(batches.c.accepted_at.desc(), batches.c.id.desc()).limit(limit))
    return [(row.id, row.sent_by) for row in rows]


def of_lead(connection: Connection, lead_id: str) -> Owners:
    """Who has stored and sent this lead."""
    row = connection.execute(
        select(leads.c.stored_by, leads.c.others_stored).where(leads.c.id == lead_id)
    ).one_or_none()
    stored = [] if row is None else [row.stored_by, *([None] if row.others_stored else [])]
    sent = connection.execute(select(batches.c.sent_by).where(batches.c.lead_id == lead_id).distinct()).scalars()
    return Owners(stored=stored, sent=list(sent))
