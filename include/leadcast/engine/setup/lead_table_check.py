"""What `leadcast doctor` says of the user's own lead table: does the mapping fit, may we write, what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from leadcast.core.errors import LeadTableError
from leadcast.core.lead_mapping import FINAL, LeadMapping
from leadcast.core.model import BatchStatus, Lead
from leadcast.core.redact import masked
from leadcast.core.tidy import FIELDS
from leadcast.engine.settings import config
from leadcast.engine.setup.finding import Finding, Level
from leadcast.flow.inbox import look_up
from leadcast.lead_table import facts as lead_table_facts
from leadcast.lead_table.table import LeadTable

_SEE = "See docs/lead-table.md"


def examine(lead_id: str = "") -> Iterator[Finding]:
    """Looks whether the user's own lead table can be read and written as the settings say, for `leadcast doctor`.

    Args:
        lead_id: the lead to show as it would be sent; empty: any one.
    """
    table = config.lead_table()
    if table is None:
        yield Finding(Level.OK, "lead table: none; leads come with the request, or by PUT /leads/{id}")
        return
    try:
        yield from table.use(lambda opened: list(_findings(opened, lead_id)))
    except LeadTableError as error:
        mend = f"Check connection {table.mapping.conn_id}." if error.is_away else "Check the settings leads_…."
        yield Finding(Level.FAIL, f"lead table: {error} {error.detail}".strip(), f"{mend} {_SEE}")


def _findings(table: LeadTable, lead_id: str) -> Iterator[Finding]:
    if table.mapping.table:
        columns = lead_table_facts.columns(table)
        missing = list(_missing(table.mapping, columns))
        yield from missing
        if missing:
            return
        yield Finding(Level.OK, f"lead table {table.mapping.table}: answers, has all columns that are named")
        if not lead_table_facts.has_unique_key(table):
            what = f"lead table: its column {table.mapping.key} is not unique; of two such rows one is sent"
            yield Finding(Level.WARN, what, "Name the primary key in leads_key")
        yield from _status(table, columns)
    yield _sample(table, lead_id)


def _missing(mapping: LeadMapping, columns: Mapping[str, Any]) -> Iterator[Finding]:
    wanted = [
        ("leads_key", mapping.key),
        *((f"leads_columns ({field})", name) for field, name in mapping.columns.items() if not mapping.query),
        ("status_column", mapping.status_column),
        ("status_time_column", mapping.status_time_column),
    ]
    for setting, name in wanted:
        if name and name not in columns:
            there = ", ".join(sorted(columns))
            yield Finding(
                Level.FAIL, f"lead table: {setting} names {name!r}, which is no column", f"There are: {there}"
            )


def _status(table: LeadTable, columns: Mapping[str, Any]) -> Iterator[Finding]:
    mapping = table.mapping
    if not mapping.status_column:
        yield Finding(Level.OK, "lead table: no status is written back (status_column is empty)")
        return
    values = {status: mapping.status_value(status) for status in FINAL}
    for status, value in values.items():
        why = _unfit(columns[mapping.status_column], value)
        if why:
            what = f"lead table: status {status} is written as {value!r}, and {mapping.status_column} {why}"
            # nothing cancels a batch by itself
            level = Level.WARN if status is BatchStatus.CANCELLED else Level.FAIL
            yield Finding(level, what, f'Say how in status_values: {{"{status}": …}}')
    refused = lead_table_facts.refuses_writing(table)
    if refused:
        yield Finding(Level.FAIL, f"lead table: a status cannot be written: {refused}", "Grant UPDATE on the table")
    else:
        listed = ", ".join(f"{status} → {value}" for status, value in values.items())
        yield Finding(Level.OK, f"lead table: the status goes into {mapping.status_column}: {listed}")


def _unfit(kind: Any, value: str | int) -> str:
    """Why a column of this type does not take the value; empty: it does, as far as its type tells."""
    from sqlalchemy import types

    if isinstance(kind, types.Enum) and str(value) not in (kind.enums or [str(value)]):
        return f"takes only {', '.join(kind.enums)}"
    if isinstance(kind, types.Integer | types.Numeric) and not str(value).lstrip("-").isdigit():
        return "is a number"
    length = getattr(kind, "length", None)
    if isinstance(kind, types.String) and length is not None and len(str(value)) > length:
        return f"holds {length} characters"
    return ""


def _sample(table: LeadTable, lead_id: str) -> Finding:
    shown = lead_id or lead_table_facts.any_id(table)
    if not shown:
        if table.mapping.table:
            return Finding(Level.OK, "lead table: it is empty, so there is no lead to show")
        return Finding(Level.WARN, "lead query: not tried", "Name a lead to try it with: leadcast doctor --lead ID")
    found = look_up(table, shown)
    if found is None:
        return Finding(Level.FAIL, f"lead {shown}: not found", "Give an id as it stands in the key column")
    said = f"lead {shown} as it would be sent: {_shown(found.lead(shown))}"
    if not found.notes:
        return Finding(Level.OK, said)
    mended = "; ".join(f"{'.'.join(map(str, note.loc))}: {note.msg}" for note in found.notes)
    return Finding(Level.WARN, f"{said}. Mended: {mended}", f"Look at these columns. {_SEE}")


def _shown(lead: Lead) -> str:
    """The lead, so masked that its owner knows it again and nobody else can use it."""
    plain: dict[str, Any] = {name: getattr(lead, name) for name in FIELDS}
    plain |= {f"utm.{name}": value for name, value in lead.utm.items()}
    plain |= {f"custom.{name}": value for name, value in lead.custom.items()}
    filled = [f"{name} {masked(str(value))}" for name, value in plain.items() if value not in ("", None)]
    empty = [name for name, value in plain.items() if value in ("", None)]
    return "; ".join([", ".join(filled) or "nothing", *([f"empty: {', '.join(empty)}"] if empty else [])])
