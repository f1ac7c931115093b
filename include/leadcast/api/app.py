"""Makes the FastAPI application. Nothing in it is open but `/health`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI
from starlette.routing import Route

from leadcast.api import batches, docs, leads, pages, problems, schema
from leadcast.api.addresses import refuse_unknown_query
from leadcast.api.backend import Backend, airflow_backend
from leadcast.api.health import Health, health
from leadcast.api.read_on import ReadOn
from leadcast.api.threads import Threads
from leadcast.api.unkept import Unkept


def create_app(backend: Backend | None = None, *, admit: Callable[..., Any] | None = None) -> FastAPI:
    """The FastAPI app that serves `/api/integrations`: the API, and the monitor's pages.

    Args:
        backend: what the routes work with; None: the api-server's own.
        admit: the dependency that lets callers in and says who they are; None: Airflow's users and rights.
    """
    if admit is None:
        from leadcast.api.access import admit
    backend = backend or airflow_backend()
    app = FastAPI(
        title="Leadcast",
        version="1",
        description="Sends one lead to several integrations at once.",
        dependencies=[Depends(admit), Depends(refuse_unknown_query)],
        # a plain route of Starlette's knows no dependencies, so that this list is all that is open
        routes=[Route("/health", health, methods=["GET"])],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # it would send the body on to the address that the caller's Host names, and by http behind a proxy with TLS
        redirect_slashes=False,
    )
    app.state.backend = backend
    app.state.threads = Threads()
    app.state.health = Health(backend)
    for module in (batches, leads, docs, pages):
        app.include_router(module.router)
    app.openapi = lambda: schema.openapi(app)  # type: ignore[method-assign]  # as FastAPI documents it
    app.add_middleware(ReadOn)
    app.add_middleware(Unkept)
    problems.handle_with(app, page=pages.problem_page)
    return app
