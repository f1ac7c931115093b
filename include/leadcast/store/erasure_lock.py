"""Who erases a lead waits for those who are just writing it, lead or batch: a lock in the store, by the lead's id."""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, func, select
from sqlalchemy.sql.functions import Function


def hold_off(connection: Connection, lead_id: str) -> None:
    """Whoever asks for this lead to be erased waits until this transaction ends. For a lead that may be no row of ours
    yet: one that is, is locked itself."""
    connection.execute(select(func.pg_advisory_xact_lock_shared(_key(lead_id))))


def wait_for_writers(connection: Connection, lead_id: str) -> None:
    """Waits for all who hold off, and keeps others waiting until this transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(_key(lead_id))))


def _key(lead_id: str) -> Function[int]:
    return func.hashtextextended(f"erasure:{lead_id}", 0, type_=BigInteger)
