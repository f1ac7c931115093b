"""The yardstick's figures: the same lead through bench/plain_dag/plain_lead.py, from the POST to the run's end."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.leads import RECIPIENT, TYPES, Arrivals, BenchLead, arrivals, leads
from bench.processor import task_cpu_s
from bench.runs import PAUSE_S, Run, await_run, post, read_run
from bench.stack import PLAIN_DAG_ID, Running
from leadcast.client.loopback import loopback_url
from leadcast.local.ports import Ports

WARM_UPS = 1


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Seconds of each run as a caller saw them, the runs, and that all leads have arrived.

    cpu_s: processor seconds of the task processes, per lead.
    """

    latencies_s: tuple[float, ...]
    cpu_s: float
    runs: tuple[Run, ...]
    arrivals: Arrivals


def measure(running: Running, *, repeats: int) -> Plain:
    """Sends leads one after the other.

    Raises:
        BenchError: one did not arrive.
    """
    sent = leads(WARM_UPS + repeats)
    for lead in sent[:WARM_UPS]:
        _run(running, lead)
    cpu_before_s = task_cpu_s(running)
    measured = [_run(running, lead) for lead in sent[WARM_UPS:]]
    cpu_s = (task_cpu_s(running) - cpu_before_s) / repeats
    return Plain(
        latencies_s=tuple(latency_s for latency_s, _ in measured),
        cpu_s=cpu_s,
        runs=tuple(run for _, run in measured),
        arrivals=arrivals(sent, running.sandbox),
    )


def _run(running: Running, lead: BenchLead) -> tuple[float, Run]:
    conf = {"lead": lead.as_json(), "integrations": list(TYPES), "services": _services(running.ports)}
    began = time.monotonic()
    made = post(running, f"/api/v2/dags/{PLAIN_DAG_ID}/dagRuns", {"logical_date": None, "conf": conf})
    await_run(running, PLAIN_DAG_ID, made["dag_run_id"])
    latency_s = time.monotonic() - began
    time.sleep(PAUSE_S)
    return latency_s, read_run(running, PLAIN_DAG_ID, made["dag_run_id"])


def _services(ports: Ports) -> dict[str, dict[str, str | int]]:
    # The sandbox takes any token of the right form.
    sandbox = ports.sandbox
    return {
        "email": {"host": "127.0.0.1", "port": sandbox.smtp, "to": RECIPIENT},
        "amocrm": {"url": loopback_url(sandbox.amocrm), "token": "bench"},
        "telegram": {"url": loopback_url(sandbox.telegram), "token": "1234567890:" + "b" * 35, "chat_id": "@bench"},
        "bitrix24": {"url": loopback_url(sandbox.bitrix24), "token": "bench"},
        "webhook": {"url": loopback_url(sandbox.webhook)},
    }
