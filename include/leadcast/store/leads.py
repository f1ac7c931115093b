"""Leads as people stored them, with `PUT /leads/{id}` or in a request."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.model import Lead
from leadcast.store.schema import leads


def find(connection: Connection, lead_id: str, *, to_send: bool = False) -> Lead | None:
    """The lead, or None where nobody stored it.

    Args:
        to_send: it is not erased before this transaction ends: who erases it then sees what was made of it.
    """
    query = select(leads.c.data).where(leads.c.id == lead_id)
    data = connection.execute(query.with_for_update(read=True, key_share=True) if to_send else query).scalar()
    return None if data is None else from_data(lead_id, data)


def put(connection: Connection, lead: Lead) -> bool:
    """Stores the lead over what was there. True: it is new."""
    statement = insert(leads).values(id=lead.id, data=to_data(lead))
    statement = statement.on_conflict_do_update(
        index_elements=[leads.c.id], set_={"data": statement.excluded.data, "updated_at": func.now()}
    )
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
