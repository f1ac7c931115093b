"""Leads as people stored them, with `PUT /leads/{id}` or in a request."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.model import Lead
from leadcast.store import erasure_lock, whose
from leadcast.store.schema import batches, leads


def find(connection: Connection, lead_id: str, *, to_send: bool = False) -> Lead | None:
    """The lead, or None where nobody stored it.

    Args:
        to_send: it is not erased before this transaction ends: who erases it then sees what was made of it.
    """
    query = select(leads.c.data).where(leads.c.id == lead_id)
    data = connection.execute(query.with_for_update(read=True, key_share=True) if to_send else query).scalar()
    return None if data is None else from_data(lead_id, data)


def as_sent(connection: Connection, lead_id: str, *, batch_id: str) -> Lead:
    """The lead as a batch of it has it."""
    data = connection.execute(select(batches.c.lead).where(batches.c.id == batch_id)).scalar_one()
    return from_data(lead_id, data)


def put(connection: Connection, lead: Lead, *, stored_by: str | None = None) -> bool:
    """Stores the lead over what was there. True: it is new. Whoever asks for it to be erased waits for this.

    Args:
        stored_by: the user who stores it; None: nobody knows who. Over what another has stored, it is nobody's alone.
    """
    erasure_lock.hold_off(connection, lead.id)
    values: dict[str, Any] = {"data": to_data(lead)}
    over: dict[str, Any] = {"updated_at": func.now()}
    if whose.has_a_place(connection):
        values["stored_by"] = stored_by
        is_others = leads.c.stored_by.is_distinct_from(stored_by)
        over["others_stored"] = or_(leads.c.others_stored, is_others)
    statement = insert(leads).values(id=lead.id, **values)
    statement = statement.on_conflict_do_update(index_elements=[leads.c.id], set_={**values, **over})
    # xmax is 0 for a row that this statement inserted
    return bool(connection.execute(statement.returning(literal_column("xmax = 0"))).scalar())


def to_data(lead: Lead) -> dict[str, Any]:
    """The lead as JSON columns hold it: without its id."""
    data = asdict(lead)
    del data["id"]
    return data


def from_data(lead_id: str, data: dict[str, Any]) -> Lead:
    """The lead from a JSON column."""
    return Lead(id=lead_id, **data)
