"""`SendBatchOperator`: how a task of another DAG sends a lead, and Airflow keeps no copy of its secrets and its person.

    from leadcast.engine.send_batch_operator import SendBatchOperator

Airflow's own `TriggerDagRunOperator` has its conf rendered into fields that whoever may look reads. This operator's
request is no such field: it is rendered while the task runs, accepted as it would be at `POST
/api/integrations/send-batch`, and only the batch's id comes back. Light to import, as a DAG file needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from leadcast.flow.inbox import Accepted

CALLER = "task"
"""Whose idempotency keys they are."""


class SendBatchOperator(BaseOperator):
    """Accepts a request for `send_lead`. Done again, be it as a retry or after a clear, it finds the batch of before,
    and sends nothing twice. The batch is of the user who has triggered the run, or of nobody.

    Args:
        request: what `POST /api/integrations/send-batch` takes. Its texts may hold Jinja templates, and its parts be
            what other tasks return; both are filled in while the task runs. Or a function, called with Airflow's
            context then, that returns it. What stands in the DAG's file itself lies in Airflow's database with that
            file: name connections there (`conn_id`), or fetch what is secret by a template or a function.

    Example:
        SendBatchOperator(
            task_id="send",
            request={
                "lead_id": "{{ params.lead_id }}",
                "integrations": [{"type": "telegram"}],
                "credentials": {"telegram": {"bot_token": "{{ var.value.bot_token }}", "chat_id": "@sales"}},
            },
        )
    """

    template_fields = ()
    """None, on purpose: Airflow keeps what these are rendered to."""

    def __init__(self, *, request: Mapping[str, Any] | Callable[[Context], Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        from airflow.sdk.definitions.xcom_arg import XComArg

        self._request = request
        # Airflow does so for template fields only
        XComArg.apply_upstream_relationship(self, request)

    def execute(self, context: Context) -> str:
        """Writes the batch into the inbox, and rings for a wave.

        Returns:
            The batch's id, which is all that comes to lie in XCom.

        Raises:
            AirflowFailException: the request cannot be filled in, or is refused; trying again would not mend it.
            StoreError, LeadTableError: the store, or the lead table, could not be used.
        """
        from airflow.sdk.exceptions import AirflowFailException

        from leadcast.core.errors import SettingsError
        from leadcast.core.request_errors import IdempotencyConflict, RequestRejected
        from leadcast.engine.runs.bell import ring_from_here

        key, request = _key(context), self._filled_in(context)
        try:
            accepted = _accept(request, key, sent_by=getattr(context["dag_run"], "triggering_user_name", None))
        except IdempotencyConflict:
            return self._sent_before(key)
        except (RequestRejected, SettingsError) as error:
            raise AirflowFailException(f"Refused: {error}") from None
        if accepted.must_ring and accepted.run_id:
            ring_from_here(accepted.run_id)
        self.log.info("Batch %s has %d deliveries.", accepted.batch_id, accepted.total_jobs)
        return accepted.batch_id

    def _filled_in(self, context: Context) -> Any:
        from airflow.sdk.exceptions import AirflowFailException
        from jinja2 import TemplateError

        given = self._request(context) if callable(self._request) else self._request
        try:
            return self.render_template(given, context, self.get_template_env())
        except TemplateError as error:
            # its traceback would show the text of the template
            raise AirflowFailException(f"The request's templates cannot be filled in: {type(error).__name__}") from None

    def _sent_before(self, key: str) -> str:
        """What an earlier try of this task has sent, though its request was filled in otherwise then."""
        from leadcast.engine.settings import config
        from leadcast.store.batches.batches import known, scoped_key

        with config.store().begin() as connection:
            found = known(connection, idempotency_key=scoped_key(CALLER, key))
        assert found is not None, "it was in the way a moment ago"
        self.log.warning("An earlier try of this task has sent batch %s, with another request.", found.batch_id)
        return found.batch_id


def _accept(request: Any, key: str, *, sent_by: str | None) -> Accepted:
    from leadcast.engine.settings import config

    return config.inbox().accept(request, idempotency_key=key, caller=CALLER, sent_by=sent_by or None)


def _key(context: Context) -> str:
    """Of this task of this run, whichever try it is; a run that has the id of a deleted one is another."""
    from leadcast.engine.runs.own_request import run_key

    ti = context["ti"]
    return f"{ti.dag_id} {run_key(context['dag_run'])} {ti.task_id} {ti.map_index}"
