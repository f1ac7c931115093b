"""How a run of `send_lead` has ended, and what becomes of what it leaves: letters about it, and its own request.

Three see the end of a run: its settle task, its callback, and the sweep, of those for which Airflow calls nobody. Each
says here what it has seen, and gets the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from leadcast.core.ending import Ending, Ids
from leadcast.engine.runs import own_request

GRACE = timedelta(minutes=1)
"""How long a run may be unknown to Airflow before it counts as gone."""
PLAN_FAILED = "the plan of the wave failed"
MARKED = "its plan was marked as a success by hand"
TIMED_OUT = "the run timed out"
STOPPED = "the run was stopped by hand before its deliveries had ended"
ENDED_EARLY = "Airflow ended the run before its deliveries had ended"
OVER = frozenset({"success", "failed"})
_REASONS = {"success": "", "task_failure": "", "timed_out": TIMED_OUT}
"""Airflow's words to a run's callback. Nothing is to be said of a run that came to its end by itself, even if its
settle failed since every batch had."""

Question = Callable[[], bool]


class Runs(Protocol):
    """What the sweep asks Airflow about its runs."""

    def run_state(self, run_id: str) -> str | None:
        """How it stands (`running`, `failed`, …); None: there is no such run."""

    def settle_state(self, run_id: str) -> str | None:
        """How its settle task stands (`failed`, `skipped`, …)."""

    def has_timed_out(self, run_id: str) -> bool:
        """Whether one that is over has had all the time that a run may take."""


@dataclass(frozen=True)
class RequestLeft:
    """What becomes of the request of a run of which no batch has come: it is sent all the same, or people are told.

    why: how the run has ended.
    is_wanted: asked, where there is such a request, whether it is to be sent: no person has ended the run.
    """

    why: str
    is_wanted: Question


@dataclass(frozen=True)
class RunEnd:
    """What becomes of what a run leaves. `request` None: people have been told of it."""

    wave: Ending
    request: RequestLeft | None


def seen_by_settle(
    run: own_request.Run, *, planned: bool, is_told: bool, plan_was_away: Question, given_up: Ids
) -> RunEnd:
    """The end as the settle task sees it, behind all the others.

    Args:
        planned: the plan has succeeded.
        is_told: it has not, and people have been told why.
        plan_was_away: whether it has given up since the store was away.
        given_up: as `Ending` has it.
    """
    ending = Ending(
        critical="" if planned or is_told else PLAN_FAILED,
        given_up=given_up,
        told_as=own_request.told_as(run),
        since=own_request.made_at(run),
    )
    if planned:
        return RunEnd(ending, RequestLeft(MARKED, is_wanted=_no))
    return RunEnd(ending, None if is_told else RequestLeft(PLAN_FAILED, is_wanted=plan_was_away))


def seen_by_callback(run: own_request.Run | None, *, reason: str, plan_was_away: Question) -> RunEnd:
    """The end as Airflow tells it to the run's callback. No person has ended it: that calls nobody (Airflow 3.3.2).

    Args:
        run: None: the context has none.
        reason: Airflow's word for it.
    """
    critical = _REASONS.get(reason, ENDED_EARLY)
    ending = Ending(
        critical=critical,
        told_as=own_request.told_as(run) if run is not None else "",
        since=own_request.made_at(run) if run is not None else None,
    )
    if reason == "task_failure":  # its settle could not see to it
        return RunEnd(ending, RequestLeft(PLAN_FAILED, is_wanted=plan_was_away))
    return RunEnd(ending, RequestLeft(critical or MARKED, is_wanted=_yes if critical else _no))


def request_left(run_id: str, runs: Runs, *, plan_was_away: Question) -> RequestLeft:
    """What becomes of the request of a run that is over, and that the sweep has found without a batch."""
    why = _why(run_id, runs)
    if not why:
        return RequestLeft(PLAN_FAILED, is_wanted=plan_was_away)
    return RequestLeft(why, is_wanted=_no if why == STOPPED else _yes)


def _why(run_id: str, runs: Runs) -> str:
    """Why a run is over that did not come to its end by itself; empty: it did. `STOPPED`: a person wanted it so."""
    settle = runs.settle_state(run_id)
    if settle in OVER:
        return ""
    if settle != "skipped":
        return ENDED_EARLY
    # Airflow (3.3.2) skips what has not ended, both where a run has no time left and where a person marks it
    return TIMED_OUT if runs.has_timed_out(run_id) else STOPPED


def _yes() -> bool:
    return True


def _no() -> bool:
    return False
