"""Who may do what: Airflow's own users, and their rights on the DAG `send_lead`. Imports Airflow's API: heavy."""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import HTTPException, Request

from leadcast.api.airflow_user import refuse_who_may_not_look, refuse_who_may_not_trigger
from leadcast.api.caller import SAFE_METHODS, Caller, OverAll, refuse_cookie_alone, token_of
from leadcast.engine.setup.permissions import RESOURCE


def admit(request: Request, user: GetUserDep) -> None:
    """Lets a caller in: to read, who may see runs of `send_lead`; to write, who may trigger it. Whose leads he may see,
    and whose batches he may change, he is asked as it is needed (`Caller`).

    Raises:
        HTTPException: 401 without a valid token, 403 without the right.
    """
    if request.method in SAFE_METHODS:
        refuse_who_may_not_look(request, user)
    else:
        refuse_cookie_alone(request)
        refuse_who_may_not_trigger(request, user)

    @cache
    def may_write() -> bool:
        try:
            refuse_who_may_not_trigger(request, user)
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
