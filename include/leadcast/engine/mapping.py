"""Feeds several mapped operators from one plan task.

Airflow maps only over a task's `return_value`, so one plan cannot feed five lists. Here plan writes the return value of
an `EmptyOperator` per list, which costs no process, and says how long it is; the scheduler skips what has length 0.

This touches one private argument of Airflow (`XCom.set(_mapped_length=…)`, tried on 3.3.2), nowhere but here. A test
fails when Airflow changes it. The way back with public API only: one small task per integration that returns its list,
skipped by plan when it is empty: one more process per integration used, and one more scheduler step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk.execution_time.xcom import XCom


def feed(context: Mapping[str, Any], lists: Mapping[str, Sequence[Any]]) -> None:
    """Writes, for each stub task id, the list that the operators mapped over it will see."""
    ti = context["ti"]
    for task_id, items in lists.items():
        XCom.set(
            key="return_value",
            value=list(items),
            dag_id=ti.dag_id,
            task_id=task_id,
            run_id=ti.run_id,
            map_index=-1,
            _mapped_length=len(items),
        )
