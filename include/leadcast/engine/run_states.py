"""How runs of `send_lead` and their tasks stand, as a task can ask Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from leadcast.engine.conf_guard import DAG_ID

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


def task_states(context: Context, *task_ids: str, run_id: str = "") -> Mapping[str, str | None]:
    """How tasks of a run stand: `<task id>`, or `<task id>_<map index>` → state. `run_id` empty: this run."""
    ti, run_id = context["ti"], run_id or context["run_id"]
    found = ti.get_task_states(dag_id=DAG_ID, task_ids=list(task_ids), run_ids=[run_id])
    states: Mapping[str, str | None] = found.get(run_id, {})
    return states


def run_state(context: Context, run_id: str) -> str | None:
    """How a run stands (`queued`, `running`, …); None: there is no such run."""
    ti = context["ti"]
    if not ti.get_dr_count(dag_id=DAG_ID, run_ids=[run_id]):
        return None
    state: str | None = ti.get_dagrun_state(dag_id=DAG_ID, run_id=run_id)
    return state


def lasted_s(run_id: str) -> float:
    """How many seconds a run that is over has taken; 0 where it never began."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetDagRun

    run = task_runner.SUPERVISOR_COMMS.send(GetDagRun(dag_id=DAG_ID, run_id=run_id))
    start, end = getattr(run, "start_date", None), getattr(run, "end_date", None)
    return 0.0 if start is None or end is None else float((end - start).total_seconds())
