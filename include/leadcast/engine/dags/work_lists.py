"""Which delivery each mapped task of a run has: that at its index in the list which plan has written.

A person may clear plan alone while the run goes on. The tasks of before stay as they are then, by index, so the list
keeps what they have at its place, and what is new comes after it. It has no task in this run: a later one sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leadcast.engine.runs.run_states import task_states
from leadcast.integrations import registry

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

_DONE = "success"
_FAILED = ("failed", "upstream_failed")
_NOT_THERE = (None, "removed")


def stub_of(integration_type: str) -> str:
    """Task id of the stub that carries an integration's list."""
    return f"in_{integration_type}"


def task_of(integration_type: str) -> str:
    """Task id of the mapped tasks that send it."""
    return f"deliver_{integration_type}"


def keep_places(context: Context, lists: dict[str, list[Any]], *, at_most: int) -> None:
    """Puts what the tasks of this run have before what its plan, run again, has found.

    Args:
        lists: stub → what plan has found; changed in place.
        at_most: so many tasks of one kind may there be. What is beyond is not begun, and a later run sends it.
    """
    for kind in registry.types():
        tasks = _mapped(task_states(context, task_of(kind)), kind)
        if all(state in _NOT_THERE for state in tasks.values()):
            continue  # they are started anew, too
        had = context["ti"].xcom_pull(task_ids=stub_of(kind)) or []
        known = {item["delivery_id"] for item in had}
        found = [item for item in lists[stub_of(kind)] if item["delivery_id"] not in known]
        lists[stub_of(kind)] = [*had, *found][: max(at_most, len(had))]


def marked_as_done(context: Context) -> set[str]:
    """Ids of deliveries whose task is a success. Asked of what the ledger has open, it was none by itself: somebody has
    marked it, and so has seen to them."""
    return _whose_task_is(context, _DONE)


def failed(context: Context) -> set[str]:
    """Ids of deliveries whose task has failed, or that none could be made for. What was skipped waits, or could not be
    begun while the store was away; what came to the list later has no task, which says nothing of it."""
    return _whose_task_is(context, *_FAILED)


def _whose_task_is(context: Context, *wanted: str) -> set[str]:
    stand = [item for kind in registry.types() for item in _by_delivery(context, kind).items()]
    return {delivery_id for delivery_id, state in stand if state in wanted}


def _by_delivery(context: Context, kind: str) -> Mapping[str, str | None]:
    """Delivery → how its task stands. Where none could be made, as all of them together do."""
    states = task_states(context, task_of(kind))
    mapped, together = _mapped(states, kind), states.get(task_of(kind))
    if not mapped and together not in _FAILED:
        return {}
    work = context["ti"].xcom_pull(task_ids=stub_of(kind)) or []
    return {item["delivery_id"]: mapped.get(index) if mapped else together for index, item in enumerate(work)}


def _mapped(states: Mapping[str, str | None], kind: str) -> dict[int, str | None]:
    """Map index → how the task there stands."""
    start = f"{task_of(kind)}_"
    return {
        int(name.removeprefix(start)): state
        for name, state in states.items()
        if name.startswith(start) and name.removeprefix(start).isdigit()
    }
