"""What is done when a wave is over: settle what is left, then tell people. Called by the settle task and by the run.

The settle task's callbacks run at once in its worker, but not when the run timed out or the process was killed; the
run's own callbacks run in those cases too, in the dag-processor, where a slow mail server would hold up parsing. Both
call the same function; what one has done the other finds done. A run that a person marks has no callbacks at all in
Airflow 3.3.2: the sweep finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import structlog

log = structlog.get_logger("leadcast.callbacks")

IN_WORKER_S = 8.0
IN_DAG_PROCESSOR_S = 5.0
EACH_S = 10.0
"""How long one thing may take in either. Airflow kills a worker's process 20 s after its task has ended ([core]
task_success_overtime), and whatever was being sent then would be sent again."""
IN_SWEEP_S = 60.0


def after_settle(context: Mapping[str, Any]) -> None:
    """Callback of the settle task, success and failure alike."""
    tell(context, bound_s=IN_WORKER_S, each_s=EACH_S)


def after_run(context: Mapping[str, Any]) -> None:
    """Callback of the run, success and failure alike. Logs its own errors: Airflow shows those of a run to nobody."""
    try:
        _settle(context)
        tell(context, bound_s=IN_DAG_PROCESSOR_S, each_s=EACH_S)
    except Exception:
        log.exception("callback failed", run_id=context.get("run_id"))


def _settle(context: Mapping[str, Any]) -> None:
    from leadcast.engine.runs import own_request, unplanned
    from leadcast.engine.runs.ended import ENDED_EARLY, PLAN_FAILED, TIMED_OUT
    from leadcast.engine.tell.settling import settler

    run_id, reason, run = context["run_id"], context["reason"], context.get("dag_run")
    # nothing to say of a run that came to its end by itself, and be it that its settle failed since every batch had
    critical = {"success": "", "task_failure": "", "timed_out": TIMED_OUT}.get(reason, ENDED_EARLY)
    try:
        if run is not None and reason == "task_failure":
            if own_request.is_lost(run):  # its settle could not see to it
                unplanned.see_to(run, unplanned.End(PLAN_FAILED, is_wanted=unplanned.plan_was_away(context)))
        elif run is not None:
            unplanned.see_to(run, unplanned.End(critical or unplanned.MARKED, is_wanted=bool(critical)))
    finally:
        told_as, since = (own_request.told_as(run), own_request.made_at(run)) if run is not None else ("", None)
        # no person has ended it: that calls nobody
        settler().wave(run_id, over=True, critical=critical, requeue_begun=True, told_as=told_as, since=since)


def tell(context: Mapping[str, Any], *, bound_s: float, each_s: float = inf) -> None:
    """Sends what is due in the outbox, beginning nothing after `bound_s` seconds; one thing takes at most `each_s`."""
    from leadcast.engine.settings import config, connections
    from leadcast.engine.tell.senders import Senders
    from leadcast.flow.notify import Dispatcher

    senders = Senders(config.settings(), connections.fields, context)
    Dispatcher(store=config.store(), senders=senders.by_channel()).flush(bound_s=bound_s, each_s=each_s)
