"""Notes in the store that Airflow is about to accept a run, so that the sweep finds it whatever ends it before its plan
has accepted the request. No reason to refuse it, or to hold up Airflow, which has a transaction open meanwhile."""

from __future__ import annotations

from contextlib import suppress

from leadcast.core.bounded import NotInTime, Turns
from leadcast.core.clock import utc_now
from leadcast.core.errors import SettingsError, StoreError
from leadcast.engine.settings import config
from leadcast.store.batches import run_requests

WITHIN_S = 1.0
"""How long a run waits for its note."""
AT_ONCE = 5
"""So many of a process's runs write theirs at once."""
IN_LINE_S = 0.5
"""How long another one waits for its turn."""
REST_S = 5.0
"""How long a store that has not answered is not written to again."""
_turns = Turns("note-run", at_once=AT_ONCE, within_s=WITHIN_S, in_line_s=IN_LINE_S, rest_s=REST_S)


def write(run_id: str, *, is_new: bool = False) -> None:
    """Writes it, if the store takes it in time.

    Args:
        is_new: it is no run yet.
    """
    with suppress(SettingsError, StoreError, NotInTime):
        _turns.ask(lambda: _written(run_id, is_new=is_new))


def _written(run_id: str, *, is_new: bool) -> None:
    with config.store().begin() as connection:
        run_requests.note(connection, run_id=run_id, now=utc_now(), is_new=is_new)
