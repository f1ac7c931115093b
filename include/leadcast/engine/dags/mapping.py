"""Feeds several mapped operators from one task.

Airflow maps only over a task's `return_value`, so one plan cannot feed five lists. Here the plan writes the return
value of a `WorkList` per list and says how long it is. A `WorkList` is an `EmptyOperator`: the scheduler marks it done
without a process, and skips the operators mapped over it when its length is 0.

`XCom.set(_mapped_length=…)` is a private argument of Airflow (tried on 3.3.2); it stands here and nowhere else, and a
test fails when it stops to work. The way back with public API only: set `inherits_from_empty_operator = False` in
`WorkList` and drop the loop in `feed`. Each list that is used then costs a process, in which `execute` returns what the
plan has left for it. That is also what happens in `dag.test`, which runs empty operators like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class WorkList(EmptyOperator):
    """Stands for the list that `feed` writes under its task id. Map over its `output`.

    Args:
        source: task id of the task that calls `feed`.
    """

    def __init__(self, *, source: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def execute(self, context: Context) -> list[Any]:
        """The list, where Airflow does run this task."""
        return context["ti"].xcom_pull(task_ids=self.source, key=self.task_id) or []


def feed(context: Context, lists: Mapping[str, Sequence[Any]]) -> None:
    """Writes, for each work list's task id, what the operators mapped over it will see."""
    from airflow.sdk.execution_time.xcom import XCom

    ti = context["ti"]
    for task_id, items in lists.items():
        if items:
            ti.xcom_push(key=task_id, value=list(items))
        XCom.set(
            key="return_value",
            value=list(items),
            dag_id=ti.dag_id,
            task_id=task_id,
            run_id=ti.run_id,
            map_index=-1,
            _mapped_length=len(items),
        )
