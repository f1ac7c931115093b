"""What each mapped task of a run is for: what stands at its index in the list which plan has written.

A person may clear plan alone while the run goes on. The tasks of before stay as they are then, by index, so the list
keeps what they have at its place, and what is new comes after it. It has no task in this run: a later one sends it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from leadcast.engine.runs.run_states import task_states
from leadcast.integrations import registry

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from leadcast.flow.deliver.chunk import ChunkEnd
    from leadcast.flow.plan import Plan

OWN = "own"
"""XCom of a plan: ids of the deliveries that have a task each."""
_DONE = "success"
_NOT_THERE = (None, "removed")


def stub_of(integration_type: str) -> str:
    """Task id of the stub that carries an integration's list."""
    return f"in_{integration_type}"


def task_of(integration_type: str) -> str:
    """Task id of the mapped tasks that send it."""
    return f"deliver_{integration_type}"


def items(made: Plan, kind: str) -> list[dict[str, Any]]:
    """What each task of an integration is for: ids and a label, which Airflow stores. One without ids is for what is
    due when it begins."""
    own: list[dict[str, Any]] = [
        {
            "parts": [{"delivery_id": ref.delivery_id, "batch_id": ref.batch_id}],
            "label": f"{ref.lead_id} → {kind}",
        }
        for ref in made.work.get(kind, ())
    ]
    takers = made.takers.get(kind)
    if takers is None:
        return own
    return [*own, *({"parts": [], "label": f"leads → {kind}"} for _ in range(takers.count))]


def ended_label(label: str, end: ChunkEnd, *, is_own: bool, others: int) -> str:
    """The label of a task with what has come of it.

    Args:
        is_own: it was for a delivery, which its label names.
        others: how many more it has sent.
    """
    if is_own:
        return f"{label}, and {others} more" if others else label
    counts = {
        "delivered": end.arrived,
        "failed": len(end.failed),
        "wait": len(end.waits),
        "to be sent": len(end.comes_back) + len(end.away) + len(end.broken),
    }
    return f"{label}: {', '.join(f'{count} {what}' for what, count in counts.items() if count) or 'nothing was left'}"


def parts_of(item: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """The deliveries that a task is for, each with its batch: one or none. A run that was planned before an upgrade may
    have several, or one that stands there by itself."""
    alone = {name: item[name] for name in ("delivery_id", "batch_id") if name in item}
    return [alone] if alone else list(item["parts"])


def _ids(item: Mapping[str, Any]) -> list[str]:
    return [part["delivery_id"] for part in parts_of(item)]


def keep_places(context: Context, lists: dict[str, list[Any]]) -> None:
    """Puts what the tasks of this run have before what its plan, run again, has found.

    Args:
        lists: stub → what plan has found; changed in place.
    """
    for kind in registry.types():
        tasks = _mapped(task_states(context, task_of(kind)), kind)
        if all(state in _NOT_THERE for state in tasks.values()):
            continue  # they are started anew, too
        had = context["ti"].xcom_pull(task_ids=stub_of(kind)) or []
        known = {delivery_id for item in had for delivery_id in _ids(item)}
        found = [item for item in lists[stub_of(kind)] if known.isdisjoint(_ids(item))]
        lists[stub_of(kind)] = [*had, *found]


def own_of(lists: Mapping[str, list[Any]]) -> list[str]:
    """Ids of the deliveries that have a task each."""
    return [delivery_id for listed in lists.values() for item in listed for delivery_id in _ids(item)]


def marked_as_done(context: Context, *, still_open: Callable[[Collection[str]], set[str]]) -> set[str]:
    """Ids of deliveries that are open and whose task is a success: it was none by itself. Somebody has marked it, and
    so has seen to them.

    Args:
        still_open: those of deliveries that have not ended, by the ledger.
    """
    own = context["ti"].xcom_pull(task_ids="plan", key=OWN)
    if own is not None and not still_open(own):  # as it is nearly always: no task is asked for
        return set()
    done: set[str] = set()
    for kind in registry.types():
        tasks = _mapped(task_states(context, task_of(kind)), kind)
        places = [place for place, state in tasks.items() if state == _DONE]
        work = (context["ti"].xcom_pull(task_ids=stub_of(kind)) or []) if places else []
        done.update(delivery_id for place in places for delivery_id in _ids(work[place]))
    return still_open(done)


def _mapped(states: Mapping[str, str | None], kind: str) -> dict[int, str | None]:
    """Map index → how the task there stands."""
    start = f"{task_of(kind)}_"
    return {
        int(name.removeprefix(start)): state
        for name, state in states.items()
        if name.startswith(start) and name.removeprefix(start).isdigit()
    }
