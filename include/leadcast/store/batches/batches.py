"""Batches: written once when accepted, begun in a run, given a status from their deliveries."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    insert,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import ProgrammingError

from leadcast.core.digest import digest
from leadcast.core.model import OPEN, BatchStatus, DeliveryState, Lead, Priority
from leadcast.core.notes import Note
from leadcast.store import whose
from leadcast.store.batches import lanes
from leadcast.store.batches.leads import to_data
from leadcast.store.schema import batches, deliveries

RUN = "dag_run"
"""Who asks where a run brings its own request."""
_NO_SUCH_COLUMN = "42703"


# the tables of an older version do not, and take leads all the same. Asked with what is written: a question of its own
# would be one more for each lead
def _knows(name: str) -> ColumnElement[bool]:
    return literal_column(
        f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'deliveries'::regclass AND attname = '{name}' "
        "AND NOT attisdropped)",
        Boolean,
    ).label(name)


_KNOWN = (_knows("listed_at"), _knows("priority"))


@dataclass(frozen=True, kw_only=True)
class NewDelivery:
    """One delivery to be written as `pending`."""

    type: str
    settings: Mapping[str, Any]
    credentials_sealed: str | None


@dataclass(frozen=True, kw_only=True)
class NewBatch:
    """A batch to be written as `pending`, with its deliveries.

    sent_by: the user who sends it; None: nobody knows.
    run_id: the run that is to send it; the lane leaves it to that for a moment. None: whichever comes.
    """

    id: str
    lead: Lead
    priority: Priority
    callback_url_sealed: str | None
    idempotency_key: str | None
    body_sha256: str
    accepted_at: datetime
    deliveries: Sequence[NewDelivery] = field(repr=False)
    notes: Sequence[Note] = ()
    sent_by: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class Known:
    """A batch that was there already under the same idempotency key."""

    batch_id: str
    lead_id: str
    body_sha256: str
    wave_id: str | None
    accepted_at: datetime
    notes: Sequence[Note] = ()


def delivery_id(batch_id: str, index: int) -> str:
    """Of the delivery at this place of a batch, counted from 0."""
    return f"{batch_id}-{index}"


def write(connection: Connection, batch: NewBatch) -> Known | None:
    """Writes the batch, or finds the one which came before with the same idempotency key.

    Two requests with one key at the same moment: the second waits for the first to commit, then finds it.
    """
    sender = {"sent_by": batch.sent_by} if whose.has_a_place(connection) else {}
    statement = upsert(batches).values(
        id=batch.id,
        lead_id=batch.lead.id,
        lead=to_data(batch.lead),
        status=BatchStatus.PENDING,
        priority=batch.priority.rank,
        callback_url_sealed=batch.callback_url_sealed,
        idempotency_key=batch.idempotency_key,
        body_sha256=batch.body_sha256,
        accepted_at=batch.accepted_at,
        **sender,
    )
    statement = statement.on_conflict_do_nothing(index_elements=[batches.c.idempotency_key])
    written = connection.execute(statement.returning(*_KNOWN)).one_or_none()
    if written is None:
        return known(connection, idempotency_key=batch.idempotency_key)
    place: dict[str, Any] = {"next_attempt_at": batch.accepted_at + lanes.ITS_RUN_FIRST} if batch.run_id else {}
    place |= {"listed_at": batch.accepted_at} if written.listed_at else {}
    if written.priority:
        place |= {"priority": lanes.place(batch.priority.rank)}
    connection.execute(
        insert(deliveries),
        [
            {
                "id": delivery_id(batch.id, index),
                "batch_id": batch.id,
                "index": index,
                "type": item.type,
                "settings": dict(item.settings),
                "credentials_sealed": item.credentials_sealed,
                "state": DeliveryState.PENDING,
                **place,
            }
            for index, item in enumerate(batch.deliveries)
        ],
    )
    if batch.notes:
        listed = [note.to_data() for note in batch.notes]
        with _as_far_as_the_tables_go(connection):
            connection.execute(update(batches).where(batches.c.id == batch.id).values(notes=listed))
    return None


@contextmanager
def _as_far_as_the_tables_go(connection: Connection) -> Iterator[None]:
    """Notes have no place in the tables of an older version, and are no reason to refuse a lead until the upgrade."""
    try:
        with connection.begin_nested():
            yield
    except ProgrammingError as error:
        codes = {getattr(error.orig, name, None) for name in ("sqlstate", "pgcode")}  # psycopg's name, and psycopg2's
        if _NO_SUCH_COLUMN not in codes:
            raise


def scoped_key(caller: str, key: str) -> str:
    """The idempotency key as it is stored: each caller has keys of his own, of any length and alphabet."""
    return digest(f"{caller}\0{key}")


def known(connection: Connection, *, idempotency_key: str | None) -> Known | None:
    """The batch that was accepted under this key, if one was."""
    row = connection.execute(
        select(batches.c.id, batches.c.lead_id, batches.c.body_sha256, batches.c.wave_id, batches.c.accepted_at).where(
            batches.c.idempotency_key == idempotency_key
        )
    ).one_or_none()
    if row is None:
        return None
    notes: list[Note] = []
    with _as_far_as_the_tables_go(connection):
        kept = connection.execute(select(batches.c.notes).where(batches.c.id == row.id)).scalar_one()
        notes = [Note.of(note) for note in kept]
    return Known(row.id, row.lead_id, row.body_sha256, row.wave_id, row.accepted_at, notes)


def is_of_wave(run_id: str, since: datetime | None) -> ColumnElement[bool]:
    """Whether a batch was begun in a run.

    Args:
        since: when its run was made. What had ended before was another run's, which had this id and was deleted. None:
            nobody knows.
    """
    is_its = batches.c.wave_id == run_id
    if since is None:
        return is_its
    return and_(is_its, or_(batches.c.finished_at.is_(None), batches.c.finished_at >= since))


def of_wave(
    connection: Connection, *, run_id: str, since: datetime | None = None, is_open: bool | None = None
) -> list[str]:
    """Ids of the batches that were begun in a run, the oldest first.

    Args:
        since: as in `is_of_wave`.
        is_open: those that are, or have ended; None: all.
    """
    found = select(batches.c.id).where(is_of_wave(run_id, since)).order_by(batches.c.accepted_at, batches.c.id)
    if is_open is not None:
        found = found.where(batches.c.finished_at.is_(None) if is_open else batches.c.finished_at.is_not(None))
    return list(connection.execute(found).scalars())


def unsettled(connection: Connection, *, limit: int) -> list[str]:
    """Ids of batches that are open, and in which nothing is."""
    is_open = batches.c.status.in_([BatchStatus.PENDING, BatchStatus.PROCESSING])
    # both asked of each open batch by itself: else PostgreSQL reads all that there ever was, once many are open
    opened = select(batches.c.id).where(is_open).cte("opened").prefix_with("MATERIALIZED")
    goes_on = (
        select(true())
        .where(deliveries.c.batch_id == opened.c.id)
        .where(deliveries.c.state.in_(OPEN))
        .limit(1)
        .scalar_subquery()
    )
    return list(connection.execute(select(opened.c.id).where(goes_on.is_(None)).limit(limit)).scalars())


@dataclass(frozen=True)
class LockedBatch:
    """A batch that this transaction has locked: until it ends, nobody else settles, retries or cancels it.

    rounds: how often the schedule has sent it again since a person last did.
    manual_actions: how often a person has had something of it sent again.
    """

    batch_id: str
    lead_id: str
    status: BatchStatus
    wave_id: str | None
    priority: int
    rounds: int
    manual_actions: int
    critical: str
    callback_url_sealed: str | None = field(repr=False)
    is_cancelled: bool
    is_erased: bool


def lock(connection: Connection, *, batch_id: str) -> LockedBatch:
    """Locks a batch that is known to be there."""
    return _locked(connection.execute(_row_of(batch_id)).one())


def lock_all(connection: Connection, *, batch_ids: Collection[str]) -> list[LockedBatch]:
    """Locks batches that are known to be there, one after the other by their ids."""
    rows = connection.execute(
        select(batches).where(batches.c.id.in_(batch_ids)).order_by(batches.c.id).with_for_update()
    )
    return [_locked(row) for row in rows]


def find_and_lock(connection: Connection, *, batch_id: str) -> LockedBatch | None:
    """Locks the batch; None: there is none of this id."""
    row = connection.execute(_row_of(batch_id)).one_or_none()
    return None if row is None else _locked(row)


def _row_of(batch_id: str) -> Select[Any]:
    return select(batches).where(batches.c.id == batch_id).with_for_update()


def _locked(row: Row[Any]) -> LockedBatch:
    return LockedBatch(
        batch_id=row.id,
        lead_id=row.lead_id,
        status=BatchStatus(row.status),
        wave_id=row.wave_id,
        priority=row.priority,
        rounds=row.rounds,
        manual_actions=row.asks,
        critical=row.critical or "",
        callback_url_sealed=row.callback_url_sealed,
        is_cancelled=row.cancelled_at is not None,
        is_erased=row.erased_at is not None,
    )


def set_critical(connection: Connection, *, batch_id: str, reason: str) -> None:
    """Writes down why a batch could not be run as it should; empty: it could."""
    connection.execute(update(batches).where(batches.c.id == batch_id).values(critical=reason[:500] or None))


def set_status(connection: Connection, *, batch_id: str, status: BatchStatus, now: datetime) -> None:
    """Writes a batch's status; its `finished_at` is the moment of the first final one after it was open."""
    finished_at = now if status.is_final else None
    connection.execute(update(batches).where(batches.c.id == batch_id).values(status=status, finished_at=finished_at))


def newest_ended(connection: Connection, *, lead_id: str) -> tuple[BatchStatus, datetime] | None:
    """The status that a lead has: that of its newest batch that has one, and since when."""
    row = connection.execute(
        select(batches.c.status, batches.c.finished_at)
        .where(batches.c.lead_id == lead_id, batches.c.finished_at.is_not(None))
        .order_by(batches.c.accepted_at.desc(), batches.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (BatchStatus(row.status), row.finished_at)
