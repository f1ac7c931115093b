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
    from leadcast.engine.runs import unplanned
    from leadcast.engine.runs.ended import seen_by_callback
    from leadcast.engine.tell.settling import settler

    run = context.get("dag_run")
    end = seen_by_callback(run, reason=context["reason"], plan_was_away=lambda: unplanned.plan_was_away(context))
    try:
        if run is not None:
            unplanned.see_to(run, end.request)
    finally:
        settler().wave(context["run_id"], end.wave)


def tell(context: Mapping[str, Any], *, bound_s: float, each_s: float = inf) -> None:
    """Sends what is due in the outbox, beginning nothing after `bound_s` seconds; one thing takes at most `each_s`."""
    from leadcast.engine.settings import config, connections
    from leadcast.engine.tell.senders import Senders
    from leadcast.flow.notify import Dispatcher

    senders = Senders(config.settings(), connections.fields, context)
    Dispatcher(store=config.store(), senders=senders.by_channel()).flush(bound_s=bound_s, each_s=each_s)
