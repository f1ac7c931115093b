"""Builds the DAG `prune`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from leadcast.engine.dag_ids import PRUNE
from leadcast.engine.dags.parts import in_pool
from leadcast.engine.dags.prune_operators import DeleteRunsOperator, EraseOldOperator
from leadcast.integrations import registry


def prune_dag(**kwargs: Any) -> DAG:
    """erase_old, delete_runs: neither waits for the other."""
    with DAG(
        dag_id=PRUNE,
        schedule="17 3 * * *",
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        dagrun_timeout=timedelta(hours=3),
        default_args={
            "owner": "leadcast",
            **in_pool(registry.NOTIFICATIONS_QUEUE),
            "retries": 2,
            "retry_delay": timedelta(minutes=5),
            "execution_timeout": timedelta(hours=1),
        },
        **kwargs,
    ) as dag:
        EraseOldOperator(task_id="erase_old")
        DeleteRunsOperator(task_id="delete_runs")
    return dag
