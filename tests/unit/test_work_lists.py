"""Which delivery a mapped task of a run has, also once its plan was run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from leadcast.core.errors import AttemptFailed, TransientError
from leadcast.engine.dags import work_lists
from leadcast.flow.deliver.chunk import ChunkEnd
from leadcast.integrations import registry
from leadcast.store.batches.claims import Ref


def context(states: Mapping[str, str | None], lists: Mapping[str, Sequence[str]]) -> Any:
    """Of a run whose tasks stand so, and whose lists have these deliveries."""

    def states_of(*, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        (task_id,) = task_ids
        return {run_ids[0]: {name: state for name, state in states.items() if name.startswith(task_id)}}

    def pulled(task_ids: str) -> list[dict[str, Any]] | None:
        return work(*lists[task_ids]) if task_ids in lists else None

    return {"run_id": "w", "ti": SimpleNamespace(get_task_states=states_of, xcom_pull=pulled)}


def work(*chunks: str) -> list[dict[str, Any]]:
    """Chunks, each of these deliveries."""
    return [{"parts": [{"delivery_id": part} for part in chunk.split()], "label": chunk} for chunk in chunks]


def planned_again(
    states: Mapping[str, str | None], *, had: Sequence[str], found: Sequence[str], at_most: int = 1000
) -> list[str]:
    lists = {work_lists.stub_of(kind): work() for kind in registry.types()} | {"in_telegram": work(*found)}
    work_lists.keep_places(context(states, {"in_telegram": had}), lists, at_most=at_most)
    return [" ".join(part["delivery_id"] for part in item["parts"]) for item in lists["in_telegram"]]


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "running", "up_for_retry", "queued"])
def test_what_tasks_have_keeps_its_place_and_what_is_new_comes_after_it(state: str) -> None:
    states = {"deliver_telegram_0": state, "deliver_telegram_1": None}
    assert planned_again(states, had=["a", "b"], found=["c", "b"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "states",
    [
        {},
        {"deliver_telegram": None},
        {"deliver_telegram": "skipped"},
        {"deliver_telegram_0": None},
        {"deliver_telegram_0": None, "deliver_telegram_1": "removed"},
    ],
)
def test_where_no_task_is_under_way_the_list_is_what_plan_has_found(states: dict[str, str | None]) -> None:
    """A whole run is cleared, or its plan is tried again."""
    assert planned_again(states, had=["a", "b"], found=["c", "b"]) == ["c", "b"]


def test_there_are_never_more_than_airflow_maps_over() -> None:
    states = {"deliver_telegram_0": "success"}
    assert planned_again(states, had=["a", "b"], found=["c", "d"], at_most=3) == ["a", "b", "c"]


def test_a_task_speaks_for_its_own_delivery() -> None:
    states = {"deliver_telegram_0": "success", "deliver_telegram_1": "failed", "deliver_telegram_10": "skipped"}
    ids = [f"d{index}" for index in range(12)]
    of_run = context(states, {"in_telegram": ids})
    assert work_lists.marked_as_done(of_run) == {"d0"}
    assert work_lists.failed(of_run) == {"d1"}, "not what came to the list later, and has no task"


@pytest.mark.parametrize(("state", "blamed"), [("upstream_failed", {"a"}), ("failed", {"a"}), ("skipped", set())])
def test_where_no_tasks_could_be_made_all_that_were_to_be_made_have_failed(state: str, blamed: set[str]) -> None:
    assert work_lists.failed(context({"deliver_telegram": state}, {"in_telegram": ["a"]})) == blamed


def refs(count: int) -> list[Ref]:
    return [Ref(f"d{number}", f"b{number}", f"lead-{number}", "telegram") for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 49, 50, 51, 100, 101, 1000])
def test_the_chunks_of_a_list_are_all_of_it_once_in_its_order(count: int) -> None:
    chunks = work_lists.chunks(refs(count), "telegram")
    parts = [(part["delivery_id"], part["batch_id"]) for item in chunks for part in item["parts"]]
    assert parts == [(f"d{number}", f"b{number}") for number in range(count)]
    sizes = [len(item["parts"]) for item in chunks]
    assert max(sizes, default=0) <= work_lists.MOST
    assert max(sizes, default=0) - min(sizes, default=0) <= len(sizes), "as even as they can be"


def test_a_few_leads_have_a_task_each_which_is_called_after_them() -> None:
    assert [item["label"] for item in work_lists.chunks(refs(2), "telegram")] == [
        "lead-0 → telegram",
        "lead-1 → telegram",
    ]
    assert [item["label"] for item in work_lists.chunks(refs(60), "telegram")] == ["30 leads → telegram"] * 2


def test_one_with_which_a_wave_has_died_has_a_task_of_its_own() -> None:
    """What it does to its process, it does to no other."""
    doubtful = [Ref(f"x{number}", "b", "lead", "telegram", claims=2) for number in range(2)]
    chunks = work_lists.chunks([doubtful[0], *refs(9), doubtful[1]], "telegram")
    assert [[part["delivery_id"] for part in item["parts"]] for item in chunks] == [
        [f"d{number}" for number in range(9)],
        ["x0"],
        ["x1"],
    ]


def test_a_task_speaks_for_its_whole_chunk() -> None:
    of_run = context({"deliver_telegram_0": "success", "deliver_telegram_1": "failed"}, {"in_telegram": ["a b", "c d"]})
    assert work_lists.marked_as_done(of_run) == {"a", "b"}
    assert work_lists.failed(of_run) == {"c", "d"}


def test_a_run_that_was_planned_before_an_upgrade_goes_on() -> None:
    planned = {"delivery_id": "d0", "batch_id": "b0", "label": "7 → telegram"}
    assert work_lists.parts_of(planned) == [{"delivery_id": "d0", "batch_id": "b0"}]


def test_of_a_chunk_that_plan_has_found_again_only_what_is_new_comes_after_the_others() -> None:
    states = {"deliver_telegram_0": "success"}
    assert planned_again(states, had=["a b", "c"], found=["b c d", "a"]) == ["a b", "c", "d"]


def test_what_has_come_of_a_chunk_stands_in_its_label() -> None:
    failed = AttemptFailed(TransientError("No."), retry_in_s=None)
    end = ChunkEnd(arrived=20, failed=[failed, failed], waits=[failed], not_begun=2)
    ended = work_lists.ended_label("25 leads → telegram", end)
    assert ended == "25 leads → telegram: 20 delivered, 2 failed, 1 wait, 2 to be sent"
