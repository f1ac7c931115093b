"""Builds the DAG `retry_leads`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable

from leadcast.engine.dag_ids import RETRY_LEADS
from leadcast.engine.dags.parts import in_pool, ring_after
from leadcast.engine.dags.retry_operator import RetryOperator, window_form
from leadcast.integrations import registry

RETRY_RETRIES = 3
RETRY_RETRY_DELAY_S = 120


def retry_leads_dag(**kwargs: Any) -> DAG:
    """retry → ring: what has failed of the leads of the run's window, and may pass."""
    with DAG(
        dag_id=RETRY_LEADS,
        # "@hourly" is a schedule without an interval since Airflow 3
        schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        params=window_form(),
        max_active_runs=1,
        is_paused_upon_creation=False,
        dagrun_timeout=timedelta(hours=2),
        default_args={"owner": "leadcast"},
        **kwargs,
    ) as dag:
        retry = RetryOperator(
            task_id="retry",
            # the DAG's max_active_runs does not bind backfills (Airflow 3.3.2)
            max_active_tis_per_dag=1,
            # a scheduled run comes once, and the store may be away just then
            retries=RETRY_RETRIES,
            retry_delay=timedelta(seconds=RETRY_RETRY_DELAY_S),
            execution_timeout=timedelta(minutes=20),
            **in_pool(registry.NOTIFICATIONS_QUEUE),
        )
        ring_after(retry, label="{{ ti.xcom_pull(task_ids='retry')['put_back'] }}")
    return dag
