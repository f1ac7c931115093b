"""The read side: batches, leads and the store's health, as the API and its pages show them. Writes nothing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, func, select

from leadcast.core.clock import in_utc
from leadcast.core.errors import BatchNotFound, FieldError, InvalidRequest, LeadcastError, LeadNotFound
from leadcast.core.model import BatchStatus, Lead
from leadcast.inbox import LeadSource, look_up
from leadcast.store import circuits, leads, outbox, views
from leadcast.store.circuits import Circuit
from leadcast.store.database import Store
from leadcast.store.listing import Filter, Place, listing
from leadcast.store.schema import batches
from leadcast.store.views import BatchView

_BATCH_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
BATCHES_OF_LEAD = 50


@dataclass(frozen=True)
class Page:
    """Batches, newest first. `next_cursor`: where the next page begins; None: this is the last. One that is not the
    last may be short, or empty, where two things are wanted together (`store.listing`)."""

    batches: Sequence[BatchView]
    next_cursor: str | None


@dataclass(frozen=True)
class LeadView:
    """A lead with its newest batches."""

    lead: Lead
    batches: Sequence[BatchView]

    @property
    def status(self) -> BatchStatus | None:
        """The lead's status: that of its newest batch; None: it was never sent."""
        return self.batches[0].status if self.batches else None


@dataclass(frozen=True)
class StoreHealth:
    """How the store is.

    oldest_pending_at: since when the oldest batch waits that no wave has claimed.
    open_circuits: integration → how many of its accounts are left alone.
    unsent: channel → how many messages to people could not be sent, and are tried again.
    """

    reachable: bool
    migrated: bool
    oldest_pending_at: datetime | None
    open_circuits: Mapping[str, int] = field(default_factory=dict)
    unsent: Mapping[str, int] = field(default_factory=dict)


def checked_id(batch_id: str) -> str:
    """A batch's id as a caller gives it, if it may be one at all.

    Raises:
        BatchNotFound: no batch has such an id.
    """
    if not _BATCH_ID.fullmatch(batch_id):
        raise BatchNotFound(batch_id[:64])
    return batch_id


@dataclass(frozen=True)
class Monitor:
    """Reads the store. Every method may raise StoreError, but `health`."""

    store: Store
    lead_source: LeadSource | None = None

    def batch(self, batch_id: str) -> BatchView:
        """One batch with its deliveries and their attempts.

        Raises:
            BatchNotFound: there is none of this id.
        """
        with self.store.begin() as connection:
            found = views.batch(connection, checked_id(batch_id))
        if found is None:
            raise BatchNotFound(batch_id)
        return found

    def page(self, wanted: Filter, *, cursor: str | None = None) -> Page:
        """One page of batches.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        before = None if cursor is None else _read_cursor(cursor)
        with self.store.begin() as connection:
            found = listing(connection, replace(wanted, before=before))
        return Page(found.batches, None if found.ends_at is None else _cursor(found.ends_at))

    def lead(self, lead_id: str) -> LeadView:
        """A lead with its newest batches.

        Raises:
            LeadNotFound: nobody stored it.
        """
        given = look_up(self.lead_source, lead_id)
        with self.store.begin() as connection:
            lead = given.lead(lead_id) if given is not None else leads.find(connection, lead_id)
            if lead is None:
                raise LeadNotFound(lead_id)
            found = listing(connection, Filter(lead_id=lead_id, limit=BATCHES_OF_LEAD))
        return LeadView(lead, found.batches)

    def counts(self, *, since: datetime) -> Mapping[BatchStatus, int]:
        """How many batches accepted since then have each status."""
        query = select(batches.c.status, func.count()).where(batches.c.accepted_at >= since).group_by(batches.c.status)
        with self.store.begin() as connection:
            found = {BatchStatus(status): count for status, count in connection.execute(query)}
        return {status: found.get(status, 0) for status in BatchStatus}

    def circuits(self) -> Sequence[Circuit]:
        """The accounts that are left alone, at most 100, the newest first."""
        with self.store.begin() as connection:
            return circuits.listing(connection)

    def health(self) -> StoreHealth:
        """Whether the store answers, has the tables that this code needs, and keeps up."""
        try:
            with self.store.begin() as connection:
                if not _is_migrated(connection):
                    return StoreHealth(reachable=True, migrated=False, oldest_pending_at=None)
                return StoreHealth(
                    reachable=True,
                    migrated=True,
                    oldest_pending_at=views.oldest_waiting(connection),
                    open_circuits=circuits.open_by_type(connection),
                    unsent=outbox.unsent(connection),
                )
        except LeadcastError:
            return StoreHealth(reachable=False, migrated=False, oldest_pending_at=None)


def _is_migrated(connection: Connection) -> bool:
    from leadcast.store import migrate

    return migrate.current(connection) == _newest_revision()


@cache
def _newest_revision() -> str:
    from leadcast.store import migrate

    return migrate.newest()


def _cursor(place: Place) -> str:
    accepted_at, batch_id = place
    text = json.dumps([accepted_at.isoformat(), batch_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> Place:
    try:
        accepted_at, batch_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment = in_utc(datetime.fromisoformat(accepted_at))
        if not _BATCH_ID.fullmatch(batch_id):
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        msg = "is not a cursor of an earlier answer; take links.next as it is"
        raise InvalidRequest(f"cursor {msg}.", errors=[FieldError(("query", "cursor"), msg)]) from None
    return moment, batch_id
