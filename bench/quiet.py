"""The quiet wave: one batch at a time to five integrations. How long it takes, what it costs, where the time goes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from bench.leads import RECIPIENT, TYPES, Arrivals, BenchError, BenchLead, arrivals, leads
from bench.processor import task_cpu_s
from bench.runs import PAUSE_S, Run, await_run, get, moment, poll, post, read_run
from bench.stack import Running
from leadcast.core.model import BatchStatus

DAG_ID = "send_lead"
WARM_UPS = 2
FIRST_CHAT = 100_000


@dataclass(frozen=True, kw_only=True)
class Wave:
    """One batch from the request to its end.

    latency_s: from the POST until a caller saw the final status.
    until_run_s: from the POST until a caller saw the run's state `success`.
    batch: the batch as the API tells it.
    """

    sent_at: datetime
    latency_s: float
    until_run_s: float
    batch: dict[str, Any]
    run: Run


@dataclass(frozen=True, kw_only=True)
class Quiet:
    """The waves that count, and that all leads have arrived.

    cpu_s: processor seconds of the task processes, per lead.
    """

    waves: tuple[Wave, ...]
    cpu_s: float
    arrivals: Arrivals


def request(lead: BenchLead) -> dict[str, Any]:
    """The body of POST /send-batch: a lead to all five, each to its own chat: Telegram takes 20 a minute for one."""
    own = {"telegram": {"chat_id": FIRST_CHAT + lead.number}}
    return {
        "lead_id": f"bench-{lead.tag}-{lead.number}",
        "lead": lead.as_json(),
        "integrations": [{"type": kind, "settings": own.get(kind, {})} for kind in TYPES],
        "credentials": {"email": {"emails": [RECIPIENT], "template": "new_lead", "subject": "New Lead: {lead_name}"}},
    }


def measure(running: Running, *, repeats: int) -> Quiet:
    """Sends leads one after the other.

    Raises:
        BenchError: one did not arrive.
    """
    sent = leads(WARM_UPS + repeats)
    for lead in sent[:WARM_UPS]:
        _wave(running, lead)
    cpu_before_s = task_cpu_s(running)
    waves = tuple(_wave(running, lead) for lead in sent[WARM_UPS:])
    cpu_s = (task_cpu_s(running) - cpu_before_s) / repeats
    return Quiet(waves=waves, cpu_s=cpu_s, arrivals=arrivals(sent, running.sandbox))


def _wave(running: Running, lead: BenchLead) -> Wave:
    sent_at, began = datetime.now(UTC), time.monotonic()
    accepted = post(running, "/api/integrations/send-batch", request(lead))
    path = f"/api/integrations/batches/{accepted['batch_id']}"

    def ended() -> Any:
        batch = get(running, path)
        return batch if BatchStatus(batch["status"]).is_final else None

    batch = poll(ended, what=f"batch {accepted['batch_id']} has ended")
    latency_s = time.monotonic() - began
    if batch["status"] != BatchStatus.COMPLETED:
        raise BenchError(f"Batch {accepted['batch_id']} is {batch['status']}, not completed.")
    await_run(running, DAG_ID, batch["run_id"])
    until_run_s = time.monotonic() - began
    time.sleep(PAUSE_S)
    return Wave(
        sent_at=sent_at,
        latency_s=latency_s,
        until_run_s=until_run_s,
        batch=batch,
        run=read_run(running, DAG_ID, batch["run_id"]),
    )


def steps(wave: Wave) -> dict[str, float]:
    """Where a wave's time goes: seconds of each step, one after the other, from the times in Airflow and the ledger."""
    moments = _moments(wave)
    return {name: (moments[name] - moments[before]).total_seconds() for before, name in pairwise(moments)}


def _moments(wave: Wave) -> dict[str, datetime]:
    run, tasks = wave.run, wave.run.tasks
    plan, settle = _only(run, "plan"), _only(run, "settle")
    sending = [task for task in tasks if task.task_id.startswith("deliver_") and task.pid is not None]
    return {
        "": wave.sent_at,
        "POST → batch stored": moment(wave.batch["accepted_at"]),
        "→ run created (bell)": run.queued_at,
        "→ plan queued (scheduler)": _at(plan.queued_at),
        "→ plan starts (executor)": _at(plan.started_at),
        "→ plan ends (process)": _at(plan.ended_at),
        "→ deliveries queued (scheduler)": min(_at(task.queued_at) for task in sending),
        "→ first delivery starts (executor)": min(_at(task.started_at) for task in sending),
        "→ last delivery starts (free slots)": max(_at(task.started_at) for task in sending),
        "→ last delivery ends (process)": max(_at(task.ended_at) for task in sending),
        "→ settle queued (scheduler)": _at(settle.queued_at),
        "→ settle starts (executor)": _at(settle.started_at),
        "→ settle ends (process, notifications)": _at(settle.ended_at),
        "→ run ended (scheduler)": run.ended_at,
    }


def until_final_s(wave: Wave) -> float:
    """Seconds from the POST until the status was final in the ledger, whichever task of the wave has settled it."""
    return (moment(wave.batch["finished_at"]) - wave.sent_at).total_seconds()


def delivery_parts(wave: Wave) -> dict[str, float]:
    """What one delivery's process does, mean of the five: seconds until the ledger knows of the attempt, of the
    attempt itself, and until the task has ended."""
    ledger = {delivery["type"]: delivery for delivery in wave.batch["deliveries"]}
    parts: dict[str, list[float]] = {"before the attempt": [], "the attempt": [], "after the attempt": []}
    for kind, delivery in ledger.items():
        task = _only(wave.run, f"deliver_{kind}")
        began, ended = moment(delivery["started_at"]), moment(delivery["finished_at"])
        for name, span in zip(
            parts, (began - _at(task.started_at), ended - began, _at(task.ended_at) - ended), strict=True
        ):
            parts[name].append(span.total_seconds())
    return {name: sum(values) / len(values) for name, values in parts.items()}


def _only(run: Run, task_id: str) -> Any:
    found = [task for task in run.tasks if task.task_id == task_id]
    if len(found) != 1:
        raise BenchError(f"{len(found)} task instances of {task_id} in a quiet wave; one was expected.")
    return found[0]


def _at(moment: datetime | None) -> datetime:
    if moment is None:
        raise BenchError("A task instance that ran has no time of it in Airflow's answer.")
    return moment
