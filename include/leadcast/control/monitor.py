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

from leadcast.control.shown import Sees, as_seen, nobodys, words
from leadcast.core.clock import in_utc
from leadcast.core.errors import LeadcastError
from leadcast.core.model import BatchStatus, Lead
from leadcast.core.request_errors import BatchNotFound, FieldError, InvalidRequest, LeadNotFound
from leadcast.integrations.text.own_words import HIDDEN
from leadcast.store import outbox, whose
from leadcast.store.accounts import circuits
from leadcast.store.accounts.circuits import Circuit
from leadcast.store.batches import leads, views
from leadcast.store.batches.listing import Filter, Place, listing
from leadcast.store.batches.views import BatchView
from leadcast.store.database import Store
from leadcast.store.schema import batches

_BATCH_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
BATCHES_OF_LEAD = 50


@dataclass(frozen=True)
class Page:
    """Batches, newest first. `next_cursor`: where the next page begins; None: this is the last. One that is not the
    last may be short, or empty, where two things are wanted together (`store.batches.listing`)."""

    batches: Sequence[BatchView]
    next_cursor: str | None


@dataclass(frozen=True)
class LeadView:
    """A lead with its newest batches. `lead`: as it was stored or sent last, as far as whoever asks may see it; None:
    he may not."""

    lead_id: str
    lead: Lead | None
    batches: Sequence[BatchView]

    @property
    def status(self) -> BatchStatus | None:
        """The lead's status: that of its newest batch; None: it was never sent."""
        return self.batches[0].status if self.batches else None


@dataclass(frozen=True)
class StoreHealth:
    """Whether the store can be used, and what waits in it that should not.

    oldest_pending_at: since when the oldest batch waits of which nothing has begun.
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
    """Reads the store. Every method may raise StoreError, but `health`.

    sees: whose leads whoever asks may see. Of others, he is shown how they went.
    """

    store: Store
    sees: Sees = nobodys

    def batch(self, batch_id: str) -> BatchView:
        """One batch with its deliveries and their attempts.

        Raises:
            BatchNotFound: there is none of this id.
        """
        with self.store.begin() as connection:
            found = views.batch(connection, checked_id(batch_id))
        if found is None:
            raise BatchNotFound(batch_id)
        return as_seen(found, self.sees)

    def sender(self, batch_id: str) -> str | None:
        """The user who has sent a batch; None: nobody knows.

        Raises:
            BatchNotFound: there is none of this id.
        """
        with self.store.begin() as connection:
            found = whose.of_batch(connection, checked_id(batch_id))
        if not found:
            raise BatchNotFound(batch_id)
        return found[0]

    def page(self, wanted: Filter, *, cursor: str | None = None) -> Page:
        """One page of batches.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        before = None if cursor is None else _read_cursor(cursor)
        with self.store.begin() as connection:
            found = listing(connection, replace(wanted, before=before))
        return Page(self._seen(found.batches), None if found.ends_at is None else _cursor(found.ends_at))

    def lead(self, lead_id: str) -> LeadView:
        """A lead with its newest batches. One of the user's own table is known here once it was sent, as it was sent:
        nobody finds out by trying ids who is in that table.

        Raises:
            LeadNotFound: it is not there for whoever asks. One that was only stored is there for those who may see it.
        """
        with self.store.begin() as connection:
            lead = leads.find(connection, lead_id) if self._sees_stored(connection, lead_id) else None
            sent = whose.unerased_of_lead(connection, lead_id, limit=BATCHES_OF_LEAD)
            if lead is None and not sent:
                raise LeadNotFound(lead_id, is_looked_at=True)
            if lead is None:
                his = next((batch_id for batch_id, sender in sent if self.sees(sender)), None)
                lead = None if his is None else leads.as_sent(connection, lead_id, batch_id=his)
            found = listing(connection, Filter(lead_id=lead_id, limit=BATCHES_OF_LEAD))
        return LeadView(lead_id, lead, self._seen(found.batches))

    def _sees_stored(self, connection: Connection, lead_id: str) -> bool:
        return any(map(self.sees, whose.of_lead(connection, lead_id).stored))

    def _seen(self, found: Sequence[BatchView]) -> list[BatchView]:
        return [as_seen(batch, self.sees) for batch in found]

    def counts(self, *, since: datetime) -> Mapping[BatchStatus, int]:
        """How many batches accepted since then have each status."""
        query = select(batches.c.status, func.count()).where(batches.c.accepted_at >= since).group_by(batches.c.status)
        with self.store.begin() as connection:
            found = {BatchStatus(status): count for status, count in connection.execute(query)}
        return {status: found.get(status, 0) for status in BatchStatus}

    def circuits(self) -> Sequence[Circuit]:
        """The accounts that are left alone, at most 100, the newest first. Why they are may have been said of any lead,
        so whoever may not see them all is shown our own words of it, and not which accounts these are."""
        with self.store.begin() as connection:
            found = circuits.listing(connection)
        return found if self.sees(None) else [_wordless(item) for item in found]

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


def _wordless(circuit: Circuit) -> Circuit:
    account = replace(circuit.account, label=HIDDEN)
    return replace(circuit, account=account, reason=words(account.type, circuit.reason) or "")


def _is_migrated(connection: Connection) -> bool:
    from leadcast.store.upkeep import migrate

    return migrate.current(connection) == _newest_revision()


@cache
def _newest_revision() -> str:
    from leadcast.store.upkeep import migrate

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
