"""Finds the lead that a run names by its id, while Airflow writes that run: in its thread, within its transaction.

So it may take only so long, and only so many at once may ask. A store whose machine stands still takes a question and
never answers; the api-server's forty threads serve what tasks ask of it, too.
"""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from leadcast.core.bounded import NotInTime, within
from leadcast.core.errors import LeadNotFound, StoreError
from leadcast.core.tidy import Tidied, tidy
from leadcast.engine import config
from leadcast.inbox import look_up
from leadcast.store import leads

if TYPE_CHECKING:
    from leadcast.store.database import Store

ASKED_WITHIN_S = 5.0
"""How long a run waits for who knows its lead."""
ASKED_AT_ONCE = 8
"""So many of a process's runs ask at once."""
IN_LINE_S = 1.0
"""How long another one waits for its turn."""
_turns = BoundedSemaphore(ASKED_AT_ONCE)


def find(lead_id: str, store: Store) -> Tidied | None:
    """The lead, where there is a table of the user's own to ask for it; None: the plan finds it in the store.

    Raises:
        LeadNotFound: nobody has it.
        LeadTableError: the table could not be read.
        StoreError: nobody has answered in time, or too many wait for an answer.
    """
    if not _turns.acquire(timeout=IN_LINE_S):
        raise StoreError("The store does not answer just now.")

    def asked() -> Tidied | None:
        try:
            return _found(lead_id, store)
        finally:  # when it ends, however long ago it was given up
            _turns.release()

    try:
        return within(ASKED_WITHIN_S, asked, name="lead-of-a-run")
    except NotInTime:
        raise StoreError(f"The store has not answered within {ASKED_WITHIN_S:g} s.") from None


def _found(lead_id: str, store: Store) -> Tidied | None:
    table = config.lead_table()
    found = look_up(table, lead_id)
    if found is not None:
        return found
    with store.begin() as connection:
        stored = leads.find(connection, lead_id)
    if stored is None:
        raise LeadNotFound(lead_id)
    return tidy(leads.to_data(stored)) if table is not None else None
