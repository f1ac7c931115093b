"""What may be left over once all is calm and must not: rows that belong to nothing, processes that serve nobody."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from chaos.stack import Stage
from leadcast.local import processes
from leadcast.local.supervisor import Program

_ROWS = {
    "deliveries without a batch": (
        "SELECT count(*) FROM deliveries d WHERE NOT EXISTS (SELECT FROM batches b WHERE b.id = d.batch_id)"
    ),
    "attempts without a delivery": (
        "SELECT count(*) FROM attempts a WHERE NOT EXISTS (SELECT FROM deliveries d WHERE d.id = a.delivery_id)"
    ),
    "notifications without a batch": (
        "SELECT count(*) FROM notifications n WHERE n.batch_id IS NOT NULL "
        "AND NOT EXISTS (SELECT FROM batches b WHERE b.id = n.batch_id)"
    ),
    "batches without a delivery": (
        "SELECT count(*) FROM batches b WHERE NOT EXISTS (SELECT FROM deliveries d WHERE d.batch_id = b.id)"
    ),
    "tasks that lanes wait for": "SELECT count(*) FROM lanes WHERE waiting > 0",
    "deliveries that have ended and wait": (
        "SELECT count(*) FROM deliveries WHERE finished_at IS NOT NULL "
        "AND (waits_for IS NOT NULL OR next_attempt_at IS NOT NULL)"
    ),
    "leases of attempts": "SELECT count(*) FROM workers WHERE lease_until > clock_timestamp()",
    "deliveries that have ended and are held": (
        "SELECT count(*) FROM deliveries WHERE state <> 'sending' AND worker_id IS NOT NULL"
    ),
}


def orphans(stage: Stage) -> dict[str, int]:
    """What is left over, by kind; empty: nothing. Only when all is calm."""
    counts = {what: int(stage.rows(statement)[0][0]) for what, statement in _ROWS.items()}
    counts["executor's workers whose scheduler is dead"] = sum(1 for _ in _lost_workers(stage))
    return {what: count for what, count in counts.items() if count}


def workers(stage: Stage) -> list[psutil.Process]:
    """The worker processes of the stack's executor, and the tasks that they run."""
    return [item for item in processes.of_stack(stage.home) if _is_worker(item)]


def _lost_workers(stage: Stage) -> Iterator[psutil.Process]:
    scheduler = stage.pid(Program.SCHEDULER)
    for worker in workers(stage):
        try:
            if scheduler not in (parent.pid for parent in worker.parents()):
                yield worker
        except psutil.Error:
            continue


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "airflow worker --" in " ".join(process.cmdline())
    except psutil.Error:
        return False
