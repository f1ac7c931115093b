"""Checks and seals what comes through Airflow's own trigger, before Airflow reads, stores or logs it.

A root middleware of the api-server, plain ASGI: a path that is none of the guarded ones costs two comparisons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from leadcast.api import problems
from leadcast.api.body import charset_of
from leadcast.api.read_on import ReadOn
from leadcast.core.errors import BodyTooLarge, FieldError, InvalidRequest, LeadcastError
from leadcast.core.json_body import MAX_BODY_BYTES, parse_body
from leadcast.engine.conf_guard import DAG_ID, WHAT_TO_DO, checked
from leadcast.request import SendBatch

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from leadcast.store.sealing import Sealer

_TRIGGER = f"/api/v2/dags/{DAG_ID}/dagRuns"
_BACKFILLS = ("/api/v2/backfills", "/api/v2/backfills/dry_run")


class TriggerGuard:
    """Around the whole api-server.

    Args:
        sealer: opens and seals; asked for at each guarded call, so that the server starts without a key.
    """

    def __init__(self, app: ASGIApp, *, sealer: Callable[[], Sealer]) -> None:
        self._app = app
        self._sealer = sealer
        self._guarding = ReadOn(self._guard)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not ours; what is, only checked and sealed."""
        if scope["type"] != "http" or scope["method"] != "POST" or not _is_guarded(scope["path"]):
            await self._app(scope, receive, send)
        else:
            await self._guarding(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read(scope, receive)
            said = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
            guarded = await run_in_threadpool(self._guarded, scope["path"], body, charset_of(said))
        except LeadcastError as error:
            await problems.of_error(error).response()(scope, receive, send)
            return
        headers = [item for item in scope["headers"] if item[0] not in (b"content-length", b"transfer-encoding")]
        headers.append((b"content-length", str(len(guarded)).encode()))
        await self._app({**scope, "headers": headers}, _replay(guarded, receive), send)

    def _guarded(self, path: str, body: bytes, charset: str) -> bytes:
        data = parse_body(body, charset=charset, lead_at=("conf", "lead"))
        if isinstance(data, dict) and not _is_trigger(path):
            _refuse_backfill(data)
        elif isinstance(data, dict):
            _refuse_misplaced(data)
            if conf := data.get("conf"):
                data = data | {"conf": self._checked(conf)}
        # what Airflow reads is what was checked here, not what else the bytes may mean
        return _as_json(data)

    def _checked(self, conf: Any) -> dict[str, Any]:
        if not isinstance(conf, dict):
            raise InvalidRequest("conf: must be an object.", errors=[FieldError(("body", "conf"), "must be an object")])
        try:
            return checked(conf, self._sealer())
        except InvalidRequest as error:
            errors = [FieldError(("body", "conf", *item.loc), item.msg) for item in error.errors]
            raise InvalidRequest(f"conf.{error.detail}", errors=errors) from None
        except LeadcastError as error:
            raise InvalidRequest(f"This conf cannot be sealed here: {error} {WHAT_TO_DO}") from None


def _is_guarded(path: str) -> bool:
    return path.endswith(("/dagRuns", "/backfills", "/dry_run", "/")) and (
        _is_trigger(path) or path.rstrip("/").endswith(_BACKFILLS)
    )


def _is_trigger(path: str) -> bool:
    return path.rstrip("/").endswith(_TRIGGER)


def _refuse_misplaced(data: dict[str, Any]) -> None:
    """Airflow would refuse these too, but only after it wrote them into its audit log."""
    misplaced = data.keys() & SendBatch.model_fields.keys()
    if misplaced:
        errors = [FieldError(("body", name), "belongs into conf") for name in sorted(misplaced)]
        raise InvalidRequest('Put the request into "conf": {"logical_date": null, "conf": {…}}.', errors=errors)


def _refuse_backfill(data: dict[str, Any]) -> None:
    if data.get("dag_id") == DAG_ID:
        msg = f"{DAG_ID} has no schedule to backfill; retry_leads is the DAG that sends a past window's leads again"
        raise InvalidRequest(f"dag_id: {msg}.", errors=[FieldError(("body", "dag_id"), msg)])


def _as_json(data: Any) -> bytes:
    import json

    return json.dumps(data, separators=(",", ":")).encode()


async def _read(scope: Scope, receive: Receive) -> bytes:
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    if announced.isdigit() and int(announced[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes.")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidRequest("The body ended early.")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body first, and then what the real one gives."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
