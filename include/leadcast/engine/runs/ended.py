"""How a run has ended, and why, where it did not come to its end by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

GRACE = timedelta(minutes=1)
"""How long a wave may be unknown to Airflow before it counts as gone."""
PLAN_FAILED = "the plan of the wave failed"
TIMED_OUT = "the run timed out"
STOPPED = "the run was stopped by hand before its deliveries had ended"
ENDED_EARLY = "Airflow ended the run before its deliveries had ended"
GONE = "the run that carried it is gone"
OVER = frozenset({"success", "failed"})


class Runs(Protocol):
    """What the sweep asks Airflow about its runs."""

    def run_state(self, run_id: str) -> str | None:
        """How it stands (`running`, `failed`, …); None: there is no such run."""

    def settle_state(self, run_id: str) -> str | None:
        """How its settle task stands (`failed`, `skipped`, …)."""

    def has_timed_out(self, run_id: str) -> bool:
        """Whether one that is over has had all the time that a run may take."""

    def told_as(self, run_id: str) -> str:
        """What a letter about it is known by: the same to everybody, another once somebody has cleared the run."""


def why_ended(run_id: str, runs: Runs) -> str:
    """Why a run is over that did not come to its end by itself; empty: it did. `STOPPED`: a person wanted it so."""
    settle = runs.settle_state(run_id)
    if settle in OVER:
        return ""
    if settle != "skipped":
        return ENDED_EARLY
    # Airflow (3.3.2) skips what has not ended, both where a run has no time left and where a person marks it
    return TIMED_OUT if runs.has_timed_out(run_id) else STOPPED
