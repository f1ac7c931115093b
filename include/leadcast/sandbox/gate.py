"""The way into an HTTP service: faults first, then the service; everything goes into the journal."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from leadcast.sandbox.faults import Fault, FaultBoard, FaultKind
from leadcast.sandbox.http_service import HttpService, gateway_page, reason_phrase
from leadcast.sandbox.received import Journal, Received, without_secrets

MAX_BODY_BYTES = 5 * 1024 * 1024
_KEPT_HEADERS = ("content-type", "user-agent", "accept", "x-request-id", "idempotency-key")
_HANG_UPS = frozenset({FaultKind.HANG_UP_BEFORE, FaultKind.DOWN})
_EXECUTED = frozenset({FaultKind.SLOW, FaultKind.HANG_UP_AFTER, FaultKind.INTERIM, FaultKind.PACKED, FaultKind.CUT})
_EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


class ReachableConnection(H11Protocol):
    """uvicorn's connection, which hands its transport to the application: a fault may close it without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP only
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Gate:
    """ASGI application around one service."""

    def __init__(self, service: HttpService, *, board: FaultBoard, journal: Journal, stopping: asyncio.Event) -> None:
        self._service = service
        self._board = board
        self._journal = journal
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            body = await _bounded_body(request)
        except ClientDisconnect:
            return
        if body is None:
            await PlainTextResponse("Request Entity Too Large", status_code=413)(scope, receive, send)
            return
        answer = await self._answer(request, body)
        if answer is None:
            request.state.transport.abort()
            await _gone(receive)
        else:
            await answer(scope, receive, send)

    async def _answer(self, request: Request, body: bytes) -> Response | None:
        """The service's answer, or None for: hang up."""
        call = self._new_call(request, body)
        try:
            fault, answer = await self._apply_fault(request, call, body)
            if fault is None or fault.kind in _EXECUTED:
                answer = await self._execute(request, call, body)
            elif fault.executes:
                await self._execute(request, call, body)
            match fault and fault.kind:
                case FaultKind.HANG_UP_AFTER:
                    answer = None
                case FaultKind.INTERIM:
                    request.state.transport.write(_EARLY_HINTS)
                case FaultKind.PACKED if answer is not None:
                    answer = _packed(answer)
            call.status = None if answer is None else answer.status_code
            if fault and fault.kind is FaultKind.CUT and answer is not None:
                request.state.transport.write(_half(answer))
                answer = None
        finally:
            self._journal.add(call)
        return answer

    def _new_call(self, request: Request, body: bytes) -> Received:
        request.state.raw_body = body
        call = Received(
            service=self._service.name,
            method=request.method,
            path=request.url.path,
            query=without_secrets(_single(_parsed(request.url.query))),
            headers={name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers},
            body=without_secrets(_readable(body)),
            size_bytes=len(body) + 1_000,
        )
        request.state.call = call
        self._service.identify(request, call)
        return call

    async def _apply_fault(self, request: Request, call: Received, body: bytes) -> tuple[Fault | None, Response | None]:
        haystack = f"{request.url.path}?{request.url.query}\n{body.decode('utf-8', 'replace')}"
        for fault in self._board.matching(self._service.name, haystack):
            answer = self._own_answer(fault, request, call)
            if answer is None and fault.kind not in _HANG_UPS | _EXECUTED:
                continue
            self._board.spend(fault)
            call.fault = fault.kind.value
            if fault.kind is FaultKind.SLOW and await fault.is_cut_short(self._stopping):
                return fault.model_copy(update={"kind": FaultKind.HANG_UP_BEFORE}), None
            return fault, answer
        return None, None

    def _own_answer(self, fault: Fault, request: Request, call: Received) -> Response | None:
        match fault.kind:
            case FaultKind.STATUS:
                assert fault.status is not None
                return self._service.error(fault.status)
            case FaultKind.ANSWER:
                return _answer_as_told(fault)
            case FaultKind.RATE_LIMIT:
                return self._service.rate_limited(fault.retry_after)
            case FaultKind.NON_JSON:
                return gateway_page(fault.status or 502, fault.text or "Bad Gateway")
            case _:
                return self._service.special(fault, request, call)

    async def _execute(self, request: Request, call: Received, body: bytes) -> Response:
        refusal = self._service.refuse(request, call)
        if refusal is not None:
            return refusal
        answer = await _response_of(self._service, request.scope, body)
        call.executed = answer.status_code < 400
        return answer


def _answer_as_told(fault: Fault) -> Response:
    assert fault.status is not None
    if "body" in fault.model_fields_set:
        return JSONResponse(fault.body, status_code=fault.status, headers=fault.headers)
    return PlainTextResponse(fault.text or "", status_code=fault.status, headers=fault.headers)


def _half(answer: Response) -> bytes:
    """Its status, its headers, and as much of its body as came before the connection broke."""
    body = bytes(answer.body)
    headers = [(name, value) for name, value in answer.raw_headers if name != b"content-length"]
    headers.append((b"content-length", str(len(body) + 1).encode()))
    lines = [f"HTTP/1.1 {answer.status_code} {reason_phrase(answer.status_code)}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", body[: len(body) // 2]])


def _packed(answer: Response) -> Response:
    """As a gateway packs it that does not ask what the caller takes."""
    packed = Response(gzip.compress(bytes(answer.body)), status_code=answer.status_code)
    framing = (b"content-length", b"content-encoding")
    kept = [(name, value) for name, value in answer.raw_headers if name not in framing]
    packed.raw_headers = [*kept, *packed.raw_headers, (b"content-encoding", b"gzip")]
    return packed


async def _response_of(service: HttpService, scope: Scope, body: bytes) -> Response:
    """Run the service and hold its whole answer back, so that it can still be thrown away."""
    start: Message = {"status": 500, "headers": []}
    content = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            content.extend(message.get("body", b""))

    await service.app(scope, receive, send)
    response = Response(bytes(content), status_code=start["status"])
    response.raw_headers = list(start["headers"])
    return response


async def _bounded_body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body.extend(chunk)
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


async def _gone(receive: Receive) -> None:
    """Wait until uvicorn has seen that the connection is closed; it would answer 500 otherwise."""
    for _ in range(10):
        if (await receive())["type"] == "http.disconnect":
            return


def _parsed(text: str) -> dict[str, list[str]]:
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=1_000)
    except ValueError:
        return {}


def _readable(body: bytes) -> Any:
    """The body as JSON, as a form, or else as text: by what it is, since a secret is found by its field's name."""
    if not body:
        return None
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _single(_parsed(text)) or text


def _single(fields: dict[str, list[str]]) -> dict[str, Any]:
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}
