"""What Airflow says of a run: its state, its task instances, and which of them cost a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from bench.leads import BenchError
from bench.stack import Running

POLL_S = 0.05
TIMEOUT_S = 120.0
# Longer than any loop of Airflow's, so that a wave does not begin in the tail of the one before.
PAUSE_S = 1.5


@dataclass(frozen=True, kw_only=True)
class TaskInstance:
    """One task instance. The times are None where it was skipped or needed no process."""

    task_id: str
    state: str
    pid: int | None
    tries: int
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One DAG run that has ended."""

    state: str
    queued_at: datetime
    started_at: datetime
    ended_at: datetime
    tasks: tuple[TaskInstance, ...]

    @property
    def processes(self) -> int:
        """The processes it took: one for each try of each task instance that has a process id."""
        return sum(max(1, task.tries) for task in self.tasks if task.pid is not None)


def poll(ask: Callable[[], Any], *, what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """Asks every 50 ms until the answer is something.

    Raises:
        BenchError: it is still nothing after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while (answer := ask()) is None:
        if time.monotonic() > deadline:
            raise BenchError(f"After {timeout_s:.0f} s still not: {what}.")
        time.sleep(POLL_S)
    return answer


def get(running: Running, path: str) -> Any:
    """A GET that must succeed, over the open connection."""
    answer = running.http.get(running.url(path), timeout=30)
    answer.raise_for_status()
    return answer.json()


def post(running: Running, path: str, body: Any) -> Any:
    """A POST that must succeed, over the open connection."""
    answer = running.http.post(running.url(path), json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()


def await_run(running: Running, dag_id: str, run_id: str) -> None:
    """Waits for the end of a run.

    Raises:
        BenchError: it did not end, or not well.
    """
    path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"

    def ended() -> str | None:
        state = str(get(running, path)["state"])
        return state if state in ("success", "failed") else None

    state = poll(ended, what=f"run {run_id} has ended")
    if state != "success":
        raise BenchError(f"Run {run_id} of {dag_id} is {state}. See {running.home.logs}.")


def read_run(running: Running, dag_id: str, run_id: str) -> Run:
    """A run that has ended, with its task instances."""
    path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
    run = get(running, path)
    tasks = get(running, f"{path}/taskInstances?limit=100")
    if tasks["total_entries"] > len(tasks["task_instances"]):
        raise BenchError(f"Run {run_id} has {tasks['total_entries']} task instances; a quiet wave has few.")
    return Run(
        state=run["state"],
        queued_at=moment(run["queued_at"]),
        started_at=moment(run["start_date"]),
        ended_at=moment(run["end_date"]),
        tasks=tuple(_task(task) for task in tasks["task_instances"]),
    )


def _task(answer: dict[str, Any]) -> TaskInstance:
    return TaskInstance(
        task_id=answer["task_id"],
        state=answer["state"] or "",
        pid=answer["pid"],
        tries=answer["try_number"],
        queued_at=_moment(answer["queued_when"]),
        started_at=_moment(answer["start_date"]),
        ended_at=_moment(answer["end_date"]),
    )


def moment(text: str) -> datetime:
    """A time of Airflow's or Leadcast's API."""
    return datetime.fromisoformat(text)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else moment(text)
