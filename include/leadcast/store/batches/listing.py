"""Lists of batches, newest first. A page costs so many rows at most, however what is looked for is spread.

Each thing that may be wanted has an index in that order: all batches, those of a lead, of an integration, of a status.
Where two are wanted together, the batches of one are walked through and those that are not of the other are passed by:
no more than so many a page, and then by the other's index. The page is that of the walk which got furthest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, true, tuple_, union

from leadcast.core.model import BatchStatus
from leadcast.store.batches.views import BatchView, by_id
from leadcast.store.schema import batches, deliveries

LOOKS_THROUGH = 2000
"""How many batches are walked through for a page where no one index has what is wanted."""

Place = tuple[datetime, str]
"""Where a batch stands in the order: when it was accepted, and its id."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which batches to list. `before`: where the page before has ended."""

    status: BatchStatus | None = None
    lead_id: str | None = None
    type: str | None = None
    since: datetime | None = None
    before: Place | None = None
    limit: int = 50


@dataclass(frozen=True)
class Listed:
    """A page of up to `limit` batches. `ends_at`: where it has ended; None: there are no more.

    A page that is not the last may have fewer than `limit`, or none at all: so many were looked through for it.
    """

    batches: list[BatchView]
    ends_at: Place | None


def listing(connection: Connection, wanted: Filter) -> Listed:
    """One page of batches, newest first."""
    pages: list[_Page] = []
    for walk, fits in _walks(wanted):
        pages.append(_page(connection, walk, fits, wanted))
        if pages[-1].ends_at is None or len(pages[-1].places) == wanted.limit:
            break
    furthest = min(pages, key=lambda page: page.ends_at or _ALL_THE_WAY)
    return Listed(by_id(connection, [batch_id for _, batch_id in furthest.places]), furthest.ends_at)


_ALL_THE_WAY: Place = (datetime.min.replace(tzinfo=UTC), "")


Fits = Callable[[ColumnElement[str]], ColumnElement[bool]]
"""Whether the batch of an id is what is wanted. Asked of one at a time, by a subquery that PostgreSQL makes no join of:
that might read all the batches there are."""


def _walks(wanted: Filter) -> Iterator[tuple[Select[Any], list[Fits]]]:
    """The indexes that may be walked through, each with what its batches have to be besides."""
    kinds: list[tuple[Select[Any], Fits]] = []
    if wanted.lead_id is not None:
        kinds.append(_kind(wanted, batches.c.lead_id == wanted.lead_id))
    if wanted.type is not None:
        kinds.append((_walk_of_type(wanted, wanted.type), partial(_goes_to, wanted.type)))
    if wanted.status is not None:
        kinds.append(_kind(wanted, batches.c.status == wanted.status))
    for walk, fits in kinds:
        yield walk, [other for _, other in kinds if other is not fits]
    if not kinds:
        yield _walk(wanted), []


def _kind(wanted: Filter, is_wanted: ColumnElement[bool]) -> tuple[Select[Any], Fits]:
    def fits(batch_id: ColumnElement[str]) -> ColumnElement[bool]:
        return select(is_wanted).where(batches.c.id == batch_id).scalar_subquery()

    return _walk(wanted).where(is_wanted), fits


def _goes_to(kind: str, batch_id: ColumnElement[str]) -> ColumnElement[bool]:
    its_own = and_(deliveries.c.batch_id == batch_id, deliveries.c.type == kind)
    return select(func.count() > 0).where(its_own).scalar_subquery()


def _walk(wanted: Filter) -> Select[Any]:
    return _in_order(wanted, batches.c.accepted_at, batches.c.id)


def _walk_of_type(wanted: Filter, kind: str) -> Select[Any]:
    at, batch_id, its_own = deliveries.c.listed_at, deliveries.c.batch_id, deliveries.c.type == kind
    listed = _in_order(wanted, at, batch_id).where(its_own, at.is_not(None)).distinct()
    # those of an older version, until an upgrade has gone through all of them
    its_batch = select(batches.c.accepted_at).where(batches.c.id == batch_id).scalar_subquery()
    not_listed = select(its_batch.label("at"), batch_id.label("id")).where(its_own, at.is_(None)).distinct().subquery()
    parts = [listed, _in_order(wanted, not_listed.c.at, not_listed.c.id)]
    both = union(*(select(part.limit(_many(wanted)).subquery()) for part in parts)).subquery()
    return _in_order(wanted, both.c.at, both.c.id)


def _in_order(wanted: Filter, at: ColumnElement[Any], batch_id: ColumnElement[Any]) -> Select[Any]:
    walk = select(at.label("at"), batch_id.label("id")).order_by(at.desc(), batch_id.desc())
    if wanted.since is not None:
        walk = walk.where(at >= wanted.since)
    if wanted.before is not None:
        walk = walk.where(tuple_(at, batch_id) < wanted.before)
    return walk


def _many(wanted: Filter) -> int:
    """How many batches are walked by: one more than are shown, where all of them are what is wanted."""
    kinds = [kind for kind in (wanted.lead_id, wanted.type, wanted.status) if kind is not None]
    return LOOKS_THROUGH if len(kinds) > 1 else wanted.limit + 1


@dataclass(frozen=True)
class _Page:
    places: list[Place]
    ends_at: Place | None


def _page(connection: Connection, walk: Select[Any], fits: Sequence[Fits], wanted: Filter) -> _Page:
    many = _many(wanted)
    first = walk.limit(many).subquery()
    number = func.row_number().over(order_by=(first.c.at.desc(), first.c.id.desc()))
    walked = select(first, number.label("number")).subquery()
    is_wanted = and_(true(), *(does_fit(walked.c.id) for does_fit in fits))
    rows = connection.execute(
        select(walked, is_wanted.label("is_wanted"))
        .where(or_(walked.c.number == many, is_wanted))
        .order_by(walked.c.at.desc(), walked.c.id.desc())
        .limit(wanted.limit + 2)
    ).all()
    places = [(row.at, row.id) for row in rows if row.is_wanted]
    if len(places) > wanted.limit:
        return _Page(places[: wanted.limit], places[wanted.limit - 1])
    last = rows[-1] if rows and rows[-1].number == many else None
    return _Page(places, None if last is None else (last.at, last.id))
