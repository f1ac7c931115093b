"""Who calls Airflow's own routes, asked before their bodies are read. Imports Airflow's API: heavy."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user, requires_access_dag
from fastapi import HTTPException, Request

from leadcast.api.caller import MAY_NOT_LOOK, MAY_NOT_SEND
from leadcast.engine.dag_ids import DAG_ID

_may_read = requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID)
_may_trigger = requires_access_dag("POST", DagAccessEntity.RUN, param_dag_id=DAG_ID)


async def user_of(request: Request) -> BaseUser:
    """The caller as Airflow's own routes know him: by the header, else by what its middlewares made of the cookie.

    Raises:
        HTTPException: 401, he shows no token, or an old one; 403, what he shows is none.
    """
    return await get_user(request, None, await bearer_scheme(request))


def refuse_who_may_not_look(request: Request, user: BaseUser) -> None:
    """Asks the auth manager, which may ask a database: for a thread.

    Raises:
        HTTPException: 403, he may not see runs of `send_lead`; it says what gives that right.
    """
    try:
        _may_read(request, user)
    except HTTPException:
        raise HTTPException(403, MAY_NOT_LOOK) from None


def refuse_who_may_not_trigger(request: Request, user: BaseUser) -> None:
    """Asks the auth manager, which may ask a database: for a thread.

    Raises:
        HTTPException: 403, he may not create runs of `send_lead`, or not even see them; it says what gives that right.
    """
    try:
        _may_trigger(request, user)
    except HTTPException:
        refuse_who_may_not_look(request, user)
        raise HTTPException(403, MAY_NOT_SEND) from None
