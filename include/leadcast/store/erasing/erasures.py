"""Erasures: who has asked for which lead to be erased, and what has come of it. The record, so that none is forgotten.

In asking, the lead is deleted and its batches are marked, in one transaction. What is marked is not sent any more, and
whoever settles it erases it, in the transaction that ends it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, not_, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.model import DeliveryState
from leadcast.core.reach import EVERYBODYS, Reach
from leadcast.core.request_errors import OthersLead
from leadcast.store import erasure_lock, whose
from leadcast.store.erasing import erasing, marking
from leadcast.store.erasing.erasing import HOLDS_LEAD, RESTS, Erased
from leadcast.store.schema import batches, deliveries, erasures, leads


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """An erasure of one lead that somebody has asked for, and how far it is.

    asked_at, asked_by: the last time that there was something new to erase, by the store's clock.
    erased: kind of row → how many, in all.
    runs: ids of Airflow's runs that hold the lead still; None: they have not all been looked for.
    audit_log_left: rows of Airflow's audit log have not all been looked at.
    done_at: since when nothing is left; None: something is.
    reach: whose is erased.
    """

    lead_id: str
    asked_at: datetime
    asked_by: str
    erased: Mapping[str, int]
    runs: Sequence[str] | None
    audit_log_left: bool
    done_at: datetime | None
    reach: Reach = EVERYBODYS


def ask(
    connection: Connection,
    lead_id: str,
    *,
    asked_by: str,
    erased_elsewhere: Mapping[str, int],
    runs: Sequence[str] | None,
    now: datetime,
    audit_log_left: bool = False,
    only_of: str | None = None,
) -> Erasure | None:
    """Deletes the lead, marks its batches, and writes down that they are to be erased.

    Asked again for what is erased, or is being erased, it leaves on record who has asked for that, and when.

    Args:
        asked_by: a user of Airflow's.
        erased_elsewhere: what Airflow held of it and holds no longer: kind → how many.
        runs, audit_log_left: as in `Erasure`.
        only_of: the user who alone must have stored and sent it; None: whoever has.

    Returns:
        None where nothing is known of the lead: nothing was written.

    Raises:
        OthersLead: somebody else has stored or sent it, or it is not known as this user's.
    """
    erasure_lock.wait_for_writers(connection, lead_id)
    # first: this waits for whoever is just making a batch of the lead, which is then seen below
    connection.execute(select(leads.c.id).where(leads.c.id == lead_id).with_for_update())
    known = marking.lock(connection, batches.c.lead_id == lead_id)
    before = find(connection, lead_id)
    if only_of is not None:
        _refuse_others(
            whose.of_lead(connection, lead_id), only_of, is_his=before is not None and before.asked_by == asked_by
        )
    gone = connection.execute(delete(leads).where(leads.c.id == lead_id)).rowcount
    marked_now = marking.mark(connection, batches.c.lead_id == lead_id, now=now)
    is_found = bool(gone or runs or any(erased_elsewhere.values()))
    if not (known or is_found or before):
        return None
    may_be_new = is_found or marked_now > 0 or runs is None or audit_log_left
    if before is not None and not may_be_new and before.reach.only_of in (None, only_of):
        return _asked_again(connection, before, only_of=only_of)
    over_all_at = None if only_of is None or before is None else _over_all_at(before)
    if over_all_at is not None and before is not None and before.done_at is None:
        # he has looked at his own rows alone
        audit_log_left = audit_log_left or before.audit_log_left
    values = {
        "asked_at": func.now(),
        "asked_by": asked_by,
        "runs": None if runs is None else list(runs),
        "audit_log_left": audit_log_left,
        "done_at": None,
        "only_of": only_of,
        "over_all_at": over_all_at,
    }
    connection.execute(
        insert(erasures)
        .values(lead_id=lead_id, erased={}, **values)
        .on_conflict_do_update(index_elements=[erasures.c.lead_id], set_=values)
    )
    _count(connection, lead_id, Counter(erased_elsewhere) + Counter(leads=gone))
    return find(connection, lead_id)


def _asked_again(connection: Connection, before: Erasure, *, only_of: str | None) -> Erasure:
    """Nothing is new, and all of Airflow that this user's erasures look at has been looked at."""
    if before.done_at is not None or before.reach.only_of != only_of:
        return before
    left_in_airflow(connection, before.lead_id, [], audit_log_left=False, erased={})
    return replace(before, runs=[], audit_log_left=False)


def _refuse_others(owners: whose.Owners, user: str, *, is_his: bool) -> None:
    if not owners.are_only(user) or not (owners.all or is_his):
        raise OthersLead


def _over_all_at(before: Erasure) -> datetime | None:
    return before.asked_at if before.reach.only_of is None else before.reach.over_all_at


def find(connection: Connection, lead_id: str) -> Erasure | None:
    """The erasure of this lead, if one was asked for."""
    row = connection.execute(select(erasures).where(erasures.c.lead_id == lead_id)).one_or_none()
    return None if row is None else _erasure(row)


def asked_at(connection: Connection, lead_id: str) -> datetime | None:
    """When it was last asked for that this lead is erased; None: never."""
    return connection.execute(select(erasures.c.asked_at).where(erasures.c.lead_id == lead_id)).scalar()


def open_ones(connection: Connection) -> list[Erasure]:
    """Those that are not done, the oldest first."""
    rows = connection.execute(select(erasures).where(erasures.c.done_at.is_(None)).order_by(erasures.c.asked_at))
    return [_erasure(row) for row in rows]


def marked(connection: Connection, lead_id: str) -> list[str]:
    """Ids of the lead's batches that are erased, or are to be, the oldest first."""
    query = select(batches.c.id).where(batches.c.lead_id == lead_id, batches.c.erased_at.is_not(None))
    return list(connection.execute(query.order_by(batches.c.accepted_at, batches.c.id)).scalars())


def unfinished(connection: Connection, lead_id: str) -> list[str]:
    """Ids of those among them that are not erased yet: they are just being sent, or have been a moment ago."""
    query = select(batches.c.id).where(
        batches.c.lead_id == lead_id, batches.c.erased_at.is_not(None), or_(HOLDS_LEAD, not_(RESTS))
    )
    return list(connection.execute(query.order_by(batches.c.accepted_at, batches.c.id)).scalars())


def sent_to(connection: Connection, lead_id: str) -> list[str]:
    """Types of the integrations that have got the lead, or may have."""
    has_it = deliveries.c.state.in_([DeliveryState.DELIVERED, DeliveryState.UNKNOWN, DeliveryState.SENDING])
    query = select(deliveries.c.type).join(batches).where(batches.c.lead_id == lead_id, has_it).distinct()
    return list(connection.execute(query.order_by(deliveries.c.type)).scalars())


def erase(connection: Connection, lead_id: str, batch_ids: Sequence[str], *, now: datetime) -> None:
    """Erases those of the lead's batches that rest. Where nobody has asked for it, they were erased for their age, and
    keep what such ones keep."""
    resting = erasing.lock_resting(connection, batch_ids)
    asked = find(connection, lead_id) is not None
    found = erasing.erase(connection, resting, now=now, thoroughly=asked)
    if asked and found != Erased():
        _count(connection, lead_id, Counter(asdict(found)))


def left_in_airflow(
    connection: Connection,
    lead_id: str,
    runs: Sequence[str] | None,
    *,
    audit_log_left: bool | None,
    erased: Mapping[str, int],
) -> None:
    """Writes down which runs hold the lead still, whether the audit log may, and what Airflow holds no longer.

    Args:
        audit_log_left: None: nobody has looked there; it stays as it was.
    """
    values: dict[str, Any] = {"runs": None if runs is None else list(runs)}
    if audit_log_left is not None:
        values["audit_log_left"] = audit_log_left
    connection.execute(update(erasures).where(erasures.c.lead_id == lead_id).values(values))
    _count(connection, lead_id, Counter(erased))


def close(connection: Connection, lead_id: str, *, now: datetime) -> Erasure | None:
    """Writes down that it is done, if nothing is left. Returns how it stands."""
    erasure = find(connection, lead_id)
    if erasure is None or erasure.done_at or erasure.runs is None or erasure.runs or erasure.audit_log_left:
        return erasure
    if unfinished(connection, lead_id):
        return erasure
    connection.execute(update(erasures).where(erasures.c.lead_id == lead_id).values(done_at=now))
    return find(connection, lead_id)


def _count(connection: Connection, lead_id: str, more: Counter[str]) -> None:
    query = select(erasures.c.erased).where(erasures.c.lead_id == lead_id).with_for_update()
    before: dict[str, int] = connection.execute(query).scalar() or {}
    total = {kind: before.get(kind, 0) + more.get(kind, 0) for kind in {**before, **more}}
    connection.execute(update(erasures).where(erasures.c.lead_id == lead_id).values(erased=total))


def _erasure(row: Row[Any]) -> Erasure:
    return Erasure(
        lead_id=row.lead_id,
        asked_at=row.asked_at,
        asked_by=row.asked_by,
        erased=row.erased,
        runs=row.runs,
        audit_log_left=row.audit_log_left,
        done_at=row.done_at,
        reach=marking.reach_of(row),
    )
