"""amoCRM's links: a contact or a company that is there already, joined to a lead (vendors.md 1.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from leadcast.sandbox.amocrm.account import AmoAccount
from leadcast.sandbox.amocrm.validation import Problem, missing, not_a_choice
from leadcast.sandbox.amocrm.writes import MAX_ITEMS, items_of

_TYPES = ("contacts", "companies")


class AmoLinks:
    """The endpoints."""

    def __init__(self, account: AmoAccount) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        return [
            Route("/api/v4/leads/{lead_id:int}/link", self._link, methods=["POST"]),
            Route("/api/v4/leads/{lead_id:int}/links", self._list, methods=["GET"]),
        ]

    async def _link(self, request: Request) -> Response:
        lead = self._lead(request)
        given = [item for _, item in await items_of(request, MAX_ITEMS, _problems)]
        if any(self._account.store.get(item["to_entity_type"], item["to_entity_id"]) is None for item in given):
            raise HTTPException(404)
        for item in given:
            linked = lead["_embedded"][item["to_entity_type"]]
            is_main = bool((item.get("metadata") or {}).get("is_main")) or not linked
            for other in linked:
                other["is_main"] = other["is_main"] and not is_main
            linked[:] = [other for other in linked if other["id"] != item["to_entity_id"]]
            linked.append({"id": item["to_entity_id"], "is_main": is_main})
        wanted = {(item["to_entity_type"], item["to_entity_id"]) for item in given}
        return _answer(request, [link for link in _links(lead) if _key(link) in wanted])

    async def _list(self, request: Request) -> Response:
        links = _links(self._lead(request))
        return _answer(request, links) if links else Response(status_code=204)

    def _lead(self, request: Request) -> dict[str, Any]:
        lead = self._account.store.get("leads", request.path_params["lead_id"])
        if lead is None:
            raise HTTPException(404)
        return lead


def _problems(item: dict[str, Any]) -> Iterator[Problem]:
    if not isinstance(item.get("to_entity_id"), int):
        yield missing("to_entity_id")
    if item.get("to_entity_type") not in _TYPES:
        yield not_a_choice("to_entity_type")


def _links(lead: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "entity_id": lead["id"],
            "entity_type": "leads",
            "to_entity_id": item["id"],
            "to_entity_type": entity,
            "metadata": {"is_main": item["is_main"]} if entity == "contacts" else None,
        }
        for entity in _TYPES
        for item in lead["_embedded"][entity]
    ]


def _key(link: dict[str, Any]) -> tuple[str, int]:
    return link["to_entity_type"], link["to_entity_id"]


def _answer(request: Request, links: list[dict[str, Any]]) -> Response:
    body = {
        "_total_items": len(links),
        "_links": {"self": {"href": str(request.url)}},
        "_embedded": {"links": links},
    }
    return JSONResponse(body, media_type="application/hal+json")
