"""Routes: a lead is stored, and looked at with its batches."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from leadcast.api import answers, schema
from leadcast.api.answers import LeadAnswer, LeadLinks, StoredAnswer
from leadcast.api.backend import Backend, BackendDep
from leadcast.api.body import read_json
from leadcast.api.links import LinksDep
from leadcast.core.model import Lead
from leadcast.request import LeadData, LeadId, check, refuse_unstorable
from leadcast.store import leads

router = APIRouter(tags=["leads"])


@router.put(
    "/leads/{lead_id}",
    openapi_extra=schema.body("LeadData", example=schema.LEAD_EXAMPLE),
    responses={201: {"model": StoredAnswer, "description": "The lead is new."}},
)
async def put_lead(
    lead_id: LeadId, request: Request, response: Response, backend: BackendDep, links: LinksDep
) -> StoredAnswer:
    """Store a lead, over the one of this id if there is one: 201 for a new one, 200 for a replaced one.

    Batches accepted before keep the lead as it was then.
    """
    data = await read_json(request)
    refuse_unstorable(data)
    given = check(LeadData, data)
    if await run_in_threadpool(_put, backend, given.to_lead(lead_id)):
        response.status_code = 201
    stored = StoredAnswer(lead_id=lead_id, lead=given, links=LeadLinks(self=links.lead(lead_id)))
    response.headers["Location"] = stored.links.self
    return stored


def _put(backend: Backend, lead: Lead) -> bool:
    with backend.store().begin() as connection:
        return leads.put(connection, lead)


@router.get("/leads/{lead_id}")
def get_lead(lead_id: LeadId, backend: BackendDep, links: LinksDep) -> LeadAnswer:
    """Look at a lead, with its newest batches."""
    return answers.lead(backend.monitor().lead(lead_id), links)
