"""What Airflow itself holds of a lead: runs triggered with it as their `conf`, and the audit log's rows of that.

Both hold it sealed, and the settings beside it in clear. Tasks, XComs, labels and logs hold its id and nothing else.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import structlog

from leadcast.engine.airflow_api import AirflowApi, AirflowApiError, in_process
from leadcast.engine.conf_guard import DAG_ID
from leadcast.erase import InAirflow

log = structlog.get_logger("leadcast.lead_traces")

RUNS = "runs"
AUDIT_ROWS = "audit_log_rows"
ERASE_TIMEOUT_S = 60.0
_ERASED = {"erased": True}
_RUNS_STILL = "It runs. Delete it when it has ended."


async def erase(lead_id: str, *, token: str) -> InAirflow:
    """In the api-server: deletes the lead's runs, as far as the caller with this token may, and takes the requests
    out of the audit log's rows of them.

    Never raises: what could not be done is in the answer.
    """
    import asyncio

    try:
        # what the API's in-process transport does not know: an end to it
        async with asyncio.timeout(ERASE_TIMEOUT_S), in_process(token=token) as api:
            found = await erase_through(api, lead_id)
        rows = await asyncio.to_thread(_erase_audit_rows, lead_id)
    except Exception as error:
        log.warning("not looked for in Airflow", lead_id=lead_id, reason=type(error).__name__)
        return InAirflow(left=None)
    return InAirflow(erased={**found.erased, AUDIT_ROWS: rows}, left=found.left)


async def erase_through(api: AirflowApi, lead_id: str) -> InAirflow:
    """Deletes the lead's runs through Airflow's API. A run that has not begun is deleted, too, and sends nothing."""
    try:
        runs = await api.runs_of_lead(DAG_ID, lead_id)
    except AirflowApiError as error:
        log.warning("runs not looked for", lead_id=lead_id, reason=str(error))
        return InAirflow(left=None)
    refusals = {run_id: await api.delete_run(DAG_ID, run_id) for run_id in runs}
    left = {run_id: why for run_id, why in refusals.items() if why}
    return InAirflow(erased={RUNS: len(runs) - len(left)}, left=left)


def erase_in_database(lead_id: str) -> InAirflow:
    """Where Airflow's database can be reached: the same, past its API."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from sqlalchemy import Text, cast, delete, select

    runs: Any = DagRun.__table__
    with create_session() as session:
        query = select(runs.c.run_id, runs.c.state, runs.c.conf).where(
            runs.c.dag_id == DAG_ID, cast(runs.c.conf, Text).contains(lead_id, autoescape=True)
        )
        theirs = [row for row in session.execute(query) if str((row.conf or {}).get("lead_id")) == lead_id]
        left = {row.run_id: _RUNS_STILL for row in theirs if row.state == DagRunState.RUNNING}
        over = [row.run_id for row in theirs if row.run_id not in left]
        session.execute(delete(runs).where(runs.c.dag_id == DAG_ID, runs.c.run_id.in_(over)))
    return InAirflow(erased={RUNS: len(over), AUDIT_ROWS: _erase_audit_rows(lead_id)}, left=left)


def _erase_audit_rows(lead_id: str) -> int:
    """Takes the requests out of the audit log's rows of runs for this lead. Returns how many there were."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select, update

    # in a command line that was logged, its quotes may be escaped
    names_lead = re.compile(rf'\\*"lead_id\\*"\s*:\s*\\*"?{re.escape(lead_id)}(?![\w.:@-])')
    with create_session() as session:
        query = select(Log.id, Log.extra).where(Log.dag_id == DAG_ID, Log.extra.contains(lead_id, autoescape=True))
        bare = {row.id: _bare(row.extra) for row in session.execute(query) if names_lead.search(row.extra)}
        for row_id, extra in bare.items():
            session.execute(update(Log).where(Log.id == row_id).values(extra=extra))
    return len(bare)


def _bare(extra: str) -> str:
    """What was logged, without the request: its settings are in clear, the rest of it sealed."""
    try:
        logged = json.loads(extra)
        if "conf" in logged:
            logged["conf"] = _ERASED
        else:
            command = ast.literal_eval(logged["full_command"])
            logged["full_command"] = str([re.sub(r"\{.*", json.dumps(_ERASED), word, flags=re.S) for word in command])
    except (ValueError, SyntaxError, TypeError, KeyError):
        return json.dumps(_ERASED)
    return json.dumps(logged)
