"""What Airflow itself holds of a lead: runs triggered with it as their `conf`, and the audit log's rows of that.

Both hold it sealed, and the settings beside it in clear. Tasks, XComs, labels and logs hold its id and nothing else.
What is looked for in one call is bounded: in the api-server by a time, after which the rest is said to be left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol, TypeVar

import structlog

from leadcast.control.erase import InAirflow
from leadcast.core.reach import EVERYBODYS, Reach, WasThere, all_were_there
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.runs import audit_log
from leadcast.engine.runs.airflow_api import AirflowApi, AirflowApiError, in_process
from leadcast.engine.runs.own_request import earliest

log = structlog.get_logger("leadcast.lead_traces")
T = TypeVar("T")

RUNS = "runs"
AUDIT_ROWS = "audit_log_rows"
ERASE_TIMEOUT_S = 40.0
"""Of all that is done in the api-server for one caller."""
AT_ONCE = 2
"""So many callers at once; another one waits for `WAITS_S`."""
WAITS_S = 10.0
MOST_RUNS = 10_000
"""Looked for in one call."""
RUNS_PAGE = 200
"""Deleted in one transaction."""
_RUNS_STILL = "It runs. Delete it when it has ended."
_NO_TIME = "There was no time for it."
_ending: set[asyncio.Task[str]] = set()
"""Deletions that nobody waits for any more: asyncio itself keeps none alive."""


class InThread(Protocol):
    """Does something in a thread, of which there are few."""

    def __call__(self, work: Callable[[], T]) -> Coroutine[Any, Any, T]: ...


async def erase(lead_id: str, *, token: str, in_thread: InThread, reach: Reach = EVERYBODYS) -> InAirflow:
    """In the api-server: deletes the lead's runs, as far as the caller with this token may, and takes the requests
    out of the audit log's rows of them. Does nothing where a run is somebody's whom the erasure does not reach.

    Never raises: what could not be done is in the answer.
    """
    until = monotonic() + ERASE_TIMEOUT_S
    left: dict[str, str] | None = None
    erased: dict[str, int] = {}
    audit_log_left = True
    try:
        found = await in_thread(partial(_runs_of_lead, lead_id, until=until))
        if not all(reach.takes(run.triggering_user_name, run.run_after) for run in found):
            return InAirflow(is_others=True)
        runs = [run.run_id for run in found]
        async with in_process(token=token) as api:
            left = await _delete(api, runs, until=until)
        erased[RUNS] = len(runs) - len(left)
        rows = await in_thread(partial(audit_log.erase, lead_id, until=until, reach=reach))
        erased[AUDIT_ROWS], audit_log_left = rows.rows, not rows.is_all
        if len(runs) == MOST_RUNS:
            left = None
    except Exception as error:
        log.warning("not looked for in Airflow", lead_id=lead_id, reason=type(error).__name__)
    return InAirflow(erased=erased, left=left, audit_log_left=audit_log_left)


async def erase_through(
    api: AirflowApi,
    lead_id: str,
    *,
    until: float | None = None,
    reach: Reach = EVERYBODYS,
    was_there: WasThere = all_were_there,
) -> InAirflow:
    """Deletes the lead's runs through Airflow's API. A run that has not begun is deleted, too, and sends nothing. Its
    audit log cannot be changed so.

    Args:
        until: when to end, by the monotonic clock.
        reach: whose runs; those of others are left, and not named.
        was_there: which of them.
    """
    until = monotonic() + ERASE_TIMEOUT_S if until is None else until
    try:
        forms = audit_log.written_forms(lead_id)
        runs, is_all = await api.runs_of_lead(DAG_ID, lead_id, forms=forms, reach=reach, was_there=was_there)
    except AirflowApiError as error:
        log.warning("runs not looked for", lead_id=lead_id, reason=str(error))
        return InAirflow(left=None, audit_log_left=None)
    left = await _delete(api, runs, until=until)
    return InAirflow(erased={RUNS: len(runs) - len(left)}, left=left if is_all else None, audit_log_left=None)


async def _delete(api: AirflowApi, runs: Sequence[str], *, until: float) -> dict[str, str]:
    """Deletes these runs. Returns those that are left, each with the reason."""
    left: dict[str, str] = {}
    for run_id in runs:
        why = await _within(until, api.delete_run(DAG_ID, run_id)) if monotonic() < until else _NO_TIME
        if why:
            left[run_id] = why
    return left


async def _within(until: float, deletion: Coroutine[Any, Any, str]) -> str:
    """What it says, or that there was no time for it. Airflow's API in our own process knows no time-out, and may be in
    a thread that nothing ends: it is told to end, and not waited for."""
    task = asyncio.create_task(deletion)
    try:
        done, _ = await asyncio.wait({task}, timeout=until - monotonic())
    finally:
        if not task.done():
            task.cancel()
            _ending.add(task)
            task.add_done_callback(_end)
    return task.result() if done else _NO_TIME


def _end(task: asyncio.Task[str]) -> None:
    _ending.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("a deletion failed after its time", reason=type(error).__name__)


def erase_in_database(lead_id: str, *, reach: Reach = EVERYBODYS, was_there: WasThere = all_were_there) -> InAirflow:
    """Where Airflow's database can be reached: the same, past its API, to the end, in small transactions."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from sqlalchemy import delete, select

    runs: Any = DagRun.__table__
    erased, last = 0, 0
    left: dict[str, str] = {}
    while True:
        with create_session() as session:
            user, times = runs.c.triggering_user_name, (runs.c.run_after, runs.c.queued_at)
            query = select(runs.c.id, runs.c.run_id, runs.c.state, user, *times)
            query = query.where(runs.c.id > last, _is_request_for(lead_id))
            # locked, so that none begins to run in between
            page = session.execute(query.order_by(runs.c.id).limit(RUNS_PAGE).with_for_update()).all()
            taken = [
                row
                for row in page
                if reach.takes(row.triggering_user_name, row.run_after)
                and was_there(row.run_id, earliest(row.run_after, row.queued_at))
            ]
            left |= {row.run_id: _RUNS_STILL for row in taken if row.state == DagRunState.RUNNING}
            over = [row.id for row in taken if row.run_id not in left]
            erased += len(over)
            session.execute(delete(runs).where(runs.c.id.in_(over)))
        if len(page) < RUNS_PAGE:
            break
        last = page[-1].id
    rows = audit_log.erase(lead_id, reach=reach)
    return InAirflow(erased={RUNS: erased, AUDIT_ROWS: rows.rows}, left=left)


def _runs_of_lead(lead_id: str, *, until: float) -> Sequence[Any]:
    """Runs whose `conf` is a request for this lead, the oldest first, up to a number: id, and who made it, when."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from leadcast.engine.runs.statement_time import bounded

    runs: Any = DagRun.__table__
    query = select(runs.c.run_id, runs.c.triggering_user_name, runs.c.run_after).where(_is_request_for(lead_id))
    query = query.order_by(runs.c.id).limit(MOST_RUNS)
    with create_session() as session:
        return session.execute(bounded(session, query, seconds=until - monotonic())).all()


def _is_request_for(lead_id: str) -> Any:
    """Compares the one member of the `conf`: no other text in it is looked at."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import Text, and_, cast

    runs: Any = DagRun.__table__
    # SQLite gives a number where the conf has one
    return and_(runs.c.dag_id == DAG_ID, cast(runs.c.conf["lead_id"].as_string(), Text) == lead_id)
