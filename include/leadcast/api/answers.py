"""What the API answers: the views of the store as JSON, times as ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from leadcast.api.links import Links
from leadcast.control.monitor import LeadView, Page
from leadcast.core.model import BatchStatus, DeliveryState, Priority
from leadcast.flow.inbox import Accepted
from leadcast.flow.request import LeadData
from leadcast.integrations.registry import queue_if_known
from leadcast.store.batches.views import BatchView, DeliveryView

Utc = Annotated[datetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


class Answer(BaseModel):
    """Base of all answers; reads our dataclasses."""

    model_config = ConfigDict(from_attributes=True)


class BatchLinks(Answer):
    """`run`: the batch's run in Airflow; null while it is not known which wave carries it."""

    self: str
    run: str | None


class NoteAnswer(Answer):
    """What of the lead was mended, and the way to the field. Holds no value of the lead."""

    loc: list[str | int]
    msg: str


_NOTES = "What of the lead was mended when it was accepted; the last one may say how many more."
NOTES: Any = Field(description=_NOTES)
_WITHOUT_RIGHT = "Where `masked` is true"


class AcceptedAnswer(Answer):
    """The request is stored; nothing can lose it from here on."""

    batch_id: str
    lead_id: str
    status: BatchStatus = BatchStatus.PENDING
    total_jobs: int
    notes: list[NoteAnswer] = NOTES
    links: BatchLinks

    @classmethod
    def of(cls, accepted: Accepted, links: Links) -> AcceptedAnswer:
        """The answer to a request."""
        return cls(
            batch_id=accepted.batch_id,
            lead_id=accepted.lead_id,
            total_jobs=accepted.total_jobs,
            notes=list(map(NoteAnswer.model_validate, accepted.notes)),
            links=BatchLinks(self=links.batch(accepted.batch_id), run=links.run(accepted.run_id)),
        )


class AttemptAnswer(Answer):
    """One attempt. `finished_at` null: it runs, or died and nobody has noticed yet."""

    number: int
    outcome: str
    code: str | None
    message: str | None = Field(description=f"{_WITHOUT_RIGHT}, our own words of it only (…: the rest).")
    worker: str | None
    started_at: Utc
    finished_at: Utc | None


class DeliveryAnswer(Answer):
    """One lead to one integration. `error.may_pass`: whether it may succeed later with nobody changing anything."""

    id: str
    type: str
    queue: Annotated[str, BeforeValidator(queue_if_known), Field(validation_alias="type")]
    state: DeliveryState
    attempts: int
    receipt: dict[str, Any] | None = Field(description=f"{_WITHOUT_RIGHT}, its `detail` is null.")
    error: dict[str, Any] | None = Field(
        description=f"{_WITHOUT_RIGHT}, its `detail` is null, and `message` has our own words only (…: the rest)."
    )
    next_attempt_at: Utc | None
    waits_for: str | None = Field(
        description="limit, circuit, service, integration (its type is not installed): it waits without a run, until "
        "next_attempt_at; retry: a person has put it back. null: it does not."
    )
    started_at: Utc | None
    finished_at: Utc | None
    duration_s: float | None


class DeliveryDetail(DeliveryAnswer):
    """A delivery with all its attempts, the first one first."""

    history: list[AttemptAnswer]


class BatchAnswer(Answer):
    """A batch and how far it is."""

    batch_id: str
    lead_id: str
    status: BatchStatus
    priority: Priority
    total_jobs: int
    pending_jobs: int
    processed_jobs: int = Field(description="Deliveries that have ended, however.")
    failed_jobs: int = Field(description="Failed and unknown ones.")
    progress: int = Field(ge=0, le=100, description="Percent; 100 exactly when nothing is pending.")
    run_id: str | None
    critical: str | None = Field(description="Why the batch could not be run as it should; null: it could.")
    accepted_at: Utc
    started_at: Utc | None
    finished_at: Utc | None
    cancelled_at: Utc | None = Field(description="When a person has cancelled what had not been sent; null: nobody.")
    duration_s: float | None = Field(description="Seconds from acceptance to the final status.")
    notes: list[NoteAnswer] | None = Field(description=f"{_NOTES} {_WITHOUT_RIGHT}, null.")
    sent_by: str | None = Field(description="The user of Airflow's who has sent it; null: it is not known.")
    masked: bool = Field(
        description="You see how it goes, and nothing that may be personal: somebody else has sent it, or you may not "
        "send, and you have no right to read Leadcast leads."
    )
    links: BatchLinks
    deliveries: list[DeliveryAnswer]


class BatchDetail(BatchAnswer):
    """A batch with the history of its deliveries."""

    deliveries: list[DeliveryDetail]  # type: ignore[assignment]  # narrower, and never written


class PageLinks(Answer):
    """`next`: the next page, or null."""

    next: str | None


class PageAnswer(Answer):
    """Batches, newest first."""

    batches: list[BatchAnswer]
    links: PageLinks


class LeadLinks(Answer):
    """Where the lead is."""

    self: str


class StoredAnswer(Answer):
    """A lead was stored."""

    lead_id: str
    lead: LeadData
    notes: list[NoteAnswer] = NOTES
    links: LeadLinks


class LeadAnswer(Answer):
    """A lead with its newest batches, up to 50. `status`: that of the newest one; null: it was never sent."""

    lead_id: str
    lead: LeadData | None = Field(
        description=f"As it was stored or sent last, of what you may see. {_WITHOUT_RIGHT}, null."
    )
    masked: bool = Field(
        description="There is such a lead, and you may not see it: others have stored and sent it, or you may not "
        "send, and you have no right to read Leadcast leads."
    )
    status: BatchStatus | None
    batches: list[BatchAnswer]
    links: LeadLinks


def batch_detail(view: BatchView, links: Links) -> BatchDetail:
    """One batch as the API tells it."""
    deliveries = [DeliveryDetail.model_validate(delivery) for delivery in view.deliveries]
    return BatchDetail(**_of_batch(view, links), deliveries=deliveries)


def page(found: Page, request: Request, links: Links) -> PageAnswer:
    """One page; its next one keeps the filter of this one."""
    following = None
    if found.next_cursor is not None:
        following = links.batches(str(request.url.include_query_params(cursor=found.next_cursor).query))
    return PageAnswer(batches=_batches(found.batches, links), links=PageLinks(next=following))


def lead(view: LeadView, links: Links) -> LeadAnswer:
    """A lead as the API tells it."""
    found = view.lead
    return LeadAnswer(
        lead_id=view.lead_id,
        lead=None if found is None else LeadData.model_validate(found, from_attributes=True, extra="ignore"),
        masked=found is None,
        status=view.status,
        batches=_batches(view.batches, links),
        links=LeadLinks(self=links.lead(view.lead_id)),
    )


def _batches(views: Iterable[BatchView], links: Links) -> list[BatchAnswer]:
    return [BatchAnswer(**_of_batch(view, links), deliveries=_deliveries(view.deliveries)) for view in views]


def _deliveries(views: Iterable[DeliveryView]) -> list[DeliveryAnswer]:
    return [DeliveryAnswer.model_validate(view) for view in views]


def _of_batch(view: BatchView, links: Links) -> dict[str, Any]:
    counters = view.counters
    return {
        "batch_id": view.id,
        "lead_id": view.lead_id,
        "status": view.status,
        "priority": view.priority,
        "total_jobs": counters.total,
        "pending_jobs": counters.pending,
        "processed_jobs": counters.processed,
        "failed_jobs": counters.failed,
        "progress": counters.progress,
        "run_id": view.run_id,
        "critical": view.critical,
        "accepted_at": view.accepted_at,
        "started_at": view.started_at,
        "finished_at": view.finished_at,
        "cancelled_at": view.cancelled_at,
        "duration_s": view.duration_s,
        "notes": None if view.is_masked else list(map(NoteAnswer.model_validate, view.notes)),
        "sent_by": view.sent_by,
        "masked": view.is_masked,
        "links": BatchLinks(self=links.batch(view.id), run=links.run(view.run_id)),
    }
