"""`GET /health`: whether leads get through. The one route without a token; it names nothing secret."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from leadcast.api.backend import Backend
from leadcast.control.monitor import StoreHealth
from leadcast.core.clock import Clock, utc_now
from leadcast.core.errors import LeadcastError

log = structlog.get_logger("leadcast.api")

KEPT_S = 2.0
THREADS = 2
LOOKS_FOR_S = 5.0
"""After so long without an answer the store counts as away: nothing bounds the wait for a network that stands still."""
LATE_S = 300.0


class Status(StrEnum):
    """`degraded`: leads are accepted, but something keeps them from being sent as they should."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class HealthAnswer(BaseModel):
    """How Leadcast is. Answered with 503 when it is down."""

    status: Status
    store_reachable: bool
    store_migrated: bool
    oldest_pending_s: float | None = Field(description="Age of the oldest batch of which nothing has begun.")
    missing_pools: list[str] | None = Field(description="Deliveries of their integrations never start. null: unknown.")
    paused_dags: list[str] | None = Field(
        description="Of send_lead, which sends, and sweep, which picks up what fell. null: unknown."
    )
    open_circuits: dict[str, int] = Field(
        description="Integration → how many of its accounts are left alone; deliveries to them wait."
    )
    unsent: dict[str, int] = Field(
        description="Channel → how many messages to people could not be sent; they are tried again."
    )
    hints: list[str] = Field(description="What to do.")


class Health:
    """Looks at most every two seconds, however often it is asked."""

    def __init__(self, backend: Backend, *, clock: Clock = utc_now, timer: Callable[[], float] = time.monotonic):
        self._backend = backend
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._known: tuple[float, HealthAnswer] | None = None
        self._began_at: float | None = None
        self._threads: CapacityLimiter | None = None

    def answer(self) -> HealthAnswer:
        """How it is, or was within the last two seconds; while somebody looks, how it was before, if that is not long
        ago."""
        known, began_at = self._known, self._began_at
        # a store that hangs must not take a thread of the server for each who asks
        if not self._lock.acquire(blocking=known is None):
            assert known is not None
            is_late = began_at is not None and self._timer() - began_at > LOOKS_FOR_S
            return self.without_answer() if is_late else known[1]
        try:
            now = self._began_at = self._timer()
            if self._known is None or now - self._known[0] >= KEPT_S:
                self._known = (now, self._look())
            return self._known[1]
        finally:
            self._began_at = None
            self._lock.release()

    async def answer_in_time(self) -> HealthAnswer:
        """The same, and what to say where that takes too long. The thread that looks may hang, so it is none of those
        that serve others."""
        if self._threads is None:  # belongs to the event loop in which it is first used
            self._threads = CapacityLimiter(THREADS)
        with anyio.move_on_after(LOOKS_FOR_S):
            return await to_thread.run_sync(self.answer, abandon_on_cancel=True, limiter=self._threads)
        return self.without_answer()

    def without_answer(self) -> HealthAnswer:
        """What to say where nobody knows yet."""
        return judge(_AWAY, missing_pools=None, paused_dags=None, now=self._clock())

    def _look(self) -> HealthAnswer:
        try:
            store = self._backend.monitor().health()
        except LeadcastError as error:
            log.error("not set up", reason=str(error))
            store = _AWAY
        pools = _asked("pools", self._backend.missing_pools)
        dags = _asked("dags", self._backend.paused_dags)
        return judge(store, missing_pools=pools, paused_dags=dags, now=self._clock())


_AWAY = StoreHealth(reachable=False, migrated=False, oldest_pending_at=None)


def _asked(what: str, question: Callable[[], list[str]]) -> list[str] | None:
    try:
        return question()
    except Exception as error:
        log.warning(f"{what} not read", reason=type(error).__name__)
        return None


def judge(
    store: StoreHealth, *, missing_pools: list[str] | None, paused_dags: list[str] | None, now: datetime
) -> HealthAnswer:
    """From what was found to `ok`, `degraded` or `down`, and to hints at what to do about it."""
    oldest_s = None
    if store.oldest_pending_at is not None:
        oldest_s = round(max(0.0, (now - store.oldest_pending_at).total_seconds()), 1)
    late = oldest_s is not None and oldest_s > LATE_S
    hints = []
    if not store.reachable:
        hints.append("The store cannot be reached: see [leadcast] store_url and the api-server's log.")
    elif not store.migrated:
        hints.append("The store's tables are not those of this version. Run: leadcast init")
    if missing_pools:
        hints.append(f"Pools are missing, their tasks wait for ever: {', '.join(missing_pools)}. Run: leadcast init")
    if paused_dags:
        listed = ", ".join(paused_dags)
        hints.append(
            f"DAGs are paused, so leads wait, or what fell stays there: {listed}. Run: airflow dags unpause … "
            "(on the local stack: leadcast airflow dags unpause …)"
        )
    if late:
        hints.append("Batches wait: is the DAG send_lead paused, is the scheduler running?")
    if store.open_circuits:
        listed = ", ".join(sorted(store.open_circuits))
        hints.append(f"Accounts are left alone after failures: {listed}. See: leadcast circuits")
    if store.unsent:
        listed = ", ".join(f"{count} × {channel}" for channel, count in sorted(store.unsent.items()))
        hints.append(f"People could not be told, and it is tried again: {listed}. Why: leadcast doctor")
    if not store.migrated:
        status = Status.DOWN
    else:
        unknown = missing_pools is None or paused_dags is None
        is_worse = late or missing_pools or paused_dags or unknown or store.open_circuits or store.unsent
        status = Status.DEGRADED if is_worse else Status.OK
    return HealthAnswer(
        status=status,
        store_reachable=store.reachable,
        store_migrated=store.migrated,
        oldest_pending_s=oldest_s,
        missing_pools=missing_pools,
        paused_dags=paused_dags,
        open_circuits=dict(store.open_circuits),
        unsent=dict(store.unsent),
        hints=hints,
    )


async def health(request: Request) -> Response:
    """Says how Leadcast is: 200, or 503 when it is down."""
    known: Health = request.app.state.health
    answer = await known.answer_in_time()
    code = 503 if answer.status is Status.DOWN else 200
    return JSONResponse(answer.model_dump(mode="json"), status_code=code, headers={"Cache-Control": "no-store"})
