"""The last look at what Airflow keeps for people to see: rendered fields of tasks, and rows of its audit log.

What looks like a request of ours and came where none belongs (a DAG of the user's own that hands one on, a body that
was too large to be looked at before) is written without its secrets and its person, and what is logged of a connection
of ours without its secrets. Runs themselves: `conf_guard`.
Light to import: the plugin and every Airflow process load it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from leadcast.core.budget import UNITS, Budget, measured
from leadcast.core.request_errors import InvalidRequest
from leadcast.engine.seal import airflow_rows, logged_connections
from leadcast.engine.seal.request_shape import MASKED, holds_request, is_cut_request, masked, may_hold_request

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Mapper

_AUDIT_LOG = "log"
_UNITS = 20 * UNITS
"""What is looked through of one row, which holds a body of any size."""
_CUT = "Truncated. "
"""How Airflow begins what is left of a rendered field that was too long (3.3.2)."""
_RENDERED_FIELDS = "RenderedTaskInstanceFields"
"""Airflow's class for them (3.3.2), which writes itself by a statement of its own: it is looked at as it is made."""


def watch() -> None:
    """From now on this process writes no such row with a request in clear. May be repeated."""
    from sqlalchemy import event
    from sqlalchemy.orm import Mapper

    for moment, look in (("before_insert", _before_insert), ("init", _as_made)):
        if not event.contains(Mapper, moment, look):
            event.listen(Mapper, moment, look)


def watch_commands() -> None:
    """The same for a command about connections, which Airflow logs by a statement, past its mapper, and before it loads
    any plugin (3.3.2). May be repeated."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "before_execute", _before_execute):
        event.listen(Engine, "before_execute", _before_execute)


def _before_execute(conn: Any, statement: Any, many: Any, one: Any, options: Any) -> None:
    log = getattr(sys.modules.get("airflow.models.log"), "Log", None)
    if log is not None and getattr(statement, "is_insert", False) and statement.table is log.__table__:
        for row in (*many, one):
            if "extra" in row:
                row["extra"] = logged_connections.masked(row.get("event"), row["extra"])


def _before_insert(mapper: Mapper[Any], connection: Connection, target: Any) -> None:
    if airflow_rows.are_of(mapper, _AUDIT_LOG):
        try:
            with measured(Budget(_UNITS)):
                target.extra = _shown(logged_connections.masked(target.event, target.extra))
        except InvalidRequest:  # too much to look through: of a body that was too large to be looked at before
            target.extra = MASKED


def _as_made(target: Any, args: Any, kwargs: dict[str, Any]) -> None:
    if type(target).__name__ == _RENDERED_FIELDS and "rendered_fields" in kwargs:
        fields = _shown(kwargs["rendered_fields"])
        kwargs["rendered_fields"] = (
            {name: _whole(value) for name, value in fields.items()} if isinstance(fields, dict) else fields
        )


def _whole(value: Any) -> Any:
    return MASKED if isinstance(value, str) and value.startswith(_CUT) and is_cut_request(value) else value


def _shown(value: Any) -> Any:
    """Never raises: it is called while Airflow writes."""
    try:
        return masked(value) if _may_hold_request(value) and holds_request(value) else value
    except RecursionError:
        return dict.fromkeys(value, MASKED) if isinstance(value, Mapping) else MASKED


def _may_hold_request(value: Any) -> bool:
    if not value or isinstance(value, str):
        return may_hold_request(value or "")
    try:
        return may_hold_request(json.dumps(value, default=str))
    except (RecursionError, TypeError, ValueError):
        return True
