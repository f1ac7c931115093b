"""What the routes work with, each opened at first use: an api-server starts even where Leadcast is not set up yet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from leadcast.control.cancel import Canceller
from leadcast.control.erase import Eraser, InAirflow
from leadcast.control.monitor import Monitor
from leadcast.control.retry import Retrier
from leadcast.control.shown import Sees, nobodys
from leadcast.core.reach import Reach
from leadcast.core.settings import Settings
from leadcast.flow.inbox import Inbox, LeadSource
from leadcast.store.database import Store

STORE_CONNECTIONS = 10
"""Kept open per api-server process; as many again are opened under load, so that none of its threads for the store, nor
who asks for its health, ever waits."""
LOCK_TIMEOUT_S = 2
"""A caller is better told to come again than kept waiting for what others hold: see `api.threads`."""
STATEMENT_TIMEOUT_S = 10
"""Nor for a statement. All of a caller's is small: what is large is counted and listed in pages."""


class Ring(Protocol):
    """Creates a wave's run in the name of the caller; says whether it is there."""

    def __call__(self, run_id: str, *, token: str) -> Coroutine[Any, Any, bool]: ...


class EraseInAirflow(Protocol):
    """Erases what Airflow itself holds of a lead, as far as it reaches, in the name of the caller. Never raises."""

    def __call__(self, lead_id: str, *, token: str, reach: Reach) -> Coroutine[Any, Any, InAirflow]: ...


async def _nothing_there(lead_id: str, *, token: str, reach: Reach) -> InAirflow:
    return InAirflow()


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The seam between the routes and what is behind them.

    missing_pools: names of the pools that the DAGs use and Airflow does not have.
    paused_dags: ids of the DAGs that leads need and somebody has paused.
    """

    store: Callable[[], Store]
    settings: Callable[[], Settings]
    ring: Ring
    missing_pools: Callable[[], list[str]]
    paused_dags: Callable[[], list[str]] = list
    lead_source: Callable[[], LeadSource | None] = lambda: None
    erase_in_airflow: EraseInAirflow = _nothing_there

    def inbox(self) -> Inbox:
        """Where requests are accepted."""
        return Inbox(self.store(), self.settings(), lead_source=self.lead_source())

    def monitor(self, sees: Sees = nobodys) -> Monitor:
        """The read side, as it is for whoever may see these leads."""
        return Monitor(self.store(), sees)

    def retrier(self) -> Retrier:
        """Has sent again what has failed, for whoever may change its batch."""
        return Retrier(store=self.store(), settings=self.settings())

    def canceller(self) -> Canceller:
        """Cancels batches, for whoever may change them."""
        return Canceller(store=self.store(), settings=self.settings())

    def eraser(self) -> Eraser:
        """Erases a person's data from the store, and goes on with erasures that are not through."""
        return Eraser(store=self.store(), settings=self.settings())


def airflow_backend() -> Backend:
    """The backend of a real api-server."""
    from functools import partial

    from leadcast.api.threads import Threads
    from leadcast.engine.runs import bell, lead_traces
    from leadcast.engine.settings import config
    from leadcast.engine.setup import doctor

    erasing = Threads(lead_traces.AT_ONCE, waits_s=lead_traces.WAITS_S, answers_within_s=lead_traces.ERASE_TIMEOUT_S)
    return Backend(
        store=lambda: config.store(STORE_CONNECTIONS, LOCK_TIMEOUT_S, STATEMENT_TIMEOUT_S),
        settings=config.settings,
        ring=bell.ring,
        missing_pools=doctor.missing_pools,
        paused_dags=doctor.paused_dags,
        lead_source=config.lead_table,
        erase_in_airflow=partial(lead_traces.erase, in_thread=erasing.run),
    )


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


BackendDep = Annotated[Backend, Depends(_backend)]
