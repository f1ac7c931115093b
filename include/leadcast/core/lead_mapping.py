"""What the settings say about the user's own lead table: which column is which field, where a status goes back to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leadcast.core.model import BatchStatus
from leadcast.core.tidy import FIELDS

NESTED = ("utm", "custom")
"""Beside the fields that are one text each, a lead has `utm.<name>` and `custom.<name>`."""
FINAL = tuple(status for status in BatchStatus if status.is_final)
_BOUND = re.compile(r"(?<![:\w\\]):lead_id(?![\w:])")
_READS = re.compile(r"\s*(?:select|with)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class LeadMapping:
    """Where in the user's own lead table each thing stands.

    conn_id: Airflow connection of the database that it is in.
    table: its name, or `schema.table`; empty: only `query` reads, and nothing is written.
    query: reads one lead instead of `table`, by `:lead_id`; its result's columns are named like the lead's fields.
    key: the column with the lead's id, in the table and in the query's result.
    columns: lead field → column of the table.
    status_column, status_values: where a final status goes, and how each is written there.
    status_time_column: where its time goes (UTC), if anywhere.
    """

    conn_id: str
    table: str = ""
    query: str = ""
    key: str = "id"
    columns: Mapping[str, str] = field(default_factory=dict)
    status_column: str = ""
    status_values: Mapping[str, str | int] = field(default_factory=dict)
    status_time_column: str = ""

    @property
    def schema_and_table(self) -> tuple[str | None, str]:
        """The table's schema, if one is named, and its name."""
        schema, dot, name = self.table.rpartition(".")
        return (schema if dot else None), name

    def status_value(self, status: BatchStatus) -> str | int:
        """How this status is written into the user's column."""
        return self.status_values.get(status.value, status.value)


def lead_data(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a lead's data, its values as the database gave them. Its columns are named like the lead's fields.

    `utm.<name>` and `utm_<name>` go to utm, whatever else is no field to custom.
    """
    data: dict[str, Any] = {}
    for name, value in row.items():
        group, dot, inner = name.partition(".")
        if name in FIELDS:
            data[name] = value
        elif dot and group in NESTED:
            data.setdefault(group, {})[inner] = value
        elif name.startswith("utm_"):
            data.setdefault("utm", {})[name] = value
        else:
            data.setdefault("custom", {})[name] = value
    return data


def checked(mapping: LeadMapping) -> LeadMapping:
    """The mapping, if it makes sense.

    Raises:
        ValueError: it does not; the text names the setting.
    """
    if not (mapping.table or mapping.query):
        raise ValueError("leads_conn_id: where are the leads in it? Set leads_table or leads_query as well")
    if mapping.query:
        _check_query(mapping)
    for name in mapping.columns:
        group, _, inner = name.partition(".")
        if name not in FIELDS and not (group in NESTED and inner):
            listed = ", ".join(FIELDS)
            raise ValueError(f"leads_columns: no lead field {name!r}; there are {listed}, utm.<name>, custom.<name>")
        if not mapping.columns[name]:
            raise ValueError(f"leads_columns: which column is {name}? Leave out what there is none for")
    _check_status(mapping)
    return mapping


def _check_query(mapping: LeadMapping) -> None:
    if mapping.columns:
        raise ValueError("leads_columns: goes with leads_table; in leads_query, name the columns with AS")
    if not _READS.match(mapping.query) or not _BOUND.search(mapping.query):
        raise ValueError("leads_query: must be a SELECT that finds one lead by :lead_id (no ::type after it, but CAST)")


def _check_status(mapping: LeadMapping) -> None:
    if mapping.status_column and not mapping.table:
        raise ValueError("status_column: of which table? Set leads_table as well")
    if mapping.status_time_column and not mapping.status_column:
        raise ValueError("status_time_column: goes with status_column, which is not set")
    for name in mapping.status_values:
        if name not in FINAL:
            raise ValueError(f"status_values: no final status {name!r}; there are {', '.join(FINAL)}")
