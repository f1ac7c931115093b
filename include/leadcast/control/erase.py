"""Erases personal data: a person's on request, everybody's after a time. Counts and statuses stay.

Whatever breaks off is gone on with: by the sweep, which finds what was asked for, and by the next walk over the old.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from leadcast.control.cancel import Canceller
from leadcast.core.clock import Clock, utc_now
from leadcast.core.reach import EVERYBODYS, Reach
from leadcast.core.request_errors import BatchNotFound, ErasureNotFound, NothingToCancel, NothingToErase, OthersLead
from leadcast.core.settings import Settings
from leadcast.flow.told import Moment
from leadcast.store.batches import run_requests
from leadcast.store.database import Store
from leadcast.store.erasing import erasures, old_leads
from leadcast.store.erasing.erasing import Erased
from leadcast.store.erasing.erasures import Erasure

log = structlog.get_logger("leadcast.erase")

AT_ONCE = 500
"""Batches, or leads, erased in one transaction."""
LOOKED_AT_AGAIN = timedelta(days=7)
"""For how long an attempt that was taken for dead may still have written into what was erased."""

Advance = Callable[[int], None]
"""Told how many more batches or leads are done."""


@dataclass(frozen=True, kw_only=True)
class InAirflow:
    """What Airflow held of a lead.

    erased: kind → how many it holds no longer.
    left: run id → why it could not be deleted; None: they could not all be looked for.
    audit_log_left: whether some of its audit log could not be looked at; None: it has not been tried.
    is_others: a run of somebody's whom the erasure does not reach holds it; nothing was erased.
    """

    erased: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, str] | None = field(default_factory=dict)
    audit_log_left: bool | None = False
    is_others: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far an erasure is, and where else the person's data may be.

    sending: ids of batches whose last attempt is on its way; they are erased as it ends.
    sent_to: types of integrations that have the lead, or may have.
    """

    erasure: Erasure
    sending: Sequence[str]
    sent_to: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Eraser:
    """Erases a person: his lead, what was sent of it, and what was told of that.

    hooks: the moments for which there may be hooks of the user's. Who cannot know leaves it at all of them.
    """

    store: Store
    settings: Settings
    clock: Clock = utc_now
    hooks: Collection[str] = tuple(Moment)

    def lead(self, lead_id: str, *, asked_by: str, in_airflow: InAirflow, reach: Reach = EVERYBODYS) -> Report:
        """Erases a person, as far as nothing of them is just being sent; the rest follows when that has ended.

        What waits to be sent is cancelled. Done again, it takes what was sent since, too.

        Args:
            asked_by: a user of Airflow's, for the record.
            in_airflow: what became of the runs that hold the lead.
            reach: whose is erased.

        Raises:
            OthersLead: somebody has stored or sent it, or has a run that holds it, whom the erasure does not reach.
            NothingToErase: nothing is known of such a lead.
            StoreError: the store could not be used. If it was written down by then, it is gone on with.
        """
        if in_airflow.is_others:
            raise OthersLead
        with self.store.begin() as connection:
            asked = erasures.ask(
                connection,
                lead_id,
                asked_by=asked_by,
                erased_elsewhere=in_airflow.erased,
                runs=None if in_airflow.left is None else sorted(in_airflow.left),
                audit_log_left=in_airflow.audit_log_left is not False,
                now=self.clock(),
                only_of=reach.only_of,
            )
        if asked is None:
            raise NothingToErase(lead_id)
        log.info("erasure asked for", lead_id=lead_id, asked_by=asked_by)
        return self._go_on(asked)

    def report(self, lead_id: str) -> Report:
        """How the erasure of a lead stands. Changes nothing.

        Raises:
            ErasureNotFound: nobody has asked for one.
            StoreError: the store could not be used.
        """
        with self.store.begin() as connection:
            erasure = erasures.find(connection, lead_id)
            if erasure is None:
                raise ErasureNotFound(lead_id)
            return Report(
                erasure=erasure,
                sending=erasures.unfinished(connection, lead_id),
                sent_to=erasures.sent_to(connection, lead_id),
            )

    def go_on(self) -> list[Report]:
        """Goes on with what was asked for and is not done. Returns how it stands with each."""
        with self.store.begin() as connection:
            waiting = erasures.open_ones(connection)
        return [self._go_on(erasure) for erasure in waiting]

    def open_ones(self) -> list[Erasure]:
        """What was asked for and is not done."""
        with self.store.begin() as connection:
            return erasures.open_ones(connection)

    def was_there(self, erasure: Erasure, run_id: str, made_at: datetime) -> bool:
        """Whether a run was there when the erasure was asked for. What was sent since is another request, and goes out.

        Args:
            made_at: when it was made at the earliest, where the store has no note of it.
        """
        if run_id in (erasure.runs or ()):
            return True
        with self.store.begin() as connection:
            noted = run_requests.noted_at(connection, run_id=run_id)
        return (noted or made_at) < erasure.asked_at

    def in_airflow(self, lead_id: str, found: InAirflow) -> None:
        """Writes down what became of the runs that hold a lead which is to be erased."""
        left = None if found.left is None else sorted(found.left)
        with self.store.begin() as connection:
            erasures.left_in_airflow(
                connection, lead_id, left, audit_log_left=found.audit_log_left, erased=found.erased
            )

    def _go_on(self, erasure: Erasure) -> Report:
        lead_id = erasure.lead_id
        with self.store.begin() as connection:
            ids = erasures.marked(connection, lead_id)
            unfinished = erasures.unfinished(connection, lead_id)
        for batch_id in unfinished:
            self._cancel(batch_id)
        self._erase(lead_id, ids)
        with self.store.begin() as connection:
            sending = erasures.unfinished(connection, lead_id)
            stands = erasures.close(connection, lead_id, now=self.clock()) or erasure
            sent_to = erasures.sent_to(connection, lead_id)
        if stands.done_at is not None:
            log.info("lead erased", lead_id=lead_id, **stands.erased)
        return Report(erasure=stands, sending=sending, sent_to=sent_to)

    def _cancel(self, batch_id: str) -> None:
        canceller = Canceller(store=self.store, settings=self.settings, clock=self.clock, hooks=self.hooks)
        with suppress(NothingToCancel, BatchNotFound):
            canceller.batch(batch_id)

    def _erase(self, lead_id: str, batch_ids: Sequence[str]) -> None:
        for start in range(0, len(batch_ids), AT_ONCE):
            with self.store.begin() as connection:
                erasures.erase(connection, lead_id, batch_ids[start : start + AT_ONCE], now=self.clock())

    def count_old(self) -> Mapping[str, int]:
        """How many leads and batches are older than `keep_leads_days`: kind → number. Kept for ever, none is."""
        before = self._before()
        if before is None:
            return {"leads": 0, "batches": 0}
        with self.store.begin() as connection:
            return old_leads.count(connection, before=before)

    def old(self, *, advance: Advance = lambda done: None) -> Erased:
        """Erases what is older than `keep_leads_days`, in small transactions. What has not ended stays, however old.

        Raises:
            StoreError: the store could not be used; what was erased by then is.
        """
        self._look_again()
        before = self._before()
        if before is None:
            return Erased()
        erased = self._old_batches(before, advance) + self._old_leads(before, advance)
        with self.store.begin() as connection:
            erased += old_leads.erase_words(connection, before=before)
        log.info("old leads erased", before=before.isoformat(), leads=erased.leads, batches=erased.batches)
        return erased

    def _before(self) -> datetime | None:
        days = self.settings.keep_leads_days
        return self.clock() - timedelta(days=days) if days else None

    def _look_again(self) -> None:
        with self.store.begin() as connection:
            found = old_leads.written_since(connection, since=self.clock() - LOOKED_AT_AGAIN)
        for batch_id, lead_id in found:
            self._erase(lead_id, [batch_id])

    def _old_batches(self, before: datetime, advance: Advance) -> Erased:
        total, place = Erased(), None
        while True:
            with self.store.begin() as connection:
                erased, place = old_leads.erase_batches(
                    connection, before=before, after=place, limit=AT_ONCE, now=self.clock()
                )
            total += erased
            advance(erased.batches)
            if place is None:
                return total

    def _old_leads(self, before: datetime, advance: Advance) -> Erased:
        total, last = Erased(), ""
        while True:
            with self.store.begin() as connection:
                erased, after = old_leads.erase_leads(connection, before=before, after=last, limit=AT_ONCE)
            total += erased
            advance(erased.leads)
            if after is None:
                return total
            last = after
