"""Routes: the monitor for people, rendered here. No assets from elsewhere; works in a frame of Airflow's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError

from leadcast.api.backend import BackendDep
from leadcast.api.batches import ListQuery
from leadcast.api.caller import CallerDep
from leadcast.api.links import MOUNT, Links, LinksDep
from leadcast.api.problems import Problem
from leadcast.api.threads import ThreadsDep
from leadcast.control.monitor import Page
from leadcast.core.clock import utc_now
from leadcast.core.model import BatchStatus
from leadcast.core.refusals import field_errors
from leadcast.core.request_errors import InvalidRequest
from leadcast.core.waits import waited_for
from leadcast.integrations.registry import queue_if_known

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("templates")
COUNTED = timedelta(hours=24)
# default-src 'none': what is not named may not be loaded. frame-ancestors: Airflow shows the page in a frame of its own
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "Referrer-Policy": "same-origin",
}


@router.get("/ui")
async def batches(
    request: Request,
    backend: BackendDep,
    caller: CallerDep,
    links: LinksDep,
    threads: ThreadsDep,
    status: str = "",
    lead_id: Annotated[str, Query(max_length=128)] = "",
    cursor: str | None = None,
) -> HTMLResponse:
    """The newest batches."""
    wanted = {"status": status, "lead_id": lead_id.strip()}
    query = _query(wanted)

    def look() -> HTMLResponse:
        monitor = backend.monitor(caller.sees)
        found = monitor.page(query.filter(), cursor=cursor)
        return render(
            "batches.html",
            links,
            batches=found.batches,
            counts=monitor.counts(since=utc_now() - COUNTED),
            circuits=monitor.circuits() if cursor is None else (),
            statuses=list(BatchStatus),
            wanted=wanted,
            is_first=cursor is None,
            next_page=_next_page(request, found, links),
        )

    return await threads.run(look)


def _query(wanted: Mapping[str, str]) -> ListQuery:
    # a form sends its empty fields, too
    filled = {name: value for name, value in wanted.items() if value}
    try:
        return ListQuery.model_validate(filled)
    except ValidationError as error:
        errors = field_errors(error, ListQuery, data=filled, prefix=("query",))
        raise InvalidRequest(f"{errors[0].loc[1]}: {errors[0].msg}", errors=errors) from None


def _next_page(request: Request, found: Page, links: Links) -> str | None:
    if found.next_cursor is None:
        return None
    return f"{links.page()}?{request.url.include_query_params(cursor=found.next_cursor).query}"


@router.get("/ui/batches/{batch_id}")
async def batch(
    batch_id: str, backend: BackendDep, caller: CallerDep, links: LinksDep, threads: ThreadsDep
) -> HTMLResponse:
    """One batch, with every attempt, and what can be done with it."""

    def look() -> HTMLResponse:
        found = backend.monitor(caller.sees).batch(batch_id)
        return render("batch.html", links, batch=found, may_change=caller.changes(found.sent_by))

    return await threads.run(look)


@router.get("/ui/leadcast.css")
def style() -> FileResponse:
    """The pages' style."""
    return FileResponse(FOLDER / "leadcast.css", headers=_ASSET_HEADERS)


@router.get("/ui/leadcast.js")
def script() -> FileResponse:
    """The pages' script: refreshes, shows times as local ones, retries and cancels."""
    return FileResponse(FOLDER / "leadcast.js", headers=_ASSET_HEADERS)


_ASSET_HEADERS = {"Cache-Control": "private, max-age=300"}


def render(template: str, links: Links, *, code: int = 200, **values: Any) -> HTMLResponse:
    """A page from one of our templates; all values are escaped."""
    html = _environment().get_template(template).render(links=links, **values)
    return HTMLResponse(html, status_code=code, headers=HEADERS)


def problem_page(request: Request, problem: Problem, headers: Mapping[str, str] | None) -> Response | None:
    """An error for people, where they asked for a page; None: for a program."""
    links = Links.of(request)
    path = request.url.path.removeprefix(links.root.removesuffix(MOUNT)).removeprefix(MOUNT)
    is_page = path.split("/")[1:2] in (["ui"], ["docs"])
    if not is_page or "text/html" not in request.headers.get("Accept", ""):
        return None
    page = render(
        "problem.html",
        links,
        code=problem.status,
        problem=problem,
        sign_in=links.sign_in(path, query=request.url.query),
    )
    page.headers.update(headers or {})
    return page


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "iso": _iso,
        "utc": _utc,
        "seconds": _seconds,
        "waited_for": waited_for,
        "queue": queue_if_known,
    }
    return environment


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _seconds(duration_s: float | None) -> str:
    if duration_s is None:
        return "–"
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
