"""Whether a task outlives the worker that took it: what `leadcast doctor` says of the executor."""

from __future__ import annotations

import re
from collections.abc import Iterator

from leadcast.engine.setup.finding import Finding, Level

OURS = "leadcast.engine.processes.local_executor.RevokingLocalExecutor"
"""What to name in `[core] executor` in place of Airflow's own."""
_AIRFLOWS = {"LocalExecutor", "airflow.executors.local_executor.LocalExecutor"}


def examine() -> Iterator[Finding]:
    """Looks at the executor that Airflow is set to."""
    from airflow.configuration import conf

    yield judge(conf.get("core", "executor"))


def judge(executors: str) -> Finding:
    """What is to be said of a value of `[core] executor`: one, or several, with aliases and teams."""
    if _AIRFLOWS.isdisjoint(re.split(r"[\s,;:=]+", executors)):
        return Finding(Level.OK, f"executor: {executors}")
    what = "executor: Airflow's LocalExecutor. What its worker took and died with waits until its run times out"
    return Finding(Level.WARN, what, f"Set [core] executor to {OURS} (docs/running.md)")
