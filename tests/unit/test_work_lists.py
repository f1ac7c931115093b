"""What a mapped task of a run is for, also once its plan was run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from leadcast.core.errors import AttemptFailed, NotBegun, TransientError
from leadcast.engine.dags import work_lists
from leadcast.flow.deliver.chunk import ChunkEnd, Part
from leadcast.flow.plan import Plan, Takers
from leadcast.integrations import registry
from leadcast.store.batches.lanes import Ref


def context(states: Mapping[str, str | None], lists: Mapping[str, Sequence[str]]) -> Any:
    """Of a run whose tasks stand so, and whose lists have these deliveries."""

    def states_of(*, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        (task_id,) = task_ids
        return {run_ids[0]: {name: state for name, state in states.items() if name.startswith(task_id)}}

    def pulled(task_ids: str, key: str = "return_value") -> list[Any] | None:
        if key == work_lists.OWN:
            return [delivery_id for listed in lists.values() for task in listed for delivery_id in task.split()]
        return work(*lists[task_ids]) if task_ids in lists else None

    return {"run_id": "w", "ti": SimpleNamespace(get_task_states=states_of, xcom_pull=pulled)}


MANY = ""
"""Stands for a task that is for whatever is due."""


def work(*tasks: str) -> list[dict[str, Any]]:
    """What tasks are for, each for these deliveries."""
    return [{"parts": [{"delivery_id": part} for part in task.split()], "label": task} for task in tasks]


def planned_again(states: Mapping[str, str | None], *, had: Sequence[str], found: Sequence[str]) -> list[str]:
    lists = {work_lists.stub_of(kind): work() for kind in registry.types()} | {"in_telegram": work(*found)}
    work_lists.keep_places(context(states, {"in_telegram": had}), lists)
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


@pytest.mark.parametrize("state", ["success", "running"])
def test_a_task_that_was_made_for_whatever_is_due_keeps_its_place_too(state: str) -> None:
    states = {"deliver_telegram_0": state, "deliver_telegram_1": state}
    assert planned_again(states, had=["a", MANY], found=["a", "b", MANY]) == ["a", MANY, "b", MANY]


def marked(of_run: Any, *, ended: Sequence[str] = ()) -> set[str]:
    return work_lists.marked_as_done(of_run, still_open=lambda ids: set(ids) - set(ended))


def test_a_task_speaks_for_its_own_delivery() -> None:
    states = {"deliver_telegram_0": "success", "deliver_telegram_1": "failed", "deliver_telegram_10": "skipped"}
    ids = [f"d{index}" for index in range(12)]
    of_run = context(states, {"in_telegram": ids})
    assert marked(of_run) == {"d0"}, "not what came to the list later, and has no task"


def test_what_has_ended_nobody_has_marked() -> None:
    states = {"deliver_telegram_0": "success", "deliver_telegram_1": "success"}
    assert marked(context(states, {"in_telegram": ["a", "b"]}), ended=["a"]) == {"b"}


@pytest.mark.parametrize("state", ["success", "skipped", "upstream_failed"])
def test_where_no_task_could_be_made_none_has_been_marked(state: str) -> None:
    assert marked(context({"deliver_telegram": state}, {"in_telegram": ["a"]})) == set()


def refs(count: int) -> list[Ref]:
    return [Ref(f"d{number}", f"b{number}", f"lead-{number}", "telegram") for number in range(count)]


def made(*, own: int = 0, takers: int = 0) -> Plan:
    """Of a run with this many tasks of each sort for telegram."""
    its_own = {"telegram": refs(own)} if own else {}
    return Plan(work=its_own, takers={"telegram": Takers(count=takers, due=50 * takers)} if takers else {})


def test_a_lead_that_has_a_task_of_its_own_gives_it_its_name() -> None:
    items = work_lists.items(made(own=2), "telegram")
    assert [item["parts"] for item in items] == [
        [{"delivery_id": "d0", "batch_id": "b0"}],
        [{"delivery_id": "d1", "batch_id": "b1"}],
    ]
    assert [item["label"] for item in items] == ["lead-0 → telegram", "lead-1 → telegram"]


def test_where_many_leads_wait_the_tasks_are_for_whichever_are_due() -> None:
    assert work_lists.items(made(takers=2), "telegram") == [{"parts": [], "label": "leads → telegram"}] * 2


def test_what_is_a_runs_own_has_its_task_also_where_many_leads_wait() -> None:
    labels = [item["label"] for item in work_lists.items(made(own=1, takers=1), "telegram")]
    assert labels == ["lead-0 → telegram", "leads → telegram"]


def test_a_lane_in_which_nothing_is_due_has_no_tasks() -> None:
    assert work_lists.items(made(own=1, takers=1), "email") == []


def test_a_task_that_was_made_for_whatever_is_due_speaks_for_no_delivery() -> None:
    """What it has sent, the ledger knows; a person who marks it has seen to none in particular."""
    states = {"deliver_telegram_0": "success", "deliver_telegram_1": "success"}
    assert marked(context(states, {"in_telegram": [MANY, "a"]})) == {"a"}


def test_a_task_of_a_run_that_was_planned_before_an_upgrade_speaks_for_all_that_it_has() -> None:
    of_run = context({"deliver_telegram_0": "success", "deliver_telegram_1": "failed"}, {"in_telegram": ["a b", "c d"]})
    assert marked(of_run) == {"a", "b"}


def test_a_run_that_was_planned_before_an_upgrade_goes_on() -> None:
    planned = {"delivery_id": "d0", "batch_id": "b0", "label": "7 → telegram"}
    assert work_lists.parts_of(planned) == [{"delivery_id": "d0", "batch_id": "b0"}]


def test_of_a_lead_that_has_its_task_already_plan_makes_no_second_one() -> None:
    states = {"deliver_telegram_0": "success"}
    assert planned_again(states, had=["a b", "c"], found=["b", "d", "a"]) == ["a b", "c", "d"]


def ended_label(end: ChunkEnd, *, others: int = 0) -> str:
    return work_lists.ended_label("leads → telegram", end, is_own=False, others=others)


def test_what_has_come_of_many_stands_in_the_label_of_their_task() -> None:
    failed = AttemptFailed(TransientError("No."), retry_in_s=None)
    end = ChunkEnd(
        arrived=20,
        failed=[failed, failed],
        waits=[failed],
        comes_back=[(1.0, failed)],
        away=[NotBegun("Away.")],
        broken=[(Part("d0", "b0"), RuntimeError())],
    )
    assert ended_label(end, others=26) == "leads → telegram: 20 delivered, 2 failed, 1 wait, 3 to be sent"
    assert ended_label(ChunkEnd(arrived=1), others=1) == "leads → telegram: 1 delivered"


def test_one_that_comes_when_others_have_sent_all_says_so() -> None:
    assert ended_label(ChunkEnd()) == "leads → telegram: nothing was left"


@pytest.mark.parametrize(("others", "said"), [(0, "123 → telegram"), (3, "123 → telegram, and 3 more")])
def test_a_task_of_one_lead_keeps_its_name_and_says_how_many_more_it_has_sent(others: int, said: str) -> None:
    failed = AttemptFailed(TransientError("No."), retry_in_s=None)
    for end in (ChunkEnd(arrived=1), ChunkEnd(failed=[failed])):
        assert work_lists.ended_label("123 → telegram", end, is_own=True, others=others) == said
