"""amoCRM's write endpoints: leads (complex and simple), contacts, notes (vendors.md 1.5, 1.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from leadcast.sandbox.amocrm.account import AmoAccount
from leadcast.sandbox.amocrm.store import contact_keys
from leadcast.sandbox.amocrm.validation import (
    Problem,
    not_a_choice,
    problems_of_contact,
    problems_of_lead,
    problems_of_note,
    wrong_type,
)
from leadcast.sandbox.http_service import call_of, json_body

MAX_COMPLEX = 50
MAX_ITEMS = 250

Item = dict[str, Any]


class InvalidItemsError(Exception):
    """Some items did not pass the checks: the whole request fails and nothing is created."""

    def __init__(self, problems: dict[str, list[Problem]]) -> None:
        super().__init__("validation failed")
        self.problems = problems


class TooManyItemsError(Exception):
    """More items than the endpoint takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"limit {limit}")
        self.limit = limit


class AmoWrites:
    """The endpoints. `request_id` is echoed, never stored, never a key (vendors.md 1.6)."""

    def __init__(self, account: AmoAccount) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        return [
            Route("/api/v4/leads/complex", self._complex, methods=["POST"]),
            Route("/api/v4/leads", self._add_leads, methods=["POST"]),
            Route("/api/v4/contacts", self._add_contacts, methods=["POST"]),
            Route("/api/v4/leads/notes", self._add_notes, methods=["POST"]),
            Route("/api/v4/leads/{lead_id:int}/notes", self._add_notes, methods=["POST"]),
            Route("/api/v4/leads", self._change_leads, methods=["PATCH"]),
            Route("/api/v4/leads/{lead_id:int}", self._change_lead, methods=["PATCH"]),
            Route("/api/v4/contacts", self._change_contacts, methods=["PATCH"]),
        ]

    async def _complex(self, request: Request) -> Response:
        items = await items_of(request, MAX_COMPLEX, lambda lead: problems_of_lead(lead, is_complex=True))
        store = self._account.store
        # Compared with what is in the account already, not with the other items of this request (vendors.md 1.5).
        known = store.duplicates() if self._account.settings.duplicate_control else {}
        answers: dict[int, Item] = {}
        for request_id, item in items:
            lead = next((known[key] for key in _keys_of(item) if key in known), None)
            is_merged = lead is not None
            if lead is None:
                lead = store.add_lead(item, with_new_contacts=True)
                call_of(request).stored.append(store.with_contacts(lead))
            answer = answers.setdefault(lead["id"], _complex_answer(lead, is_merged=is_merged))
            answer["request_id"].append(request_id)
        return JSONResponse(list(answers.values()), media_type="application/hal+json")

    async def _add_leads(self, request: Request) -> Response:
        items = await items_of(request, MAX_ITEMS, self._problems_of_new_lead)
        store = self._account.store
        added = [(request_id, store.add_lead(item, with_new_contacts=False)) for request_id, item in items]
        call_of(request).stored.extend(store.with_contacts(lead) for _, lead in added)
        return _added(request, "leads", [(request_id, lead, {}) for request_id, lead in added])

    def _problems_of_new_lead(self, lead: Item) -> Iterator[Problem]:
        problems = list(problems_of_lead(lead, is_complex=False))
        yield from problems
        for entity in () if problems else ("contacts", "companies"):
            for index, link in enumerate((lead.get("_embedded") or {}).get(entity) or []):
                if self._account.store.get(entity, link["id"]) is None:
                    yield not_a_choice(f"_embedded.{entity}.{index}.id")

    async def _add_contacts(self, request: Request) -> Response:
        items = await items_of(request, MAX_ITEMS, problems_of_contact)
        flags = {"is_deleted": False, "is_unsorted": False}
        added = [(key, self._account.store.add_person("contacts", item), flags) for key, item in items]
        call_of(request).stored.extend({"id": item["id"], "name": item["name"]} for _, item, _ in added)
        return _added(request, "contacts", added)

    async def _add_notes(self, request: Request) -> Response:
        lead_id: int | None = request.path_params.get("lead_id")
        items = await items_of(request, MAX_ITEMS, lambda note: problems_of_note(note, needs_entity_id=lead_id is None))
        targets = [lead_id or item["entity_id"] for _, item in items]
        if any(self._account.store.get("leads", target) is None for target in targets):
            raise HTTPException(404)
        added = []
        for (request_id, item), target in zip(items, targets, strict=True):
            note = self._account.store.add_note(item, target)
            call_of(request).stored.append({"id": note["id"], "entity_id": target, "params": note["params"]})
            added.append((request_id, note, {"entity_id": target}))
        return _added(request, "notes", added)

    async def _change_leads(self, request: Request) -> Response:
        items = await items_of(request, MAX_ITEMS, lambda lead: problems_of_lead(lead, is_complex=False))
        return self._changed(request, "leads", [(item.get("id"), item) for _, item in items])

    async def _change_contacts(self, request: Request) -> Response:
        items = await items_of(request, MAX_ITEMS, problems_of_contact)
        return self._changed(request, "contacts", [(item.get("id"), item) for _, item in items])

    async def _change_lead(self, request: Request) -> Response:
        item = await json_body(request)
        if not isinstance(item, dict):
            raise InvalidItemsError({"0": [wrong_type("", "array")]})
        _check([("0", item)], lambda lead: problems_of_lead(lead, is_complex=False))
        lead = self._account.store.change("leads", request.path_params["lead_id"], item)
        if lead is None:
            raise HTTPException(404)
        answer = {"id": lead["id"], "updated_at": lead["updated_at"], "_links": links_to(request, "leads", lead["id"])}
        return JSONResponse(answer, media_type="application/hal+json")

    def _changed(self, request: Request, entity: str, items: list[tuple[Any, Item]]) -> Response:
        store = self._account.store
        if any(not isinstance(item_id, int) or store.get(entity, item_id) is None for item_id, _ in items):
            raise HTTPException(404)
        answers = []
        for item_id, item in items:
            changed = store.change(entity, item_id, item)
            assert changed is not None
            links = links_to(request, entity, item_id)
            answers.append({"id": item_id, "updated_at": changed["updated_at"], "_links": links})
        body = {"_links": links_to(request, entity), "_embedded": {entity: answers}}
        return JSONResponse(body, media_type="application/hal+json")


async def items_of(request: Request, limit: int, check: Callable[[Item], Iterator[Problem]]) -> list[tuple[str, Item]]:
    """The items of the body with their request ids; raises what the exception handlers of `amocrm` answer."""
    body = await json_body(request)
    if not body:
        raise HTTPException(400)
    if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
        raise InvalidItemsError({"0": [wrong_type("", "array")]})
    if len(body) > limit:
        raise TooManyItemsError(limit)
    items = [(str(item.get("request_id", index)), item) for index, item in enumerate(body)]
    _check(items, check)
    return items


def _check(items: list[tuple[str, Item]], check: Callable[[Item], Iterator[Problem]]) -> None:
    problems: dict[str, list[Problem]] = {}
    for request_id, item in items:
        found = list(check(item))
        if found:
            problems.setdefault(request_id, []).extend(found)
    if problems:
        raise InvalidItemsError(problems)


def _keys_of(lead: Item) -> set[str]:
    contacts = (lead.get("_embedded") or {}).get("contacts") or []
    return {key for contact in contacts for key in contact_keys(contact)}


def _complex_answer(lead: Item, *, is_merged: bool) -> Item:
    contacts, companies = lead["_embedded"]["contacts"], lead["_embedded"]["companies"]
    return {
        "id": lead["id"],
        "contact_id": contacts[0]["id"] if contacts else None,
        "company_id": companies[0]["id"] if companies else None,
        "request_id": [],
        "merged": is_merged,
    }


def links_to(request: Request, path: str, item_id: int | str | None = None) -> Item:
    """`_links` of an entity, or of the list at `path`."""
    path = f"{request.base_url}api/v4/{path}"
    return {"self": {"href": path if item_id is None else f"{path}/{item_id}"}}


def _added(request: Request, entity: str, items: list[tuple[str, Item, Item]]) -> Response:
    answers = []
    for request_id, item, more in items:
        path = f"leads/{item['entity_id']}/notes" if entity == "notes" else entity
        links = links_to(request, path, item["id"])
        answers.append({"id": item["id"], **more, "request_id": request_id, "_links": links})
    body = {"_links": links_to(request, entity), "_embedded": {entity: answers}}
    return JSONResponse(body, media_type="application/hal+json")
