"""Accepts a request: lead, batch and deliveries in one transaction. From here on nothing can be lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection

from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import StoreError
from leadcast.core.notes import Note
from leadcast.core.request_errors import IdempotencyConflict, LeadNotFound
from leadcast.core.settings import Settings
from leadcast.core.tidy import Tidied, tidy
from leadcast.flow.request import SendBatch, fingerprint, validate
from leadcast.store import erasure_lock
from leadcast.store.batches import batches, bell, leads
from leadcast.store.database import Store
from leadcast.store.erasing import erasures, marking
from leadcast.store.sealing import callback_url_of, credentials_of

log = structlog.get_logger("leadcast.inbox")


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What is known of a batch as soon as its request is accepted.

    run_id: the wave that will carry the batch, as far as it is known by now.
    notes: what of the lead was mended.
    must_ring: the caller must create that run now. If it cannot, the next arrival or the sweep does.
    repeated: the same request came before under its idempotency key; nothing was written.
    """

    batch_id: str
    lead_id: str
    total_jobs: int
    run_id: str | None
    notes: Sequence[Note] = ()
    must_ring: bool = False
    repeated: bool = False


class LeadSource(Protocol):
    """Where a lead's data is found when a request brings only its id: a table of the user's own."""

    def find(self, lead_id: str) -> Mapping[str, Any] | None:
        """The lead in the shape that a request's `lead` has, or None where nobody knows it."""


def look_up(source: LeadSource | None, lead_id: str) -> Tidied | None:
    """The lead as the source has it, mended as that of any request is; None: it has none, or there is no source.

    Raises:
        LeadTableError: the source could not be used.
    """
    data = source.find(lead_id) if source is not None else None
    return None if data is None else tidy(data)


@dataclass(frozen=True)
class Inbox:
    """Where requests are accepted.

    lead_source: asked before our own store; None: there is only the store.
    """

    store: Store
    settings: Settings
    lead_source: LeadSource | None = None
    clock: Clock = utc_now
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())

    def accept(
        self,
        data: Any,
        *,
        idempotency_key: str | None = None,
        caller: str = "",
        run_id: str | None = None,
        is_over: bool = False,
        lead: Tidied | None = None,
        sent_by: str | None = None,
        made_at: datetime | None = None,
    ) -> Accepted:
        """Validates and stores a request, and answers the bell.

        Args:
            data: the request's JSON, parsed.
            idempotency_key: the same key and body return the first answer.
            caller: who asks; two callers may use the same key for different requests.
            run_id: the run that is about to send this batch, so that nobody needs to ring; None: whichever comes.
            is_over: that run sends nothing any more: another does.
            lead: as its source had it when the caller looked; None: it is looked up now.
            sent_by: the user of Airflow's whose batch it is, and whose lead, if the request brings it; None: nobody's.
            made_at: when that run was made; None: there is none.

        Raises:
            InvalidRequest, LeadNotFound, IdempotencyConflict: nothing was stored.
            StoreError, LeadTableError: the store, or the lead source, could not be used; nothing was stored.
        """
        request = validate(data, defaults=self.settings.integration_settings, conn_ids=self.settings.conn_ids())
        body_sha256 = fingerprint(data)
        key = None if idempotency_key is None else batches.scoped_key(caller, idempotency_key)

        def first_answer(connection: Connection, known: batches.Known) -> Accepted:
            if known.body_sha256 != body_sha256:
                raise IdempotencyConflict
            carried_by = known.wave_id or run_id or bell.waiting_run(connection)
            return _repeated(known, carried_by, total_jobs=len(request.integrations))

        # what was accepted before needs no lead: its source may be away by now, or have it no longer
        if key is not None:
            with self.store.begin() as connection:
                known = batches.known(connection, idempotency_key=key)
                if known is not None:
                    return first_answer(connection, known)
        known_erasure: datetime | None = None
        from_source = request.lead is None and lead is None and self.lead_source is not None
        if from_source:
            with self.store.begin() as connection:
                known_erasure = erasures.asked_at(connection, request.lead_id)
            lead = look_up(self.lead_source, request.lead_id)
        with self.store.begin() as connection:
            erasure_lock.hold_off(connection, request.lead_id)
            if from_source and lead is not None:
                _refuse_erased(connection, request.lead_id, since=known_erasure)
            # before anything is written: what is to be erased must not replace what was stored anew since
            is_to_erase = run_id is not None and marking.takes(
                connection, lead_id=request.lead_id, run_id=run_id, made_at=made_at, sent_by=sent_by
            )
            brings_lead = request.lead is not None and lead is None
            lead = lead or self._lead(connection, request)
            batch_id = self.new_id()
            batch = batches.NewBatch(
                id=batch_id,
                lead=lead.lead(request.lead_id),
                notes=lead.notes,
                priority=request.priority,
                callback_url_sealed=self._callback_url(request, batch_id),
                idempotency_key=key,
                body_sha256=body_sha256,
                accepted_at=self.clock(),
                deliveries=self._deliveries(request, batch_id),
                sent_by=sent_by,
                run_id=None if is_over else run_id,
            )
            known = batches.write(connection, batch)
            if known is not None:
                return first_answer(connection, known)
            if is_to_erase:
                marking.mark_batch(connection, batch_id=batch.id, lead_id=batch.lead.id, now=self.clock())
            elif brings_lead:
                leads.put(connection, batch.lead, stored_by=sent_by)
            rung = bell.Bell(run_id, must_ring=False) if run_id else self._ring_if_needed(connection)
        _note("batch accepted", batch_id=batch.id, lead_id=batch.lead.id, jobs_count=len(batch.deliveries))
        if is_to_erase:
            _note("batch is erased with its lead", batch_id=batch.id, lead_id=batch.lead.id, run_id=run_id)
        return Accepted(
            batch_id=batch.id,
            lead_id=batch.lead.id,
            total_jobs=len(batch.deliveries),
            run_id=rung.run_id,
            notes=batch.notes,
            must_ring=rung.must_ring,
        )

    def _ring_if_needed(self, connection: Connection) -> bell.Bell:
        return bell.ring_if_needed(
            connection, now=self.clock(), timeout=timedelta(seconds=self.settings.bell_timeout_s)
        )

    def _lead(self, connection: Connection, request: SendBatch) -> Tidied:
        if request.lead is not None:
            return Tidied(data=request.lead.model_dump(), notes=request.notes)
        found = leads.find(connection, request.lead_id, to_send=True)
        if found is None:
            raise LeadNotFound(request.lead_id)
        # an older version may have stored it as it came
        return tidy(leads.to_data(found))

    def _deliveries(self, request: SendBatch, batch_id: str) -> list[batches.NewDelivery]:
        def sealed(kind: str, index: int) -> str | None:
            given, for_ = request.credentials.get(kind), credentials_of(batches.delivery_id(batch_id, index))
            return self.store.sealer.seal(given, for_=for_) if given else None

        return [
            batches.NewDelivery(type=item.type, settings=item.settings, credentials_sealed=sealed(item.type, index))
            for index, item in enumerate(request.integrations)
        ]

    def _callback_url(self, request: SendBatch, batch_id: str) -> str | None:
        url, for_ = request.callback_url, callback_url_of(batch_id)
        return self.store.sealer.seal({"url": url}, for_=for_) if url else None


def _refuse_erased(connection: Connection, lead_id: str, *, since: datetime | None) -> None:
    """What was read before the lead was erased must not come back after it."""
    if erasures.asked_at(connection, lead_id) != since:
        raise StoreError(f"Lead {lead_id!r} was erased while it was being accepted.")


def _note(event: str, **facts: Any) -> None:
    """Logs what is stored by now: where the log cannot be written, its disk being full say, it stays stored."""
    with suppress(Exception):
        log.info(event, **facts)


def _repeated(known: batches.Known, run_id: str | None, *, total_jobs: int) -> Accepted:
    _note("batch known", batch_id=known.batch_id, lead_id=known.lead_id)
    return Accepted(
        batch_id=known.batch_id,
        lead_id=known.lead_id,
        total_jobs=total_jobs,
        run_id=run_id,
        notes=known.notes,
        repeated=True,
    )
