"""Airflow's other calls: a request of ours that is sent to one of them is refused before Airflow logs it.

Airflow writes the body and the query of nearly every call that changes something into its audit log, also where it
then refuses the call: a DAG's id mistyped, a PATCH of a run, an asset, a backfill. Such a call is none of ours, and
what it is about costs it a look for one word. Its own trigger, where a request belongs: `trigger_guard`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from sqlalchemy.exc import SQLAlchemyError

from leadcast.api import problems
from leadcast.api.addresses import is_at, must_not_be_logged, route_of
from leadcast.api.body import first, replay
from leadcast.api.caller import refuse_from_other_site
from leadcast.api.threads import Threads
from leadcast.api.trigger_guard import Asking, is_trigger, of_airflow
from leadcast.api.unkept import Unkept
from leadcast.core.budget import UNITS, Budget, measured
from leadcast.core.errors import LeadcastError
from leadcast.core.json_body import MAX_BODY_BYTES
from leadcast.core.request_errors import FieldError, InvalidRequest
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.seal.request_shape import holds_request, may_hold_request, spend_on

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_READS = ("GET", "HEAD", "OPTIONS")
_AIRFLOWS = ("/api/v2", "/ui")
_BACKFILLS = ("/api/v2/backfills", "/api/v2/backfills/dry_run")
_SEALED_BY_AIRFLOW = {"/api/v2/variables": ("val", "value"), "/api/v2/connections": ("extra",)}
"""By route: members that Airflow encrypts, and masks in its log."""
_THREADS = 2
"""Nothing waits in them: what is done there takes a processor."""
_WAITS_S = 15.0
"""How long a call waits for one. Most of them are none of ours, and are not to fail since others are looked at."""
_UNITS = 4 * UNITS
"""Of one body. A look at a value costs less than its check."""
_WHERE_TO = (
    "This call does not take a request to Leadcast: Airflow would write it into its audit log, secrets and all. Send "
    "it to POST /api/integrations/send-batch, or as the conf of POST /api/v2/dags/send_lead/dagRuns."
)
_NO_BACKFILL = f"{DAG_ID} has no schedule to backfill; retry_leads is the DAG that sends a past window's leads again"
_NO_QUERY = "Send the request in the body: Airflow writes what stands behind the ? of an address into its logs."


class ForeignBodies:
    """Around the routes of the api-server.

    Args:
        asking: who is asked about callers; None: Airflow.
    """

    def __init__(self, app: ASGIApp, *, asking: Asking | None = None) -> None:
        self._app = app
        self._asking = asking or of_airflow()
        self._threads = Threads(_THREADS, waits_s=_WAITS_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on all but a request of ours from somebody whom Airflow knows."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        logged, by_query = scope, must_not_be_logged(scope)
        if by_query:
            # Airflow's access log has it otherwise, of whoever it comes
            scope = {**logged}
            logged["query_string"] = b""
        route = route_of(scope)
        if scope["method"] in _READS or not any(is_at(route, place) for place in _AIRFLOWS):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            if by_query:
                await self._asking.user_of(request)
                raise InvalidRequest(_NO_QUERY)
            if route in _BACKFILLS:
                refuse_from_other_site(request)
            if not (scope["method"] == "POST" and is_trigger(route)):
                body, receive = await _read(scope, receive)
                if _is_worth_a_look(route, body) and await self._is_known(request):
                    await self._threads.run(lambda: _refuse_request(route, body))
        except (LeadcastError, HTTPException, SQLAlchemyError) as error:
            problem, with_it = problems.told(error)
            await Unkept(problem.response(with_it))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _is_known(self, request: Request) -> bool:
        """A stranger is left to Airflow, which tells him so and logs nothing of his."""
        try:
            await self._asking.user_of(request)
        except HTTPException:
            return False
        return True


async def _read(scope: Scope, receive: Receive) -> tuple[bytes, Receive]:
    """The body, as far as a request of ours may be one, and all of it once more, for Airflow. Nobody waits for it
    longer than Airflow would."""
    announced = dict(scope["headers"]).get(b"content-length", b"")
    if announced.isdigit() and not 0 < int(announced[:20]) <= MAX_BODY_BYTES:
        return b"", receive
    body, is_over = bytearray(), False
    while not is_over:
        message: Message = await receive()
        if message["type"] != "http.request":
            return b"", first(message, receive)
        body += message.get("body", b"")
        is_over = not message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return b"", replay(bytes(body), receive, more=not is_over)
    return bytes(body), replay(bytes(body), receive)


def _is_worth_a_look(route: str, body: bytes) -> bool:
    # UTF-16 and UTF-32, which Airflow reads as well, have NUL between ASCII
    text = body.replace(b"\0", b"").decode("latin-1")
    return may_hold_request(text) or (route in _BACKFILLS and DAG_ID in text)


def _refuse_request(route: str, body: bytes) -> None:
    """Raises InvalidRequest, also where there is too much in it to look through; what is no JSON is left to Airflow,
    which does not log it."""
    sealed = next((members for place, members in _SEALED_BY_AIRFLOW.items() if is_at(route, place)), ())
    with measured(Budget(_UNITS)):
        try:
            text = body.decode(json.detect_encoding(body), "surrogatepass")
            spend_on(text)
            data: Any = json.loads(text)
        except (ValueError, RecursionError):
            return
        if route in _BACKFILLS and isinstance(data, dict) and data.get("dag_id") == DAG_ID:
            raise InvalidRequest(f"dag_id: {_NO_BACKFILL}.", errors=[FieldError(("body", "dag_id"), _NO_BACKFILL)])
        if holds_request(_unsealed(data, sealed) if sealed else data):
            raise InvalidRequest(_WHERE_TO)


def _unsealed(data: Any, sealed: Collection[str]) -> Any:
    """Without what Airflow seals, which it does at two places only: in the body, and in each entity of a bulk call."""
    rest = _without(data, sealed)
    if isinstance(rest, dict) and isinstance(actions := rest.get("actions"), list):
        rest["actions"] = [_unsealed_action(action, sealed) for action in actions]
    return rest


def _unsealed_action(action: Any, sealed: Collection[str]) -> Any:
    entities = action.get("entities") if isinstance(action, dict) else None
    if not isinstance(entities, list):
        return action
    return {**action, "entities": [_without(entity, sealed) for entity in entities]}


def _without(data: Any, sealed: Collection[str]) -> Any:
    return {name: value for name, value in data.items() if name not in sealed} if isinstance(data, dict) else data
