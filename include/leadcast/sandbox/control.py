"""The control service: a page to look at, and JSON to read what was received and to set faults.

All of it asks for the token, but for an empty page and its health: see `control_token`.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import Body, FastAPI, HTTPException, Query, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import ValidationError
from starlette.requests import Request

from leadcast.sandbox.faults import Fault
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import MAX_ENTRIES, Received
from leadcast.sandbox.services import Services

ROWS_ON_PAGE = 100
_TEMPLATES = Path(__file__).parent / "templates"
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_CELL_CHARS = 4_000

_HINTS = {
    ServiceName.AMOCRM: "Send a lead to the integration amocrm, with this address as the connection's base URL.",
    ServiceName.BITRIX24: "Use {url}/rest/1/any-code/ as the webhook URL of the integration bitrix24.",
    ServiceName.TELEGRAM: "Set telegram_base_url to {url} and use any bot token of the form 123456:abcdef.",
    ServiceName.WEBHOOK: "Use {url}/any/path as the URL of the integration webhook.",
    ServiceName.SMTP: "Point the connection smtp_default at {url} (no TLS, no login needed).",
}


def control_app(services: Services, urls: dict[ServiceName, str]) -> FastAPI:
    """The application. Its endpoints are `async`, so that they run on the services' own event loop."""
    app = FastAPI(title="Leadcast sandbox", docs_url=None, redoc_url=None)
    template = _template()

    @app.get("/")
    async def empty_page() -> FileResponse:
        return FileResponse(_TEMPLATES / "page.html", headers=_PAGE_HEADERS)

    @app.get("/page.css")
    async def style() -> FileResponse:
        return FileResponse(_TEMPLATES / "page.css", headers=_PAGE_HEADERS)

    @app.get("/page.js")
    async def script() -> FileResponse:
        return FileResponse(_TEMPLATES / "page.js", headers=_PAGE_HEADERS)

    @app.get("/page", response_class=HTMLResponse)
    async def page(response: Response) -> str:
        response.headers.update(_PAGE_HEADERS)
        rows = {name: [_row(entry) for entry in services.journal.of(name)[: -ROWS_ON_PAGE - 1 : -1]] for name in urls}
        return template.render(
            services=[
                {"name": name.value, "url": url, "rows": rows[name], "hint": _HINTS[name].format(url=url)}
                for name, url in urls.items()
            ],
            counts=services.journal.counts(),
            faults=[fault.model_dump(mode="json", exclude_defaults=True) for fault in services.board.all()],
            rows_on_page=ROWS_ON_PAGE,
        )

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "services": {name.value: url for name, url in urls.items()}}

    @app.get("/received")
    async def counts() -> dict[str, int]:
        return services.journal.counts()

    @app.get("/received/{service}")
    async def received(
        service: ServiceName, limit: Annotated[int, Query(ge=1, le=MAX_ENTRIES)] = MAX_ENTRIES
    ) -> JSONResponse:
        return JSONResponse(services.received(service)[-limit:])

    @app.delete("/received", status_code=204)
    async def forget() -> Response:
        services.clear()
        return Response(status_code=204)

    @app.get("/stored/{service}")
    async def stored(service: ServiceName) -> JSONResponse:
        return JSONResponse(services.stored(service))

    @app.post("/faults", status_code=201)
    async def set_fault(fault: Fault) -> dict[str, Any]:
        return services.set_fault(fault).model_dump(mode="json")

    @app.get("/faults")
    async def faults() -> list[dict[str, Any]]:
        return [fault.model_dump(mode="json") for fault in services.board.all()]

    @app.delete("/faults", status_code=204)
    async def clear_faults() -> Response:
        services.board.clear()
        return Response(status_code=204)

    @app.delete("/faults/{fault_id}", status_code=204)
    async def clear_fault(fault_id: int) -> Response:
        if not services.board.remove(fault_id):
            raise HTTPException(404, f"no fault {fault_id}; GET /faults lists those that are set")
        return Response(status_code=204)

    @app.get("/settings")
    async def settings() -> dict[str, Any]:
        return services.settings()

    @app.patch("/settings/{service}")
    async def configure(service: ServiceName, changes: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        try:
            services.configure(service, changes)
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_input=False, include_context=False)) from None
        result: dict[str, Any] = services.settings()[service.value]
        return result

    @app.post("/reset", status_code=204)
    async def reset() -> Response:
        services.reset()
        return Response(status_code=204)

    @app.get("/smtp/certificate.pem")
    async def certificate() -> Response:
        return Response(services.smtp.certificate.certificate_pem, media_type="application/x-pem-file")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # Without the input: it may hold a secret, and it may be large.
        errors = [{"loc": item["loc"], "msg": item["msg"], "type": item["type"]} for item in error.errors()]
        return JSONResponse(jsonable_encoder({"detail": errors}), status_code=422)

    return app


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["local_time"] = _local_time
    environment.filters["utc_time"] = _utc_time
    return environment.get_template("received.html.jinja")


def _local_time(at: datetime) -> str:
    return at.astimezone().strftime("%d.%m.%Y %H:%M:%S")


def _utc_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _row(entry: Received) -> dict[str, Any]:
    shown = entry.as_json()
    return {
        "id": entry.id,
        "at": entry.at,
        "call": f"{entry.method} {entry.path}",
        "answer": "hung up" if entry.status is None else str(entry.status),
        "outcome": "executed" if entry.executed else "not executed",
        "fault": entry.fault,
        "what": _summary(entry),
        "all": _short(shown),
    }


def _summary(entry: Received) -> str:
    """One line: the subject of a letter, else what the call made, else what it carried."""
    value = entry.details.get("subject") or entry.stored or entry.body
    return _short(value) if value else "(empty)"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    return text if len(text) <= _CELL_CHARS else text[:_CELL_CHARS] + " …"
