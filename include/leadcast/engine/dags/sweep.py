"""Builds the DAG `sweep`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from leadcast.engine.dag_ids import SWEEP
from leadcast.engine.dags.parts import in_pool, ring_after
from leadcast.engine.dags.sweep_operator import SweepOperator
from leadcast.integrations import registry

SWEEP_EVERY_MIN = 1


def sweep_dag(**kwargs: Any) -> DAG:
    """sweep → ring: what no wave is going to do any more."""
    with DAG(
        dag_id=SWEEP,
        schedule=timedelta(minutes=SWEEP_EVERY_MIN),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        dagrun_timeout=timedelta(minutes=10),
        default_args={"owner": "leadcast"},
        **kwargs,
    ) as dag:
        sweep = SweepOperator(task_id="sweep", **in_pool(registry.NOTIFICATIONS_QUEUE))
        ring_after(sweep)
    return dag
