"""The operators at both ends of a wave, plan and settle, and the one that rings for another. Between them stands
`DeliverOperator` (deliver_operator.py)."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.dags.work_lists import stub_of
from leadcast.engine.runs import own_request
from leadcast.engine.runs.run_states import task_states

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from leadcast.core.ending import Ending
    from leadcast.flow.settle import Settler

_KILLED_AFTER_S = 10
"""Airflow asks the process of a task that a person has marked to end, and kills it after 5 s."""
RING_STUB = "in_ring"
TOLD = "told"
"""XCom of a plan that has told people itself why it failed."""


class PlanOperator(BaseOperator):
    """Accepts the run's own `conf`, looks what is due, and hands each integration its tasks."""

    def execute(self, context: Context) -> None:
        """Plans the wave. What it hands on are ids and labels, never lead data or secrets.

        Raises:
            AirflowFailException: the run's own request cannot be accepted. People are told: nothing else knows of it.
        """
        from airflow.sdk.exceptions import AirflowFailException

        from leadcast.core.errors import LeadTableError, SettingsError, StoreError
        from leadcast.core.request_errors import RequestRejected
        from leadcast.engine.dags import mapping, work_lists
        from leadcast.engine.runs.unplanned import AWAY
        from leadcast.engine.settings import config
        from leadcast.flow.plan import plan
        from leadcast.integrations import registry

        run_id, ti = context["run_id"], context["ti"]
        try:
            own_batch_id = self._accept_conf(context)
        except (RequestRejected, SettingsError) as error:
            self._tell(context, error)
            raise AirflowFailException(f"Refused: {error}") from None
        except LeadTableError as error:
            if ti.try_number > (ti.max_tries or 0):
                self._tell(context, error)
            raise
        except StoreError as error:
            if error.is_away and ti.try_number > (ti.max_tries or 0):
                ti.xcom_push(key=AWAY, value=True)
            raise
        since = own_request.made_at(context["dag_run"])
        made = plan(config.store(), config.settings(), run_id=run_id, own_batch_id=own_batch_id, since=since)
        lists: dict[str, list[Any]] = {stub_of(kind): work_lists.items(made, kind) for kind in registry.types()}
        if ti.try_number > 1:
            work_lists.keep_places(context, lists)
        ti.xcom_push(key=work_lists.OWN, value=work_lists.own_of(lists))
        mapping.feed(context, lists)

    def _accept_conf(self, context: Context) -> str | None:
        """The batch of a run that was triggered with a request as its `conf`; None for a bell."""
        return own_request.accept(context["dag_run"])

    def _tell(self, context: Context, error: Exception) -> None:
        from leadcast.engine.runs import unplanned

        unplanned.refused(context["dag_run"], error)
        context["ti"].xcom_push(key=TOLD, value=True)


class RingOperator(BaseOperator):
    """Creates the run for what is due and has no task.

    Args:
        run: its run id, from the sweep or from `retry_leads`.
    """

    def __init__(self, *, run: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = run

    def execute(self, context: Context) -> None:
        """Triggers it, as Airflow's own operator does; that one is imported here since it is heavy (0.7 s)."""
        from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

        TriggerDagRunOperator(
            task_id=f"{self.task_id}_trigger",
            trigger_dag_id=DAG_ID,
            trigger_run_id=self.run,
            skip_when_already_exists=True,
        ).execute(context)


class SettleOperator(BaseOperator):
    """Gives every batch of the run the status that the ledger says it has. Fails the run when all of them failed."""

    def execute(self, context: Context) -> None:
        """Settles the run's batches, tells people of a plan that failed, and rings for what is due by now.

        Raises:
            AirflowFailException: plan failed, or every batch of the run failed.
        """
        from airflow.sdk.exceptions import AirflowFailException

        from leadcast.engine.dags import work_lists
        from leadcast.engine.runs import unplanned
        from leadcast.engine.runs.bell import ring_from_here
        from leadcast.engine.runs.ended import seen_by_settle
        from leadcast.engine.settings import config
        from leadcast.engine.tell.settling import settler
        from leadcast.flow.plan import ring_for_rest
        from leadcast.flow.settle import all_failed

        run_id, run = context["run_id"], context["dag_run"]
        settles = settler()
        planned = task_states(context, "plan").get("plan") == "success"
        is_told = not planned and context["ti"].xcom_pull(task_ids="plan", key=TOLD)
        end = seen_by_settle(
            run,
            planned=planned,
            is_told=bool(is_told),
            plan_was_away=lambda: unplanned.plan_was_away(context),
            given_up=cache(lambda: work_lists.marked_as_done(context, still_open=settles.still_open)),
        )
        unplanned.see_to(run, end.request)
        self._wait_for_marked(settles, end.wave)
        settled = settles.wave(run_id, end.wave)
        # what came while its lane had tasks, and what these have left, need not wait for the sweep
        next_run_id = ring_for_rest(config.store(), config.settings())
        if next_run_id is not None:
            ring_from_here(next_run_id)
        if not planned:
            raise AirflowFailException("The plan of this wave failed. A later run sends what is due.")
        if all_failed(settled):
            raise AirflowFailException(f"All {len(settled)} batches that were begun in this run failed.")

    def _wait_for_marked(self, settler: Settler, ending: Ending) -> None:
        """Who marks a task as a success while it sends has seen to its delivery, and only this run knows. Airflow kills
        the process; what it has begun can be ended once its lease is over."""
        for _ in range(settler.settings.worker_lease_s + _KILLED_AFTER_S):
            marked = ending.given_up()
            if not marked or not settler.held(marked):
                return
            time.sleep(1)
