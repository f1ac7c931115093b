"""How runs of `send_lead` and their tasks stand, as a task can ask Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leadcast.engine.dag_ids import DAG_ID

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


_NOT_BEGUN = (None, "scheduled", "queued")


def task_states(context: Context, *task_ids: str, run_id: str = "") -> Mapping[str, str | None]:
    """How tasks of a run stand: `<task id>`, or `<task id>_<map index>` → state. `run_id` empty: this run."""
    ti, run_id = context["ti"], run_id or context["run_id"]
    found = ti.get_task_states(dag_id=DAG_ID, task_ids=list(task_ids), run_ids=[run_id])
    states: Mapping[str, str | None] = found.get(run_id, {})
    return states


@dataclass(frozen=True, kw_only=True)
class AirflowRuns:
    """Airflow's runs, as the sweep asks for them.

    timeout_s: how long a run may take.
    """

    context: Context
    timeout_s: float

    def run_state(self, run_id: str) -> str | None:
        """How it stands (`queued`, `running`, …); None: there is no such run."""
        ti = self.context["ti"]
        if not ti.get_dr_count(dag_id=DAG_ID, run_ids=[run_id]):
            return None
        state: str | None = ti.get_dagrun_state(dag_id=DAG_ID, run_id=run_id)
        return state

    def will_begin(self, run_id: str, kind: str) -> bool:
        """Whether a run has tasks for an integration that have not begun, and will."""
        if self.run_state(run_id) not in ("queued", "running"):
            return False
        states = task_states(self.context, f"deliver_{kind}", run_id=run_id)
        return not states or any(state in _NOT_BEGUN for state in states.values())

    def settle_state(self, run_id: str) -> str | None:
        """How its settle task stands."""
        return task_states(self.context, "settle", run_id=run_id).get("settle")

    def has_timed_out(self, run_id: str) -> bool:
        """Whether one that is over has taken all its time; not where it never began."""
        run = _run(run_id)
        if run.start_date is None or run.end_date is None:
            return False
        return bool((run.end_date - run.start_date).total_seconds() >= self.timeout_s)

    def run(self, run_id: str) -> Any:
        """One that there is, as Airflow describes it to a task."""
        return _run(run_id)

    def plan_was_away(self, run_id: str) -> bool:
        """Whether its plan has given up since the store was away."""
        from leadcast.engine.runs.unplanned import plan_was_away

        return plan_was_away(self.context, run_id)


def _run(run_id: str) -> Any:
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetDagRun

    return task_runner.SUPERVISOR_COMMS.send(GetDagRun(dag_id=DAG_ID, run_id=run_id))
