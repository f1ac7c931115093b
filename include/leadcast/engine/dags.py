"""Builds the DAGs, so that the files in the DAG folder stay pages that show the flow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, CronDataIntervalTimetable, Param

from leadcast.core.settings import Settings
from leadcast.engine import callbacks
from leadcast.engine.conf_guard import DAG_ID
from leadcast.engine.mapping import WorkList
from leadcast.engine.operators import RING_STUB, DeliverOperator, PlanOperator, RingOperator, SettleOperator
from leadcast.engine.policy import PAUSE_S, TRIES_WHILE_AWAY, AwayRetryPolicy, LedgerRetryPolicy
from leadcast.engine.retry_operator import RetryOperator, window_form
from leadcast.engine.sweep_operator import SweepOperator
from leadcast.engine.work_lists import stub_of, task_of
from leadcast.integrations import registry

MAX_ACTIVE_RUNS = 256
"""A run goes on until its slowest integration is through. One whose queue stands still takes a run with each wave, and
when it has them all, no other lead goes out. More of them are no way out: the scheduler looks at 20 in a round."""
MAX_ACTIVE_TASKS = 1000
"""Of one run. The pools say how many run at once; Airflow's default, 16, would bound a wave of many leads."""
SWEEP_EVERY_MIN = 1
RETRY_RETRIES = 3
RETRY_RETRY_DELAY_S = 120


def form() -> dict[str, Param]:
    """The fields of Airflow's Trigger form. Their checks are loose and repeat no secret: the real ones are ours."""
    return {
        "lead_id": Param(None, type=["string", "integer", "null"], title="Lead", description="Id of the lead."),
        "integrations": Param(
            None,
            type=["array", "null"],
            items={"type": "object"},
            title="Integrations",
            description=f'[{{"type": "telegram", "settings": {{}}}}]; there are: {", ".join(registry.types())}.',
        ),
        "credentials": Param(
            None,
            type=["object", "null"],
            title="Credentials",
            description='By type; sealed before they are stored. Or {"telegram": {"conn_id": "…"}}, or none: the '
            "connections leadcast_<type> are used.",
        ),
        "lead": Param(
            None, type=["object", "null"], title="Lead data", description="name, phone, email, …; empty: a stored lead."
        ),
        "callback_url": Param(None, type=["string", "null"], title="Callback URL"),
        "priority": Param("normal", type=["string", "null"], enum=["high", "normal", "low", None], title="Priority"),
    }


def send_lead_dag(settings: Settings, **kwargs: Any) -> DAG:
    """plan → a mapped deliver operator per registered integration, in its own pool and queue → settle."""
    with DAG(
        dag_id=DAG_ID,
        schedule=None,
        catchup=False,
        params=form(),
        render_template_as_native_obj=False,
        max_active_runs=MAX_ACTIVE_RUNS,
        max_active_tasks=MAX_ACTIVE_TASKS,
        is_paused_upon_creation=False,  # does nothing by itself, and paused it would keep leads waiting
        dagrun_timeout=timedelta(seconds=settings.wave_timeout_s),
        on_success_callback=callbacks.after_run,
        on_failure_callback=callbacks.after_run,
        default_args={"owner": "leadcast"},
        **kwargs,
    ) as dag:
        plan = PlanOperator(
            task_id="plan",
            execution_timeout=timedelta(seconds=settings.timeout_s),
            **_while_away(),
            **_in(registry.NOTIFICATIONS_QUEUE),
        )
        settle = SettleOperator(
            task_id="settle",
            trigger_rule="all_done",
            execution_timeout=timedelta(seconds=settings.timeout_s),
            # nobody is told of a try after which there is another
            on_success_callback=callbacks.after_settle,
            on_failure_callback=callbacks.after_settle,
            **_while_away(),
            **_in(registry.NOTIFICATIONS_QUEUE),
        )
        for kind in registry.types():
            stub = WorkList(task_id=stub_of(kind), source=plan.task_id, **_in(registry.NOTIFICATIONS_QUEUE))
            plan >> stub >> _deliver(kind, settings).expand(work=stub.output) >> settle
        _ring(plan) >> settle
    return dag


def sweep_dag(**kwargs: Any) -> DAG:
    """sweep → ring: what no wave is going to do any more."""
    with DAG(
        dag_id="sweep",
        schedule=timedelta(minutes=SWEEP_EVERY_MIN),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        dagrun_timeout=timedelta(minutes=10),
        default_args={"owner": "leadcast"},
        **kwargs,
    ) as dag:
        sweep = SweepOperator(task_id="sweep", **_in(registry.NOTIFICATIONS_QUEUE))
        _ring(sweep)
    return dag


def retry_leads_dag(**kwargs: Any) -> DAG:
    """retry → ring: what has failed of the leads of the run's window, and may pass."""
    with DAG(
        dag_id="retry_leads",
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
            **_in(registry.NOTIFICATIONS_QUEUE),
        )
        _ring(retry, label="{{ ti.xcom_pull(task_ids='retry')['put_back'] }}")
    return dag


def _ring(source: BaseOperator, *, label: str | None = None) -> Any:
    """Creates the run whose id `source` has put into the list; nothing, and no process, where there is none.

    Args:
        label: what a person sees of it in the grid; a template.
    """
    stub = WorkList(task_id=RING_STUB, source=source.task_id, **_in(registry.NOTIFICATIONS_QUEUE))
    ring = RingOperator.partial(task_id="ring", map_index_template=label, **_in(registry.NOTIFICATIONS_QUEUE)).expand(
        run=stub.output
    )
    source >> stub
    return ring


def _deliver(kind: str, settings: Settings) -> Any:
    rules = settings.delivering(kind)
    return DeliverOperator.partial(
        task_id=task_of(kind),
        integration=kind,
        retries=rules.tries - 1,
        retry_delay=timedelta(seconds=rules.retry_delay_s),
        retry_policy=LedgerRetryPolicy(),
        # the attempt bounds its own calls; this is for what hangs elsewhere
        execution_timeout=timedelta(seconds=rules.timeout_s + 30),
        map_index_template="{{ label }}",
        **_in(registry.queue_of(kind)),
    )


def _while_away() -> dict[str, Any]:
    """Tried again until the store is back."""
    return {
        "retries": TRIES_WHILE_AWAY - 1,
        "retry_delay": timedelta(seconds=PAUSE_S),  # where the process has died
        "retry_policy": AwayRetryPolicy(),
    }


def _in(name: str) -> dict[str, Any]:
    """A pool and the Celery queue of the same name."""
    return {"pool": name, "queue": name}
