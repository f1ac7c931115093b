"""Rings the bell: creates the DAG run that will carry what waits in the inbox.

A hint, never the record: where it fails, the next arrival or the sweep rings again. So nothing here raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from leadcast.engine.dag_ids import DAG_ID

if TYPE_CHECKING:
    from fastapi import FastAPI

log = structlog.get_logger("leadcast.bell")

RING_TIMEOUT_S = 20.0
_EXISTS = 409


def root_app() -> FastAPI:
    """The api-server's own application: the object that uvicorn serves."""
    from airflow.api_fastapi.main import app

    return app


async def ring(run_id: str, *, token: str) -> bool:
    """In the api-server: asks Airflow's public REST API for the run, within this process, in the caller's own name.

    Args:
        token: the caller's token. Airflow checks his right to trigger the DAG once more, and writes its audit row.

    Returns:
        Whether the run is there now.
    """
    import asyncio

    import httpx

    transport = httpx.ASGITransport(app=root_app(), raise_app_exceptions=False)
    try:
        # ASGITransport knows no time-outs of its own
        async with (
            asyncio.timeout(RING_TIMEOUT_S),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", trust_env=False) as client,
        ):
            answer = await client.post(
                f"/api/v2/dags/{DAG_ID}/dagRuns",
                json={"dag_run_id": run_id, "logical_date": None, "conf": {}},
                headers={"Authorization": f"Bearer {token}"},
            )
    except Exception as error:
        return _unheard(run_id, reason=type(error).__name__)
    if answer.is_success or answer.status_code == _EXISTS:
        return True
    return _unheard(run_id, reason=f"Airflow answered {answer.status_code}")


def ring_from_here(run_id: str) -> bool:
    """Creates the run from where we are: in a task through its supervisor, elsewhere in Airflow's database.

    Returns:
        Whether the run is there now.
    """
    try:
        comms = _supervisor()
        return _ring_through(comms, run_id) if comms is not None else _ring_in_database(run_id)
    except Exception as error:
        return _unheard(run_id, reason=type(error).__name__)


def _supervisor() -> Any:
    """The line to a task's supervisor; None where this process is no task."""
    import sys

    # the module that runs tasks sets it, and is loaded in their processes only
    return getattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS", None)


def _ring_through(comms: Any, run_id: str) -> bool:
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun

    answer = comms.send(TriggerDagRun(dag_id=DAG_ID, run_id=run_id))
    if isinstance(answer, ErrorResponse) and answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
        return _unheard(run_id, reason=answer.error.value)
    return True


def _ring_in_database(run_id: str) -> bool:
    from contextlib import suppress

    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.exceptions import DagRunAlreadyExists
    from airflow.utils.types import DagRunTriggeredByType

    with suppress(DagRunAlreadyExists):
        trigger_dag(dag_id=DAG_ID, run_id=run_id, triggered_by=DagRunTriggeredByType.CLI)
    return True


def _unheard(run_id: str, *, reason: str) -> bool:
    log.warning(
        "bell not heard",
        run_id=run_id,
        reason=reason,
        hint="the next arrival or the sweep rings again; see the server log",
    )
    return False
