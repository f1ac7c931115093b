"""Which rows are Airflow's own. What listens to all mappers hears of those of DAGs and plugins, too, in whose databases
there may be tables of the same names. Light to import: every Airflow process loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapper

_AIRFLOWS = "airflow."
"""What the names of its modules begin with (3.3.2)."""


def are_of(mapper: Mapper[Any], table: str) -> bool:
    """Whether this mapper's rows are those of Airflow's table of this name."""
    return getattr(mapper.local_table, "name", "") == table and mapper.class_.__module__.startswith(_AIRFLOWS)
