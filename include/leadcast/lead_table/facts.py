"""What the user's database says of the lead table, for `leadcast doctor`: its columns, its key, our rights."""

from __future__ import annotations

from typing import Any

from sqlalchemy import false, inspect, null, select, update
from sqlalchemy.types import TypeEngine

from leadcast.core.errors import LeadTableError
from leadcast.lead_table.table import LeadTable


def columns(table: LeadTable) -> dict[str, TypeEngine[Any]]:
    """The table's columns and their types, as the database has them.

    Raises:
        LeadTableError: there is no such table, or it cannot be looked at.
    """
    schema, name = table.mapping.schema_and_table
    with table.begin() as connection:
        return {each["name"]: each["type"] for each in inspect(connection).get_columns(name, schema=schema)}


def has_unique_key(table: LeadTable) -> bool:
    """Whether no two rows can be the same lead.

    Raises:
        LeadTableError: it cannot be looked at.
    """
    schema, name = table.mapping.schema_and_table
    with table.begin() as connection:
        seen = inspect(connection)
        unique: list[list[str | None]] = [[*seen.get_pk_constraint(name, schema=schema)["constrained_columns"]]]
        unique += [[*each["column_names"]] for each in seen.get_unique_constraints(name, schema=schema)]
        unique += [each["column_names"] for each in seen.get_indexes(name, schema=schema) if each["unique"]]
    return [table.mapping.key] in unique


def refuses_writing(table: LeadTable) -> str:
    """What the database says against writing a status; empty: nothing. No row is touched."""
    mapping = table.mapping
    written = {name: null() for name in (mapping.status_column, mapping.status_time_column) if name}
    try:
        with table.begin() as connection:
            connection.execute(update(table.table()).where(false()).values(written))
    except LeadTableError as error:
        return f"{error} {error.detail}".strip()
    return ""


def any_id(table: LeadTable) -> str | None:
    """The id of some lead, or None where the table is empty or only a query is known.

    Raises:
        LeadTableError: the table cannot be read.
    """
    if not table.mapping.table:
        return None
    with table.begin() as connection:
        found = connection.execute(select(table.table().c[table.mapping.key]).limit(1)).scalar()
    return None if found is None else str(found).rstrip(" ")
