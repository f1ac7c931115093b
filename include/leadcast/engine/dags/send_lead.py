"""Builds the DAG `send_lead`, so that its file in the DAG folder stays a page that shows the flow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from leadcast.core.settings import Settings
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.dags import callbacks
from leadcast.engine.dags.deliver_operator import DeliverOperator
from leadcast.engine.dags.mapping import WorkList
from leadcast.engine.dags.parts import in_pool
from leadcast.engine.dags.policy import PAUSE_S, TRIES_WHILE_AWAY, AwayRetryPolicy, LedgerRetryPolicy
from leadcast.engine.dags.wave_operators import PlanOperator, SettleOperator
from leadcast.engine.dags.work_lists import stub_of, task_of
from leadcast.flow.deliver.chunk import BEGINS_FOR_S
from leadcast.integrations import registry

MAX_ACTIVE_RUNS = 256
"""A run ends when its slowest task has. One that waits for a queue which stands still is joined by no other."""
MAX_ACTIVE_TASKS = 1000
"""Of one run. The pools say how many run at once; Airflow's default is 16."""


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
            **in_pool(registry.NOTIFICATIONS_QUEUE),
        )
        settle = SettleOperator(
            task_id="settle",
            trigger_rule="all_done",
            execution_timeout=timedelta(seconds=settings.timeout_s),
            # nobody is told of a try after which there is another
            on_success_callback=callbacks.after_settle,
            on_failure_callback=callbacks.after_settle,
            **_while_away(),
            **in_pool(registry.NOTIFICATIONS_QUEUE),
        )
        for kind in registry.types():
            stub = WorkList(task_id=stub_of(kind), source=plan.task_id, **in_pool(registry.NOTIFICATIONS_QUEUE))
            plan >> stub >> _deliver(kind, settings).expand(work=stub.output) >> settle
    return dag


def _deliver(kind: str, settings: Settings) -> Any:
    rules = settings.delivering(kind)
    return DeliverOperator.partial(
        task_id=task_of(kind),
        integration=kind,
        retries=rules.tries - 1,
        retry_delay=timedelta(seconds=rules.retry_delay_s),
        retry_policy=LedgerRetryPolicy(),
        # an attempt bounds its own calls, and a chunk begins none later; this is for what hangs elsewhere
        execution_timeout=timedelta(seconds=BEGINS_FOR_S + rules.timeout_s + 30),
        map_index_template="{{ label }}",
        **in_pool(registry.queue_of(kind)),
    )


def _while_away() -> dict[str, Any]:
    """Tried again until the store is back."""
    return {
        "retries": TRIES_WHILE_AWAY - 1,
        "retry_delay": timedelta(seconds=PAUSE_S),  # where the process has died
        "retry_policy": AwayRetryPolicy(),
    }
