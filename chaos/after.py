"""What people do after a fault: nothing, clear the failed tasks, ask for a retry, backfill `retry_leads`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chaos.matrix import After
from chaos.people import TYPES
from chaos.stack import Stage
from chaos.world import CHAT_PREFIX
from leadcast.client.api import ApiError
from leadcast.client.errors import StackError
from leadcast.engine.dag_ids import DAG_ID

PATIENCE_S = 240.0
BACKFILL_DAG = "retry_leads"
AGE = timedelta(hours=3)
"""How old a batch is made for a backfill: only windows that have passed are filled."""
_OPEN = ("failed", "unknown")


def available(stage: Stage) -> tuple[list[After], list[str]]:
    """What can be done on this stack, and in words what cannot yet."""
    afters, missing = [After.NOTHING, After.CLEAR], []
    paths = _asked(stage, "/api/integrations/openapi.json", None, method="GET")["paths"]
    if any(path.endswith("/retry") for path in paths):
        afters.append(After.RETRY)
    else:
        missing.append("POST /batches/{id}/retry is not there yet: its scenarios are left out")
    is_shipped = (stage.home.project / "dags" / f"{BACKFILL_DAG}.py").exists()
    if is_shipped and _until(lambda: stage.api().has_dag(BACKFILL_DAG) or None):
        afters.append(After.BACKFILL)
    else:
        missing.append(f"the DAG {BACKFILL_DAG} is not there yet: its scenarios are left out")
    return afters, missing


def clear(stage: Stage, batch_id: str) -> str:
    """Clears the failed tasks of the batch's run, once that has ended. Returns what was done, in words.

    Telegram's are spared where a message that counts as unknown is in its chat: a person sees that.
    """
    run_id = _until(lambda: _run_of(stage, batch_id))
    if not run_id:
        return "its run has not ended"
    in_run = stage.rows("SELECT id FROM batches WHERE wave_id = :run", run=run_id)
    spared = {"telegram"} if any(_has_silent_arrival(stage, row.id) for row in in_run) else set()
    cleared = _asked(
        stage,
        f"/api/v2/dags/{DAG_ID}/clearTaskInstances",
        {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": _but_for(spared),
            "only_failed": True,
            # what comes after plan are all deliveries, those that are spared, too
            "include_downstream": not spared,
            "reset_dag_runs": True,
        },
    )
    return f"cleared {cleared['total_entries']} tasks"


def _but_for(spared: set[str]) -> list[str]:
    return [*([] if spared else ["plan"]), *(f"deliver_{kind}" for kind in TYPES if kind not in spared), "settle"]


def retry(stage: Stage, batch_id: str) -> str:
    """Asks for a retry once the batch has ended."""
    if not _until(lambda: _ended(stage, batch_id)):
        return "the batch has not ended"
    if not _open_deliveries(stage, batch_id):
        return "nothing to retry"
    if _has_silent_arrival(stage, batch_id):
        return "left alone: a person sees that the message is there"
    try:
        _asked(stage, f"/api/integrations/batches/{batch_id}/retry", None)
    except ApiError as error:
        return f"refused: {error.status}"
    return "asked"


def backfill(stage: Stage, batch_ids: Sequence[str]) -> str:
    """Makes these batches old, once they have ended, and backfills the hours that they are moved to."""
    for batch_id in batch_ids:
        _until(lambda batch_id=batch_id: _ended(stage, batch_id))  # type: ignore[misc]
    fit = [item for item in batch_ids if not _has_silent_arrival(stage, item)]
    if not fit:
        return "nothing to backfill"
    stage.rows(
        "UPDATE batches SET accepted_at = accepted_at - make_interval(secs => :age) WHERE id = ANY(:ids)",
        age=AGE.total_seconds(),
        ids=fit,
    )
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    window = {"from_date": (now - AGE - timedelta(hours=1)), "to_date": now - AGE + timedelta(hours=1)}
    made = _asked(
        stage,
        "/api/v2/backfills",
        {
            "dag_id": BACKFILL_DAG,
            **{name: at.isoformat() for name, at in window.items()},
            "reprocess_behavior": "completed",
            "max_active_runs": 2,
            "run_backwards": False,
            "dag_run_conf": {},
        },
    )
    return f"backfill {made['id']} over {len(fit)} batches"


def _asked(stage: Stage, path: str, body: Any, *, method: str = "POST") -> Any:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return stage.api().call(method, path, json=body, timeout_s=60)
        except (ApiError, StackError) as error:
            refused = isinstance(error, ApiError) and 400 <= error.status < 500 and error.status not in (409, 401)
            if refused or time.monotonic() > until:
                raise
            time.sleep(1)


def _until(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if (value := found()) is not None:
            return value
        time.sleep(0.5)
    return None


def _run_of(stage: Stage, batch_id: str) -> str | None:
    rows = stage.rows("SELECT wave_id FROM batches WHERE id = :id", id=batch_id)
    if not rows or not rows[0].wave_id:
        return None
    try:
        run = stage.api().call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{rows[0].wave_id}")
    except (ApiError, StackError):
        return None
    return str(rows[0].wave_id) if run["state"] in ("success", "failed") else None


def _ended(stage: Stage, batch_id: str) -> bool | None:
    rows = stage.rows("SELECT status FROM batches WHERE id = :id", id=batch_id)
    return True if rows and rows[0].status not in ("pending", "processing") else None


def _open_deliveries(stage: Stage, batch_id: str) -> list[Any]:
    return [
        row
        for row in stage.rows("SELECT id, type, state FROM deliveries WHERE batch_id = :id", id=batch_id)
        if row.state in _OPEN
    ]


def _has_silent_arrival(stage: Stage, batch_id: str) -> bool:
    """Whether a Telegram message that counts as unknown is there: who looks into the chat does not send it again."""
    unknown = [row for row in _open_deliveries(stage, batch_id) if row.type == "telegram" and row.state == "unknown"]
    if not unknown:
        return False
    lead_id = stage.rows("SELECT lead_id FROM batches WHERE id = :id", id=batch_id)[0].lead_id
    chat = str(CHAT_PREFIX + int(lead_id.removeprefix("chaos-")))
    return stage.world.seen().count("telegram", "", chat=chat) > 0
