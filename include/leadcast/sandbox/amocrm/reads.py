"""amoCRM's read endpoints: search, single entities, the account and its set-up (vendors.md 1.7)."""

from __future__ import annotations

import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from leadcast.sandbox.amocrm import catalogue
from leadcast.sandbox.amocrm.account import AmoAccount

MAX_LIMIT = 250
DEFAULT_LIMIT = 50


class AmoReads:
    """The endpoints. A list that matches nothing answers 204 with an empty body (vendors.md 1.1)."""

    def __init__(self, account: AmoAccount) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        return [
            Route("/api/v4/account", self._show_account, methods=["GET"]),
            Route("/api/v4/leads/pipelines", self._list_pipelines, methods=["GET"]),
            Route("/api/v4/users", self._list_users, methods=["GET"]),
            Route("/api/v4/{entity}/custom_fields", self._list_fields, methods=["GET"]),
            Route("/api/v4/leads", self._search, methods=["GET"], name="leads"),
            Route("/api/v4/contacts", self._search, methods=["GET"], name="contacts"),
            Route("/api/v4/companies", self._search, methods=["GET"], name="companies"),
            Route("/api/v4/leads/{lead_id:int}/notes", self._list_notes, methods=["GET"]),
            Route("/api/v4/{entity}/{item_id:int}", self._show, methods=["GET"]),
        ]

    async def _show_account(self, request: Request) -> Response:
        account = catalogue.account(is_api_filter_enabled=self._account.settings.is_api_filter_enabled)
        account["_links"] = {"self": {"href": f"{request.base_url}api/v4/account"}}
        return _hal(account)

    async def _list_pipelines(self, request: Request) -> Response:
        return page_of(request, "pipelines", catalogue.pipelines())

    async def _list_users(self, request: Request) -> Response:
        return page_of(request, "users", catalogue.users())

    async def _list_fields(self, request: Request) -> Response:
        entity = request.path_params["entity"]
        if entity not in catalogue.FIELDS:
            raise HTTPException(404)
        return page_of(request, "custom_fields", [field.as_json(entity) for field in catalogue.FIELDS[entity]])

    async def _search(self, request: Request) -> Response:
        entity = request.url.path.rsplit("/", 1)[1]
        seen_until = time.monotonic() - self._account.settings.search_lag_s
        found = self._account.store.search(
            entity,
            request.query_params.get("query"),
            not_after=seen_until,
            with_incoming=self._account.settings.incoming_in_lists,
        )
        if self._account.settings.is_api_filter_enabled:
            found = [item for item in found if _passes(request, item)]
        return page_of(request, entity, [self._shown(request, entity, item) for item in found])

    async def _list_notes(self, request: Request) -> Response:
        lead_id = request.path_params["lead_id"]
        store, path, base_url = self._account.store, f"leads/{lead_id}/notes", str(request.base_url).rstrip("/")
        notes = [note for note in store.all("notes") if note["entity_id"] == lead_id]
        return page_of(request, "notes", [store.as_answer(path, note, base_url) for note in notes])

    async def _show(self, request: Request) -> Response:
        entity = request.path_params["entity"]
        if entity not in catalogue.FIELDS:
            raise HTTPException(404)
        item = self._account.store.get(entity, request.path_params["item_id"])
        if item is None:
            return Response(status_code=204)
        return _hal(self._shown(request, entity, item))

    def _shown(self, request: Request, entity: str, item: dict[str, Any]) -> dict[str, Any]:
        shown = self._account.store.as_answer(entity, item, str(request.base_url).rstrip("/"))
        if "contacts" not in request.query_params.get("with", "").split(","):
            shown["_embedded"].pop("contacts", None)
        return shown


def _passes(request: Request, item: dict[str, Any]) -> bool:
    """`filter[id]` and `filter[name]`: the only two that the sandbox knows."""
    wanted: dict[str, set[str]] = {}
    for key, value in request.query_params.multi_items():
        for name in ("id", "name"):
            if key.startswith(f"filter[{name}]"):
                wanted.setdefault(name, set()).add(value)
    return all(str(item[name]) in values for name, values in wanted.items())


def page_of(request: Request, entity: str, items: list[dict[str, Any]]) -> Response:
    """The page that `page` and `limit` ask for, with a link to the next."""
    page = _number(request, "page", default=1, maximum=100_000)
    limit = _number(request, "limit", default=DEFAULT_LIMIT, maximum=MAX_LIMIT)
    shown = items[(page - 1) * limit : page * limit]
    if not shown:
        return Response(status_code=204)
    links = {"self": {"href": str(request.url)}}
    if len(items) > page * limit:
        links["next"] = {"href": str(request.url.include_query_params(page=page + 1))}
    body: dict[str, Any] = {"_page": page, "_links": links, "_embedded": {entity: shown}}
    if entity in ("pipelines", "users", "custom_fields"):
        body["_total_items"] = len(items)
    return _hal(body)


def _number(request: Request, name: str, *, default: int, maximum: int) -> int:
    text = request.query_params.get(name, "")
    return min(max(int(text), 1), maximum) if text.isascii() and text.isdigit() else default


def _hal(content: Any) -> Response:
    return JSONResponse(content, media_type="application/hal+json")
