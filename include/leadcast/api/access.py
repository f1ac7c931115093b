"""Who may do what: Airflow's own users, and their rights on the DAG `send_lead`. Imports Airflow's API: heavy."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import HTTPException, Request

from leadcast.api.caller import SAFE_METHODS, Caller, refuse_cookie_alone, token_of
from leadcast.engine.conf_guard import DAG_ID

_may_read = requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID)
_may_send = requires_access_dag("POST", DagAccessEntity.RUN, param_dag_id=DAG_ID)


def admit(request: Request, user: GetUserDep) -> None:
    """Lets a caller in: to read, who may see runs of `send_lead`; to write, who may trigger it.

    Raises:
        HTTPException: 401 without a valid token, 403 without the right.
    """
    if request.method in SAFE_METHODS:
        _may_read(request, user)
    else:
        refuse_cookie_alone(request)
        _may_send(request, user)

    def may_write() -> bool:
        try:
            _may_send(request, user)
        except HTTPException:
            return False
        return True

    request.state.leadcast_caller = Caller(id=user.get_id(), token=token_of(request), may_write=may_write)
