"""amoCRM's incoming leads ("неразобранное"): forms that wait for a person to accept them (vendors.md 1.6)."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from leadcast.sandbox.amocrm.account import AmoAccount
from leadcast.sandbox.amocrm.catalogue import FIRST_STATUS_ID
from leadcast.sandbox.amocrm.reads import page_of
from leadcast.sandbox.amocrm.validation import problems_of_form
from leadcast.sandbox.amocrm.writes import MAX_ITEMS, items_of, links_to
from leadcast.sandbox.http_service import call_of

_PATH = "leads/unsorted"
_NOT_IN_THE_ANSWER = ("source_uid", "source_name", "category", "pipeline_id", "created_at", "metadata")


class AmoIncoming:
    """The endpoints. Their list names leads, contacts and companies by id only."""

    def __init__(self, account: AmoAccount) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        return [
            Route(f"/api/v4/{_PATH}/forms", self._add_forms, methods=["POST"]),
            Route(f"/api/v4/{_PATH}", self._list, methods=["GET"]),
            Route(f"/api/v4/{_PATH}/{{uid}}/accept", self._accept, methods=["POST"]),
        ]

    async def _add_forms(self, request: Request) -> Response:
        items = await items_of(request, MAX_ITEMS, problems_of_form)
        store = self._account.store
        answers = []
        for request_id, item in items:
            form = store.add_form(item)
            lead = store.get("leads", form["_embedded"]["leads"][0]["id"])
            assert lead is not None
            call_of(request).stored.append(store.with_contacts(lead))
            answer = {name: value for name, value in form.items() if name not in _NOT_IN_THE_ANSWER}
            answers.append({**answer, "request_id": request_id, "_links": links_to(request, _PATH, form["uid"])})
        body: dict[str, Any] = {"_total_items": len(answers), "_links": links_to(request, _PATH)}
        return JSONResponse({**body, "_embedded": {"unsorted": answers}}, media_type="application/hal+json")

    async def _list(self, request: Request) -> Response:
        return page_of(request, "unsorted", self._account.store.incoming())

    async def _accept(self, request: Request) -> Response:
        form = self._account.store.accept(request.path_params["uid"], status_id=FIRST_STATUS_ID)
        if form is None:
            raise HTTPException(404)
        body = {"uid": form["uid"], "category": form["category"], "_embedded": form["_embedded"]}
        return JSONResponse(body, media_type="application/hal+json")
