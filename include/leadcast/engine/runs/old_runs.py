"""Old runs of our DAGs: which have been kept long enough, and their deletion, in Airflow's database or by its API.

With a run go its tasks, their XComs and notes. Nothing of another DAG's is ever touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from leadcast.core.clock import Clock, utc_now
from leadcast.core.settings import Settings
from leadcast.engine.dag_ids import SWEEP
from leadcast.engine.runs.airflow_api import AirflowApi

SUCCESS, FAILED = "success", "failed"
KEPT_SWEEPS = timedelta(days=1)
"""How long sweeps are kept that have found all well: there are 1440 of them a day."""
AT_ONCE = 200
"""Runs deleted in one transaction."""
AT_MOST = 20_000
"""Runs deleted through the API in a day."""

Advance = Callable[[int], None]
"""Told how many more runs are gone."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Runs of a DAG that ended in one of these states before a time are deleted."""

    dag_id: str
    states: Sequence[str]
    before: datetime


def rules(settings: Settings, *, dag_ids: Sequence[str], now: datetime) -> list[Rule]:
    """What the settings say, DAG by DAG."""
    listed = []
    if settings.keep_runs_days:
        before = now - timedelta(days=settings.keep_runs_days)
        listed = [Rule(dag_id=dag_id, states=(SUCCESS, FAILED), before=before) for dag_id in dag_ids]
    return [*listed, Rule(dag_id=SWEEP, states=(SUCCESS,), before=now - KEPT_SWEEPS)]


def count(listed: Sequence[Rule]) -> dict[str, int]:
    """How many runs the rules name: DAG → number. A run that two of them name counts once. Asks Airflow's database."""
    from airflow.utils.session import create_session
    from sqlalchemy import func, or_, select

    runs = _runs()
    with create_session() as session:
        query = select(runs.c.dag_id, func.count()).where(or_(*map(_named_by, listed))).group_by(runs.c.dag_id)
        return {row[0]: row[1] for row in session.execute(query.order_by(runs.c.dag_id))}


def delete(listed: Sequence[Rule], *, advance: Advance = lambda done: None) -> dict[str, int]:
    """Deletes these runs from Airflow's database, in small transactions. Returns how many: DAG → number."""
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select

    runs = _runs()
    gone: dict[str, int] = {}
    for rule in listed:
        while True:
            with create_session() as session:
                oldest = select(runs.c.id).where(_named_by(rule)).order_by(runs.c.id).limit(AT_ONCE)
                ids = list(session.scalars(oldest))
                # what belongs to a run goes with it by the database's own rules
                session.execute(delete(runs).where(runs.c.id.in_(ids), _named_by(rule)))
            if not ids:
                break
            gone[rule.dag_id] = gone.get(rule.dag_id, 0) + len(ids)
            advance(len(ids))
    return gone


async def delete_through(
    api: AirflowApi, listed: Sequence[Rule], *, until: datetime, clock: Clock = utc_now, at_most: int = AT_MOST
) -> Mapping[str, int]:
    """Deletes these runs through Airflow's API, up to a number and a time; the rest is left for another day.

    Returns:
        How many: DAG → number.

    Raises:
        AirflowApiError: the API does not answer, or refuses; what was deleted until then is.
    """
    gone: dict[str, int] = {}
    for rule in listed:
        while sum(gone.values()) < at_most and clock() < until:
            ids = await api.finished_runs(rule.dag_id, states=rule.states, before=rule.before)
            deleted = await api.delete_runs(rule.dag_id, ids) if ids else 0
            if not deleted:
                break
            gone[rule.dag_id] = gone.get(rule.dag_id, 0) + deleted
    return gone


def _named_by(rule: Rule) -> Any:
    from sqlalchemy import and_

    runs = _runs()
    return and_(runs.c.dag_id == rule.dag_id, runs.c.state.in_(rule.states), runs.c.end_date < rule.before)


def _runs() -> Any:
    from airflow.models.dagrun import DagRun

    return DagRun.__table__
