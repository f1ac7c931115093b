"""Routes: a batch is sent, looked at, listed, retried, cancelled."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from leadcast.api import answers, schema
from leadcast.api.answers import AcceptedAnswer, BatchDetail, PageAnswer
from leadcast.api.backend import Backend, BackendDep
from leadcast.api.body import read_json, read_nothing
from leadcast.api.caller import Caller, CallerDep
from leadcast.api.links import Links, LinksDep
from leadcast.api.threads import ThreadsDep
from leadcast.control.retry import Requeued
from leadcast.core.absent import is_blank
from leadcast.core.clock import in_utc
from leadcast.core.model import BatchStatus
from leadcast.core.request_errors import FieldError, InvalidRequest
from leadcast.flow.request import MAX_KEY_LENGTH, LeadId
from leadcast.integrations import registry
from leadcast.store.batches.listing import Filter

router = APIRouter(tags=["batches"])

MAX_PAGE = 200
_ZONE_WITHOUT_SIGN = re.compile(r"(:\d\d(?:\.\d{1,9})?) (\d\d:?\d\d)$")


def _with_plus(value: Any) -> Any:
    """A time whose `+03:00` came as it is: in a query, + is a blank."""
    return _ZONE_WITHOUT_SIGN.sub(r"\1+\2", value) if isinstance(value, str) else value


def _none_if_blank(key: str | None) -> str | None:
    return None if is_blank(key) else key


IdempotencyKey = Annotated[
    Annotated[str, StringConstraints(max_length=MAX_KEY_LENGTH, pattern=r"^[\x21-\x7e]+$")] | None,
    BeforeValidator(_none_if_blank),
    Header(
        description="The same key and body return the first answer and send nothing; a different body is 409. Blank: "
        "there is none."
    ),
]


class ListQuery(BaseModel):
    """The query of `GET /batches`, and of the monitor's list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: BatchStatus | None = None
    lead_id: LeadId | None = None
    type: str | None = Field(default=None, description="Batches with a delivery to this integration.")
    since: Annotated[AwareDatetime, BeforeValidator(_with_plus), AfterValidator(in_utc)] | None = Field(
        default=None, description="Accepted at or after this time, ISO 8601 with zone, as in 2026-11-01T00:00:00Z."
    )
    cursor: str | None = Field(default=None, max_length=512, description="From `links.next` of the page before.")
    limit: int = Field(default=50, ge=1, le=MAX_PAGE)

    def filter(self) -> Filter:
        """The query as the store takes it, without its cursor.

        Raises:
            InvalidRequest: no such integration.
        """
        if self.type is not None and self.type not in registry.types():
            msg = f"unknown integration; there are: {', '.join(registry.types())}"
            raise InvalidRequest(f"type: {msg}.", errors=[FieldError(("query", "type"), msg)])
        return Filter(status=self.status, lead_id=self.lead_id, type=self.type, since=self.since, limit=self.limit)


@router.post("/send-batch", status_code=202, openapi_extra=schema.body("SendBatch", example=schema.EXAMPLE))
async def send_batch(
    request: Request,
    response: Response,
    backend: BackendDep,
    caller: CallerDep,
    links: LinksDep,
    threads: ThreadsDep,
    idempotency_key: IdempotencyKey = None,
) -> AcceptedAnswer:
    """Send one lead to several integrations.

    Answers as soon as the request is stored; from then on nothing can lose it. `links.self` tells how far it is.
    """
    data = await read_json(request)
    accepted = await threads.run(
        lambda: backend.inbox().accept(
            data, idempotency_key=idempotency_key, caller=caller.id, sent_by=caller.name or None
        )
    )
    if accepted.must_ring and accepted.run_id:
        _ring(backend, accepted.run_id, token=caller.token)
    answer = AcceptedAnswer.of(accepted, links)
    response.headers["Location"] = answer.links.self
    if accepted.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return answer


_ringing: set[asyncio.Task[bool]] = set()


def _ring(backend: Backend, run_id: str, *, token: str) -> None:
    # Besides the answer, not before it: the batch is stored, and ringing takes three times as long as that. Not a
    # background task of the answer's either, after which the caller's next request on this connection would wait.
    task = asyncio.create_task(backend.ring(run_id, token=token))
    # asyncio itself keeps no hold of a task
    _ringing.add(task)
    task.add_done_callback(_ringing.discard)


@router.get("/batches")
async def list_batches(
    request: Request,
    backend: BackendDep,
    caller: CallerDep,
    links: LinksDep,
    threads: ThreadsDep,
    query: Annotated[ListQuery, Query()],
) -> PageAnswer:
    """List batches, newest first, until `links.next` is null.

    Of two filters together, a page looks through 2,000 batches at most: it may be short, or empty, and have a next one.
    """
    found = await threads.run(lambda: backend.monitor(caller.sees).page(query.filter(), cursor=query.cursor))
    return answers.page(found, request, links)


@router.get("/batches/{batch_id}")
async def get_batch(
    batch_id: str, backend: BackendDep, caller: CallerDep, links: LinksDep, threads: ThreadsDep
) -> BatchDetail:
    """Look at one batch: its status, its deliveries, and every attempt made.

    `masked` says whether you see all of it: what may be personal is for whoever has sent it, and for those who may read
    everybody's leads.
    """
    return await threads.run(lambda: _detail(batch_id, backend, caller, links))


def _detail(batch_id: str, backend: Backend, caller: Caller, links: Links) -> BatchDetail:
    return answers.batch_detail(backend.monitor(caller.sees).batch(batch_id), links)


@router.post("/batches/{batch_id}/retry", status_code=202)
async def retry_batch(
    request: Request,
    batch_id: str,
    backend: BackendDep,
    caller: CallerDep,
    links: LinksDep,
    threads: ThreadsDep,
) -> BatchDetail:
    """Send what has failed or is unknown again, never what was delivered. Takes no body. For whoever has sent the
    batch, and for those who may edit everybody's.

    409: it is on its way already (so it is after your first call, if you have not seen its answer), or nothing in it
    has failed. What may have arrived is asked for first, where the service can be asked; where it cannot, it is sent.
    """
    await read_nothing(request)

    def requeue() -> Requeued:
        caller.refuse_to_change(backend.monitor().sender(batch_id))
        return backend.retrier().batch(batch_id, who=caller.id)

    found = await threads.run(requeue)
    if found.must_ring and found.run_id:
        _ring(backend, found.run_id, token=caller.token)
    return await threads.run(lambda: _detail(batch_id, backend, caller, links))


@router.post("/batches/{batch_id}/cancel")
async def cancel_batch(
    request: Request, batch_id: str, backend: BackendDep, caller: CallerDep, links: LinksDep, threads: ThreadsDep
) -> BatchDetail:
    """Cancel what is not being sent yet. Takes no body; called again, it does no harm. For whoever has sent the batch,
    and for those who may edit everybody's.

    What is being sent just now goes to the end of its attempt, which is the last one: until then the batch is
    `processing`. 409: the batch has ended.
    """
    await read_nothing(request)

    def cancel() -> None:
        caller.refuse_to_change(backend.monitor().sender(batch_id))
        backend.canceller().batch(batch_id, who=caller.id)

    await threads.run(cancel)
    return await threads.run(lambda: _detail(batch_id, backend, caller, links))
