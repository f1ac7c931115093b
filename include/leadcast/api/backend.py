"""What the routes work with, each opened at first use: an api-server starts even where Leadcast is not set up yet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from leadcast.core.settings import Settings
from leadcast.inbox import Inbox, LeadSource
from leadcast.monitor import Monitor
from leadcast.store.database import Store

STORE_CONNECTIONS = 20
"""Kept open per api-server process; as many again are opened under load, so that its 40 threads never wait."""


class Ring(Protocol):
    """Creates a wave's run in the name of the caller; says whether it is there."""

    def __call__(self, run_id: str, *, token: str) -> Coroutine[Any, Any, bool]: ...


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The seam between the routes and what is behind them.

    missing_pools: names of the pools that the DAGs use and Airflow does not have.
    """

    store: Callable[[], Store]
    settings: Callable[[], Settings]
    ring: Ring
    missing_pools: Callable[[], list[str]]
    lead_source: Callable[[], LeadSource | None] = lambda: None

    def inbox(self) -> Inbox:
        """Where requests are accepted."""
        return Inbox(self.store(), self.settings(), lead_source=self.lead_source())

    def monitor(self) -> Monitor:
        """The read side."""
        return Monitor(self.store(), lead_source=self.lead_source())


def airflow_backend() -> Backend:
    """The backend of a real api-server."""
    from leadcast.engine import bell, config, doctor

    return Backend(
        store=lambda: config.store(STORE_CONNECTIONS),
        settings=config.settings,
        ring=bell.ring,
        missing_pools=doctor.missing_pools,
        lead_source=config.lead_table,
    )


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


BackendDep = Annotated[Backend, Depends(_backend)]
