"""Routes: a lead is stored, looked at with its batches, erased."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from leadcast.api import answers, schema
from leadcast.api.answers import LeadAnswer, LeadLinks, NoteAnswer, StoredAnswer
from leadcast.api.backend import Backend, BackendDep
from leadcast.api.body import read_json
from leadcast.api.caller import Caller, CallerDep
from leadcast.api.erased import ErasedAnswer
from leadcast.api.links import LinksDep
from leadcast.api.threads import ThreadsDep
from leadcast.control.erase import Report
from leadcast.core.model import Lead
from leadcast.core.reach import Reach
from leadcast.core.request_errors import OthersLead
from leadcast.flow.request import LeadData, LeadId, lead_of
from leadcast.store import whose
from leadcast.store.batches import leads
from leadcast.store.erasing import erasures

router = APIRouter(tags=["leads"])


@router.put(
    "/leads/{lead_id}",
    openapi_extra=schema.body("LeadData", example=schema.LEAD_EXAMPLE),
    responses={201: {"model": StoredAnswer, "description": "The lead is new."}},
)
async def put_lead(
    lead_id: LeadId,
    request: Request,
    response: Response,
    backend: BackendDep,
    caller: CallerDep,
    links: LinksDep,
    threads: ThreadsDep,
) -> StoredAnswer:
    """Store a lead, over the one of this id if there is one: 201 for a new one, 200 for a replaced one.

    You see it from then on. Over one that another has stored, it is yours as little as his: neither of you may erase it
    alone. Batches accepted before keep the lead as it was then.
    """
    data = await read_json(request, lead_at=())
    given = await threads.run(lambda: lead_of(data))
    if await threads.run(lambda: _put(backend, given.lead(lead_id), caller)):
        response.status_code = 201
    stored = StoredAnswer(
        lead_id=lead_id,
        lead=LeadData.model_validate(given.data),
        notes=list(map(NoteAnswer.model_validate, given.notes)),
        links=LeadLinks(self=links.lead(lead_id)),
    )
    response.headers["Location"] = stored.links.self
    return stored


def _put(backend: Backend, lead: Lead, caller: Caller) -> bool:
    with backend.store().begin() as connection:
        return leads.put(connection, lead, stored_by=caller.name or None)


@router.get("/leads/{lead_id}")
async def get_lead(
    lead_id: LeadId, backend: BackendDep, caller: CallerDep, links: LinksDep, threads: ThreadsDep
) -> LeadAnswer:
    """Look at a lead, with its newest batches.

    404 for one that was never sent, unless you have stored it, or may read everybody's leads. One of your own lead
    table is shown as it was sent last.
    """
    return answers.lead(await threads.run(lambda: backend.monitor(caller.sees).lead(lead_id)), links)


@router.delete(
    "/leads/{lead_id}",
    responses={
        202: {"model": ErasedAnswer, "description": "Something is left; what is being sent is erased as it ends."}
    },
)
async def erase_lead(
    lead_id: LeadId, response: Response, backend: BackendDep, caller: CallerDep, threads: ThreadsDep
) -> ErasedAnswer:
    """Erase a person: all that is kept here of a lead, but its id, statuses, times and counts. For whoever alone has
    stored and sent it, and for those who may delete everybody's leads.

    What waits to be sent is cancelled. 200 when nothing is left, 202 when something is; the request is on record either
    way, and gone on with: `GET …/erasure` says how it stands. Sent again, it takes what was sent since, too.
    """
    reach = await threads.run(lambda: _reach(backend, lead_id, caller))
    # runs first: one that has not begun would bring the lead back
    in_airflow = await backend.erase_in_airflow(lead_id, token=caller.token, reach=reach)

    def erase() -> Report:
        return backend.eraser().lead(lead_id, asked_by=caller.id, in_airflow=in_airflow, reach=reach)

    try:
        report = await threads.run(erase)
    except OthersLead:
        raise caller.refused_to_erase() from None
    answer = ErasedAnswer.of(report, backend.settings(), refusals=in_airflow.left or {})
    if not answer.done:
        response.status_code = 202
    return answer


@router.get("/leads/{lead_id}/erasure")
async def get_erasure(lead_id: LeadId, backend: BackendDep, caller: CallerDep, threads: ThreadsDep) -> ErasedAnswer:
    """Look how the erasure of a lead stands. Nothing is changed by it. For whoever has asked for it, and for those who
    may erase the lead.

    404 where nobody has asked for one.
    """

    def look() -> Report:
        _reach(backend, lead_id, caller)
        return backend.eraser().report(lead_id)

    return ErasedAnswer.of(await threads.run(look), backend.settings(), refusals={})


def _reach(backend: Backend, lead_id: str, caller: Caller) -> Reach:
    """Whose is erased. Refuses at once what the store refuses in the end: so nothing in Airflow is touched for it."""
    with backend.store().begin() as connection:
        owners, erasure = whose.of_lead(connection, lead_id), erasures.find(connection, lead_id)
    caller.refuse_to_erase(owners.all, has_asked=erasure is not None and erasure.asked_by == caller.id)
    return caller.erases()
