"""Takes the requests for a lead out of Airflow's audit log, in its database, page by page.

A row is found by its DAG or by an event that logs what was sent, both of which are indexed, and by how the id of a lead
is written in it. Which of them are requests for this lead is then read (`logged_requests`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from leadcast.core.reach import EVERYBODYS, Reach
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.seal.logged_requests import ERASED, MAX_CHARS, without

PAGE = 200
"""Rows looked for at once."""
AT_ONCE_CHARS = 4_000_000
"""Characters of rows in memory at once."""
COMMANDS = "cli_"
"""What events of the command line begin with."""
EVENTS = (
    "trigger_dag_run",
    "patch_dag_run",
    "bulk_dag_runs",
    "clear_dag_run",
    "clear_dag_runs",
    "materialize_asset",
    "create_asset_event",
    "create_backfill",
    "cli_dag_trigger",
    "cli_dag_test",
    "cli_create_backfill",
)
"""Those that may log a request, whichever DAG they name."""


@dataclass(frozen=True)
class Erased:
    """What was done. `rows`: how many held a request; `is_all`: none was left to look at when the time was up."""

    rows: int
    is_all: bool


def erase(
    lead_id: str,
    *,
    until: float | None = None,
    now: Callable[[], float] = monotonic,
    reach: Reach = EVERYBODYS,
) -> Erased:
    """Takes the requests for this lead out of the rows. May be run again, and goes on then.

    Args:
        until: when to end, by the monotonic clock; None: not before all is done.
        reach: of whose calls; rows of others' stay.
    """
    rows, last = 0, 0
    while True:
        if until is not None and now() >= until:
            return Erased(rows, is_all=False)
        page = _page(lead_id, after=last, seconds=None if until is None else until - now(), reach=reach)
        for listed in _in_portions(page):
            if until is not None and now() >= until:
                return Erased(rows, is_all=False)
            rows += _bare(listed, lead_id)
        if len(page) < PAGE:
            return Erased(rows, is_all=True)
        last = page[-1].id


def _page(lead_id: str, *, after: int, seconds: float | None, reach: Reach) -> Sequence[Any]:
    """Rows that may hold a request for this lead, in the order of their ids: their ids and lengths."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import and_, func, or_, select

    from leadcast.engine.runs.statement_time import bounded

    # a DAG's own rows, most of which have no words, and what was asked for under another name of the DAG
    is_near = or_(Log.dag_id == DAG_ID, Log.event.in_(EVENTS))
    in_text = and_(Log.extra.contains("lead_id\\", autoescape=True), Log.extra.contains(lead_id, autoescape=True))
    names_lead = or_(*(Log.extra.contains(form, autoescape=True) for form in written_forms(lead_id)), in_text)
    query = select(Log.id, Log.event, Log.dag_id, func.length(Log.extra).label("chars"))
    query = query.where(Log.id > after, is_near, names_lead, *_is_taken(reach)).order_by(Log.id).limit(PAGE)
    with create_session() as session:
        return session.execute(bounded(session, query, seconds=seconds)).all()


def _is_taken(reach: Reach) -> Iterator[Any]:
    """As `Reach.takes`, for the database."""
    from airflow.models.log import Log
    from sqlalchemy import or_

    if reach.only_of is None:
        return
    is_his = Log.owner == reach.only_of
    yield is_his if reach.over_all_at is None else or_(is_his, Log.dttm < reach.over_all_at)


def written_forms(lead_id: str) -> tuple[str, ...]:
    """How a lead's id stands in JSON as Airflow and its databases write it: as text, as a whole number, as another.

    An id has no character that JSON writes otherwise.
    """
    if not lead_id.isdecimal():
        return (f'"lead_id": "{lead_id}"',)
    return (f'"lead_id": "{lead_id}"', *(f'"lead_id": {lead_id}{end}' for end in (",", "}", ".")))


def _in_portions(page: Sequence[Any]) -> Iterator[list[Any]]:
    portion: list[Any] = []
    chars = 0
    for row in page:
        if portion and chars + row.chars > AT_ONCE_CHARS:
            yield portion
            portion, chars = [], 0
        portion.append(row)
        chars += row.chars
    if portion:
        yield portion


def _bare(listed: Sequence[Any], lead_id: str) -> int:
    """Takes the requests out of these rows. Returns in how many there were some."""
    import json

    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select, update

    # what is too long to be read is not kept for that
    bare = {row.id: json.dumps(ERASED) for row in listed if row.chars > MAX_CHARS}
    known = {row.id: row for row in listed if row.id not in bare}
    with create_session() as session:
        for found in session.execute(select(Log.id, Log.extra).where(Log.id.in_(known))):
            row = known[found.id]
            is_ours, by_command = row.dag_id == DAG_ID, row.event.startswith(COMMANDS)
            extra = without(found.extra, lead_id, of_ours=is_ours, by_command=by_command)
            if extra is not None:
                bare[found.id] = extra
        for row_id, extra in bare.items():
            session.execute(update(Log).where(Log.id == row_id).values(extra=extra))
    return len(bare)
