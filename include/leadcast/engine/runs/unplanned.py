"""The request of a run that has ended without a batch: nothing but the run's conf knows of it. It gets a batch, or
people get a letter.

Asked by the settle task, by the run's callback, and by the sweep, which finds the runs that Airflow calls nobody for:
those that a person has marked, and those whose own tasks could do nothing since the store was away. What a person has
ended is not sent; all else is, as soon as the store takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import SettingsError
from leadcast.core.request_errors import RequestRejected
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.runs import ended, own_request
from leadcast.engine.runs.trouble import SILENT_AFTER, Trouble, UnsweptError
from leadcast.store.batches import run_requests
from leadcast.store.database import Store

AWAY = "away"
"""XCom of a plan whose last try has failed since the store was away."""
AT_ONCE = 100
"""Runs that one sweep asks Airflow for; the next one asks for others."""
SETTLED_AFTER = timedelta(minutes=1)
"""After it a process of a run that was stopped has ended, too, and accepts nothing any more."""


class Runs(ended.Runs, Protocol):
    """What the sweep asks Airflow about them."""

    def run(self, run_id: str) -> Any:
        """One that there is, as Airflow describes it."""

    def plan_was_away(self, run_id: str) -> bool:
        """Whether its plan has given up since the store was away."""


def see_to(run: own_request.Run, left: ended.RequestLeft | None) -> None:
    """Sees to the request of a run that has ended, if it had one and no batch has come of it. May be repeated, and by
    several at once: it becomes one batch, and is told of once, and once more when somebody has cleared the run.

    Raises:
        StoreError, LeadTableError: it is still to be done.
    """
    if left is None or not own_request.is_lost(run):
        return
    lead, why = own_request.lead_id(run), left.why
    if not left.is_wanted():
        tell(
            run,
            reason=f"Run {run.run_id} has not sent its request (lead {lead}): {why}. To send it, clear the run.",
        )
        return
    try:
        own_request.accept(run, is_over=True)
    except (RequestRejected, SettingsError) as error:
        refused(run, error)
        return
    tell(run, reason=f"Run {run.run_id} has not sent its request (lead {lead}): {why}. A later run sends it.")


def refused(run: own_request.Run, error: Exception) -> None:
    """Tells people of a run whose request cannot be accepted."""
    tell(run, reason=f"The request of run {run.run_id} was refused: {error} When that is mended, clear the run.")


def tell(run: own_request.Run, *, reason: str) -> None:
    """Tells people of a run that no batch can tell of. The first word about it stands."""
    from leadcast.engine.tell.settling import settler

    settler().tell_of_run(own_request.told_as(run), reason=reason)


def plan_was_away(context: Mapping[str, Any], run_id: str | None = None) -> bool:
    """Whether the plan of a run has given up since the store was away. `run_id` None: of this one."""
    ti = context.get("ti")
    return ti is not None and bool(ti.xcom_pull(task_ids="plan", key=AWAY, run_id=run_id, dag_id=DAG_ID))


def find(store: Store, *, runs: Runs, clock: Clock = utc_now) -> None:
    """Sees to the requests of runs that have ended, and forgets them. One that is deleted is told of to nobody: what
    it was to send is gone with it.

    Raises:
        UnsweptError: some are still to be seen to.
        StoreError: the store could not be used.
    """
    now = clock()
    with store.begin() as connection:
        run_ids = run_requests.due(connection, before=now - ended.GRACE, now=now, limit=AT_ONCE)
    trouble = Trouble()
    for run_id in run_ids:
        with trouble.noted(f"seeing to the request of {run_id}", run_id=run_id):
            if _is_done(run_id, runs, now=now):
                with store.begin() as connection:
                    run_requests.forget(connection, run_id=run_id)
        if len(trouble.found) == SILENT_AFTER:
            break
    if trouble.found:
        raise UnsweptError(f"Not done: {', '.join(trouble.found)}")


def _is_done(run_id: str, runs: Runs, *, now: datetime) -> bool:
    state = runs.run_state(run_id)
    if state is None:
        return True
    if state not in ended.OVER:
        return False
    run = runs.run(run_id)
    if run.end_date is not None and now - run.end_date < SETTLED_AFTER:
        return False
    left = ended.request_left(run_id, runs, plan_was_away=lambda: runs.plan_was_away(run_id))
    see_to(run, left)
    return True
