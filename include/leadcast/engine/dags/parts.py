"""What several of our DAGs have alike: a pool with the queue of its name, and the run that is rung for."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from leadcast.engine.dags.mapping import WorkList
from leadcast.engine.dags.wave_operators import RING_STUB, RingOperator
from leadcast.integrations import registry


def in_pool(name: str) -> dict[str, Any]:
    """A pool and the Celery queue of the same name."""
    return {"pool": name, "queue": name}


def ring_after(source: BaseOperator, *, label: str | None = None) -> Any:
    """Creates the run whose id `source` has put into the list; nothing, and no process, where there is none.

    Args:
        label: what a person sees of it in the grid; a template.
    """
    stub = WorkList(task_id=RING_STUB, source=source.task_id, **in_pool(registry.NOTIFICATIONS_QUEUE))
    ring = RingOperator.partial(
        task_id="ring", map_index_template=label, **in_pool(registry.NOTIFICATIONS_QUEUE)
    ).expand(run=stub.output)
    source >> stub
    return ring
