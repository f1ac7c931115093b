"""Which deliveries each mapped task of a run has: those of the chunk at its index in the list which plan has written.

A person may clear plan alone while the run goes on. The tasks of before stay as they are then, by index, so the list
keeps what they have at its place, and what is new comes after it. It has no task in this run: a later one sends it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from leadcast.engine.runs.run_states import task_states
from leadcast.integrations import registry

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from leadcast.flow.deliver.chunk import ChunkEnd
    from leadcast.store.batches.claims import Ref

ONE_BY_ONE = 4
"""So few deliveries have a task each, which is called after its lead."""
MOST = 50
"""So many deliveries has a chunk at most: what is sent within a minute or so at the pace of the slower services."""
_DONE = "success"
_FAILED = ("failed", "upstream_failed")
_NOT_THERE = (None, "removed")


def stub_of(integration_type: str) -> str:
    """Task id of the stub that carries an integration's list."""
    return f"in_{integration_type}"


def task_of(integration_type: str) -> str:
    """Task id of the mapped tasks that send it."""
    return f"deliver_{integration_type}"


def chunks(refs: Sequence[Ref], kind: str) -> list[dict[str, Any]]:
    """Cuts the deliveries of one integration into what a task each sends: ids and a label, which Airflow stores.

    One with which a wave has died before has a task of its own: what it does to it, it does to no other.
    """
    sound, doubtful = [ref for ref in refs if ref.claims <= 1], [ref for ref in refs if ref.claims > 1]
    size = 1 if len(sound) <= ONE_BY_ONE else ceil(len(sound) / ceil(len(sound) / MOST))
    parts = [sound[start : start + size] for start in range(0, len(sound), size)]
    return [_chunk(part, kind) for part in (*parts, *([ref] for ref in doubtful))]


def _chunk(refs: Sequence[Ref], kind: str) -> dict[str, Any]:
    parts = [{"delivery_id": ref.delivery_id, "batch_id": ref.batch_id} for ref in refs]
    return {"parts": parts, "label": f"{refs[0].lead_id} → {kind}" if len(refs) == 1 else _label(parts, kind)}


def _label(parts: Sequence[Any], kind: str) -> str:
    return f"{len(parts)} leads → {kind}"


def ended_label(label: str, end: ChunkEnd) -> str:
    """The label of a chunk with what has come of it."""
    counts = {
        "delivered": end.arrived,
        "failed": len(end.failed),
        "wait": len(end.waits),
        "to be sent": len(end.comes_back) + end.not_begun + len(end.away) + len(end.broken),
    }
    return f"{label}: {', '.join(f'{count} {what}' for what, count in counts.items() if count)}"


def parts_of(item: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """The deliveries of a chunk, each with its batch. A run that was planned before an upgrade has one in each item."""
    alone = {name: item[name] for name in ("delivery_id", "batch_id") if name in item}
    return [alone] if alone else list(item["parts"])


def _ids(item: Mapping[str, Any]) -> list[str]:
    return [part["delivery_id"] for part in parts_of(item)]


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
        known = {delivery_id for item in had for delivery_id in _ids(item)}
        found = [item for each in lists[stub_of(kind)] if (item := _without(each, known, kind))["parts"]]
        lists[stub_of(kind)] = [*had, *found][: max(at_most, len(had))]


def _without(item: Mapping[str, Any], known: Collection[str], kind: str) -> Mapping[str, Any]:
    """What is new of a chunk."""
    parts = [part for part in item["parts"] if part["delivery_id"] not in known]
    return item if len(parts) == len(item["parts"]) else {"parts": parts, "label": _label(parts, kind)}


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
    return {
        delivery_id: mapped.get(index) if mapped else together
        for index, item in enumerate(work)
        for delivery_id in _ids(item)
    }


def _mapped(states: Mapping[str, str | None], kind: str) -> dict[int, str | None]:
    """Map index → how the task there stands."""
    start = f"{task_of(kind)}_"
    return {
        int(name.removeprefix(start)): state
        for name, state in states.items()
        if name.startswith(start) and name.removeprefix(start).isdigit()
    }
