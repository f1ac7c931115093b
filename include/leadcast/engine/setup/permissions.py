"""Rights on `send_lead` and on everybody's leads: what Airflow's auth manager has to know so that it can give them.

Leadcast itself only asks Airflow whether a user may read or trigger `send_lead`, and what he may do to `Leadcast
leads`, a resource of ours (api/access.py). FAB's roles are made by FAB's own commands: docs/install.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

from leadcast.core.errors import SettingsError
from leadcast.engine.dag_ids import DAG_ID

SIMPLE = "SimpleAuthManager"
FAB = "FabAuthManager"

RESOURCE = "Leadcast leads"
"""The leads of all senders."""
ROLES = ("Leadcast operator", "Leadcast sender", "Leadcast viewer")
"""FAB's roles as docs/install.md makes them, and as earlier versions made them by themselves."""


def make_known() -> list[str]:
    """Tells FAB what its commands can give rights on then: of what it has not met, they give none.

    Returns:
        Who gets which rights how, a line.

    Raises:
        SettingsError: the auth manager's tables are missing.
    """
    manager = _auth_manager()
    if manager == SIMPLE:
        return [
            "permissions: Airflow's simple auth manager; its viewers look on, its users may send, and see their own "
            "leads, ops and admins see all"
        ]
    if manager != FAB:
        return [
            f"permissions: {manager} has no roles that can be made from here. Who sends needs the right to trigger "
            f"(create runs of) the DAG {DAG_ID}, who looks on the right to read it; both need plugins for the menu. "
            f"Of the custom view {RESOURCE!r}, who sees others' leads needs GET, who changes their batches PUT, who "
            "erases them DELETE"
        ]
    with _security() as security:
        for name in (RESOURCE, f"DAG:{DAG_ID}", f"DAG Run:{DAG_ID}"):
            security.create_resource(name)
        missing = [name for name in ROLES if security.find_role(name) is None]
    roles = f"not there yet: {', '.join(missing)}. The commands that make them: docs/install.md" if missing else "there"
    return [f"permissions: FAB knows {RESOURCE!r} and the DAG {DAG_ID}; roles: {roles}"]


def remove_roles(dag_ids: tuple[str, ...]) -> list[str]:
    """Removes the roles, our resource, and what the auth manager knows of these DAGs.

    Returns:
        What was done, a line each.
    """
    if _auth_manager() != FAB:
        return []
    lines = []
    with _security() as security:
        for name in ROLES:
            if security.find_role(name) is not None:
                security.delete_role(name)
                lines.append(f"role {name}: removed")
        # Airflow makes these when it parses a DAG, and leaves them when the DAG is deleted
        for resource in [RESOURCE, *(f"{kind}:{dag_id}" for kind in ("DAG", "DAG Run") for dag_id in dag_ids)]:
            _forget(security, resource)
    return lines


def _forget(security: Any, name: str) -> None:
    resource = security.get_resource(name)
    if resource is None:
        return
    for permission in security.get_resource_permissions(resource):
        for role in security.get_all_roles():
            security.remove_permission_from_role(role, permission)
        security.session.delete(permission)
    security.session.delete(resource)


def _auth_manager() -> str:
    """Which auth manager Airflow uses: one of those we know, else its class's name."""
    from airflow.configuration import conf

    classpath = str(conf.get_mandatory_value("core", "auth_manager"))
    if classpath.endswith(f".{SIMPLE}"):
        return SIMPLE
    names = [base.__name__ for base in resolve_name(classpath).__mro__]
    return next((known for known in (SIMPLE, FAB) if known in names), names[0])


@contextmanager
def _security() -> Iterator[Any]:
    """FAB's security manager, without the Flask application that it usually comes with."""
    from airflow.utils.session import create_session
    from sqlalchemy.exc import SQLAlchemyError

    manager = resolve_name("airflow.providers.fab.www.security_appless.ApplessAirflowSecurityManager")
    try:
        with create_session() as session:
            yield manager(session=session)
    except SQLAlchemyError as error:
        raise SettingsError(
            f"Airflow's roles cannot be used ({type(error).__name__}). Are the tables there? Run: airflow db migrate"
        ) from None
