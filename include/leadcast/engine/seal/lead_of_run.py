"""Finds the lead that a run names by its id: before Airflow opens its database session for the run, where we stand at
the door (`api.trigger_guard`), else while Airflow writes it, in its thread and within its transaction.

So it may take only so long, and only so many at once may ask. A store whose machine stands still takes a question and
never answers; the api-server's forty threads and its few sessions serve what tasks ask of it, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from leadcast.core.bounded import NotInTime, Turns
from leadcast.core.errors import LeadTableError, StoreError
from leadcast.core.request_errors import LeadNotFound
from leadcast.core.tidy import Tidied, tidy
from leadcast.engine.settings import config
from leadcast.flow.inbox import look_up
from leadcast.store.batches import leads

if TYPE_CHECKING:
    from leadcast.store.database import Store

ASKED_WITHIN_S = 5.0
"""How long a run waits for who knows its lead."""
ASKED_AT_ONCE = 8
"""So many of a process's runs ask at once."""
IN_LINE_S = 1.0
"""How long another one waits for its turn."""
REST_S = 3.0
"""How long a store that has not answered is not asked again."""
_turns = Turns("lead-of-a-run", at_once=ASKED_AT_ONCE, within_s=ASKED_WITHIN_S, in_line_s=IN_LINE_S, rest_s=REST_S)


@dataclass(frozen=True)
class _Found:
    lead_id: str
    lead: Tidied | None


_found_before: ContextVar[_Found | None] = ContextVar("leadcast_lead_of_run", default=None)


def find(lead_id: str, store: Store) -> Tidied | None:
    """The lead, where there is a table of the user's own to ask for it; None: the plan finds it in the store.

    Raises:
        LeadNotFound: nobody has it.
        LeadTableError: the table could not be read.
        StoreError: nobody has answered in time, or too many wait for an answer.
    """
    before = _found_before.get()
    if before is not None and before.lead_id == lead_id:
        return before.lead
    try:
        return _turns.ask(lambda: _found(lead_id, store))
    except NotInTime:
        raise StoreError("The store does not answer just now.") from None
    except LeadTableError as error:
        structlog.get_logger("leadcast.lead_of_run").error("lead table not available", reason=str(error))
        raise


@contextmanager
def found(lead_id: str, lead: Tidied | None) -> Iterator[None]:
    """Within this, and whatever thread goes on with it, `find` gives this for the lead and asks nobody: a request's run
    is written with Airflow's database session open, and has been looked up before that.
    """
    token = _found_before.set(_Found(lead_id, lead))
    try:
        yield
    finally:
        _found_before.reset(token)


def _found(lead_id: str, store: Store) -> Tidied | None:
    table = config.lead_table()
    lead = look_up(table, lead_id)
    if lead is not None:
        return lead
    with store.begin() as connection:
        stored = leads.find(connection, lead_id)
    if stored is None:
        raise LeadNotFound(lead_id)
    return tidy(leads.to_data(stored)) if table is not None else None
