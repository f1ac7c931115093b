"""Who may do what: Airflow's own users, and their rights on the DAG `send_lead`. Imports Airflow's API: heavy."""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import HTTPException, Request

from leadcast.api.caller import SAFE_METHODS, Caller, OverAll, refuse_cookie_alone, token_of
from leadcast.engine.conf_guard import DAG_ID
from leadcast.engine.permissions import RESOURCE

_may_read = requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID)
_may_send = requires_access_dag("POST", DagAccessEntity.RUN, param_dag_id=DAG_ID)


def admit(request: Request, user: GetUserDep) -> None:
    """Lets a caller in: to read, who may see runs of `send_lead`; to write, who may trigger it. Whose leads he may see,
    and whose batches he may change, he is asked as it is needed (`Caller`).

    Raises:
        HTTPException: 401 without a valid token, 403 without the right.
    """
    if request.method in SAFE_METHODS:
        _may_read(request, user)
    else:
        refuse_cookie_alone(request)
        _may_send(request, user)

    @cache
    def may_write() -> bool:
        try:
            _may_send(request, user)
        except HTTPException:
            return False
        return True

    @cache
    def may(right: OverAll) -> bool:
        manager: BaseAuthManager[Any] = get_auth_manager()
        # Airflow's simple one lets everybody in to what it does not know: so whoever may change connections
        knows_no_other = isinstance(manager, SimpleAuthManager)
        if knows_no_other and not manager.is_authorized_connection(method="PUT", user=user):
            return False
        return manager.is_authorized_custom_view(method=right.value, resource_name=RESOURCE, user=user)

    request.state.leadcast_caller = Caller(
        id=user.get_id(), name=user.get_name(), token=token_of(request), may_write=may_write, may=may
    )
