"""Checks and seals what comes through Airflow's own trigger, before Airflow reads, stores or logs it.

A root middleware of the api-server, plain ASGI: any other path costs a comparison.
Airflow's own middlewares stand around it, so that it sees who they take the caller for. Who calls is asked first: of a
stranger's body not a byte is looked at, so that his answer is the same whatever he sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import HTTPException, Request
from sqlalchemy.exc import SQLAlchemyError

from leadcast.api import problems
from leadcast.api.addresses import route_of
from leadcast.api.beside_conf import refuse_misplaced, refuse_request_beside_conf
from leadcast.api.body import charset_of, read, replay
from leadcast.api.caller import refuse_from_other_site
from leadcast.api.read_on import ReadOn
from leadcast.api.threads import Threads
from leadcast.api.unkept import Unkept
from leadcast.core.budget import SpentError, measured
from leadcast.core.errors import LeadcastError, StoreError
from leadcast.core.json_body import parse_body
from leadcast.core.request_errors import FieldError, InvalidRequest, RequestRejected
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.seal.conf_guard import WHAT_TO_DO, Checked, checked_for

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from leadcast.core.tidy import Tidied
    from leadcast.store.sealing import Sealer

_TRIGGER = f"/api/v2/dags/{DAG_ID}/dagRuns"
_THREADS = 8
_AT_ONCE = 6
"""So many triggers are in Airflow at once. Each holds a session of its database until the event loop comes back to it.
Airflow has 15, and looks users up on that loop: once they are all held, everything waits for half a minute."""
_WAITS_S = 15.0
"""How long another one waits for its turn."""


class User(Protocol):
    """Whoever calls, as Airflow's auth manager knows him."""

    def get_name(self) -> str:
        """His name, as Airflow writes it beside the runs that he triggers."""


@dataclass(frozen=True)
class Asking:
    """Who is asked about a caller.

    Args:
        user_of: who he is; raises HTTPException 401 or 403.
        refuse_who_may_not_trigger: raises HTTPException 403; called in a thread.
    """

    user_of: Callable[[Request], Awaitable[Any]]
    refuse_who_may_not_trigger: Callable[[Request, Any], None]


class TriggerGuard:
    """Around the routes of the api-server.

    Args:
        sealer: opens and seals; asked for at each guarded call, so that the server starts without a key.
        asking: who is asked about callers; None: Airflow.
        find_lead: as `engine.runs.lead_of_run.find`, for a lead that a conf names and does not bring; None: that.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        sealer: Callable[[], Sealer],
        asking: Asking | None = None,
        find_lead: Callable[[str], Tidied | None] | None = None,
    ) -> None:
        self._app = app
        self._sealer = sealer
        self._find_lead = find_lead or _find_lead
        self._asking = asking or of_airflow()
        self._threads = Threads(_THREADS)
        # others: who brings his lead needs no store, and is not to wait for those who wait for it
        self._looking = Threads(_THREADS)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._guarding = ReadOn(self._guard)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not ours; what is, only checked and sealed."""
        if scope["type"] != "http" or scope["method"] != "POST" or not is_trigger(route_of(scope)):
            await self._app(scope, receive, send)
        else:
            await self._guarding(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            user = await self._admitted(request)
            body = await read(request)
            said = request.headers.get("Content-Type", "")
            guarded, lead_id = await self._threads.run(
                lambda: self._guarded(body, charset_of(said), user_name=user.get_name())
            )
            # asked before Airflow opens its session for the run: it has few, and those who wait would hold them
            known = nullcontext() if lead_id is None else await self._looking.run(lambda: self._found(lead_id))
            await self._turn()
        except (LeadcastError, HTTPException, SQLAlchemyError) as error:
            problem, with_it = problems.told(error)
            await Unkept(problem.response(with_it))(scope, receive, send)
            return
        headers = [item for item in scope["headers"] if item[0] not in (b"content-length", b"transfer-encoding")]
        headers.append((b"content-length", str(len(guarded)).encode()))
        try:
            with known:
                await self._app({**scope, "headers": headers}, replay(guarded, receive), send)
        finally:
            self._turns.release()

    async def _turn(self) -> None:
        try:
            async with asyncio.timeout(_WAITS_S):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreError("Too many runs are triggered at once.") from None

    async def _admitted(self, request: Request) -> User:
        """Who calls, if he may trigger.

        Raises:
            HTTPException: 401 or 403.
            StoreError: all threads are in use.
        """
        user: User = await self._asking.user_of(request)
        refuse_from_other_site(request)
        await self._threads.run(lambda: self._asking.refuse_who_may_not_trigger(request, user))
        return user

    def _guarded(self, body: bytes, charset: str, *, user_name: str) -> tuple[bytes, str | None]:
        """The body as Airflow may read it, and the id of a lead that is to be found first."""
        with measured():
            return self._checked_body(parse_body(body, charset=charset, lead_at=("conf", "lead")), user_name)

    def _checked_body(self, data: Any, user_name: str) -> tuple[bytes, str | None]:
        lead_id = None
        if not isinstance(data, dict):
            # Airflow's own refusal repeats all of it
            raise InvalidRequest("The body must be an object.", errors=[FieldError(("body",), "must be an object")])
        refuse_misplaced(data)
        refuse_request_beside_conf(data)
        if conf := data.get("conf"):
            sealed, lead_id = self._checked(conf, user_name)
            data = data | {"conf": sealed}
        # what Airflow reads is what was checked here, not what else the bytes may mean
        return _as_json(data), lead_id

    def _found(self, lead_id: str) -> AbstractContextManager[None]:
        """In which `engine.seal.conf_guard` finds it.

        Raises:
            RequestRejected: nobody has it.
            StoreError, LeadTableError: it cannot be found just now.
        """
        from leadcast.engine.seal import lead_of_run

        try:
            return lead_of_run.found(lead_id, self._find_lead(lead_id))
        except RequestRejected as error:
            error.errors = tuple(FieldError(("body", "conf", *item.loc), item.msg) for item in error.errors)
            raise

    def _checked(self, conf: Any, user_name: str) -> Checked:
        if not isinstance(conf, dict):
            raise InvalidRequest("conf: must be an object.", errors=[FieldError(("body", "conf"), "must be an object")])
        try:
            return checked_for(conf, self._sealer(), caller=user_name)
        except InvalidRequest as error:
            errors = [FieldError(("body", "conf", *item.loc), item.msg) for item in error.errors]
            raise InvalidRequest(f"conf.{error.detail}", errors=errors) from None
        except SpentError:
            raise  # for all of the body, not for what is sealed of it
        except LeadcastError as error:
            raise InvalidRequest(f"This conf cannot be sealed here: {error} {WHAT_TO_DO}") from None


def of_airflow() -> Asking:
    """Asks the Airflow that this runs in."""
    from leadcast.api.airflow_user import refuse_who_may_not_trigger, user_of

    return Asking(user_of, refuse_who_may_not_trigger)


def _find_lead(lead_id: str) -> Tidied | None:
    from leadcast.engine.seal import lead_of_run
    from leadcast.engine.settings import config

    return lead_of_run.find(lead_id, config.store())


def is_trigger(route: str) -> bool:
    """Whether this is the address at which Airflow makes runs of `send_lead`, by POST. Others of Airflow's calls have
    the same one.

    Args:
        route: as `addresses.route_of` has it.
    """
    return route == _TRIGGER


def _as_json(data: Any) -> bytes:
    import json

    return json.dumps(data, separators=(",", ":")).encode()
