"""One client's POSTs to /send-batch, one after the other on one connection, while the waves that they cause run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bench.leads import Arrivals, BenchError, arrivals, leads
from bench.quiet import request
from bench.runs import get
from bench.stack import Running
from leadcast.core.model import BatchStatus

WARM_UPS = 10
DRAIN_TIMEOUT_S = 900.0
_POLL_S = 1.0
_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Posting:
    """How long the answers took, and what came of what was sent.

    batches: how many were sent, warm-ups included.
    runs: how many DAG runs carried them.
    drained_s: from the first POST until all had their final status.
    """

    latencies_s: tuple[float, ...]
    batches: int
    runs: int
    drained_s: float
    arrivals: Arrivals


def measure(running: Running, *, repeats: int) -> Posting:
    """Sends them, then waits until all have been delivered.

    Raises:
        BenchError: one did not arrive, or not in time.
    """
    sent = leads(WARM_UPS + repeats)
    bodies = [request(lead) for lead in sent]
    began = time.monotonic()
    answers = [_post(running, body) for body in bodies]
    runs = _await_all(running, {batch_id for _, batch_id in answers})
    return Posting(
        latencies_s=tuple(latency_s for latency_s, _ in answers[WARM_UPS:]),
        batches=len(sent),
        runs=runs,
        drained_s=time.monotonic() - began,
        arrivals=arrivals(sent, running.sandbox),
    )


def _post(running: Running, body: dict[str, Any]) -> tuple[float, str]:
    began = time.perf_counter()
    answer = running.http.post(running.url("/api/integrations/send-batch"), json=body, timeout=30)
    latency_s = time.perf_counter() - began
    answer.raise_for_status()
    return latency_s, answer.json()["batch_id"]


def _await_all(running: Running, batch_ids: set[str]) -> int:
    """How many runs carried these batches, once all of them are completed."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while True:
        found = [batch for batch in _newest(running, len(batch_ids)) if batch["batch_id"] in batch_ids]
        ended = [batch for batch in found if BatchStatus(batch["status"]).is_final]
        if len(ended) == len(batch_ids):
            break
        if time.monotonic() > deadline:
            raise BenchError(f"{len(ended)} of {len(batch_ids)} batches have ended after {DRAIN_TIMEOUT_S:.0f} s.")
        time.sleep(_POLL_S)
    if wrong := [batch["batch_id"] for batch in ended if batch["status"] != BatchStatus.COMPLETED]:
        raise BenchError(f"{len(wrong)} batches are not completed, the first is {wrong[0]}.")
    return len({batch["run_id"] for batch in ended})


def _newest(running: Running, count: int) -> Iterable[dict[str, Any]]:
    path: str | None = f"/api/integrations/batches?limit={min(count, _PAGE)}"
    while path is not None and count > 0:
        page = get(running, path)
        yield from page["batches"]
        count -= len(page["batches"])
        path = page["links"]["next"]
