"""Where an integration's account comes from: the request's own credentials, or an Airflow connection."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import SecretStr, ValidationError

from leadcast.core.errors import CredentialsError
from leadcast.core.field_words import Fault
from leadcast.core.settings import Settings
from leadcast.integrations.base import Account, ConnectionFields, Integration

NO_CONNECTION = "no_connection"
"""The code of an error: there is no connection of that name."""


def fields(conn_id: str) -> ConnectionFields:
    """An Airflow connection as plain data, from whichever secrets backend has it.

    Raises:
        CredentialsError: there is none of this name.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    _include_airflows_database()
    try:
        found = Connection.get(conn_id)
    except AirflowNotFoundException:
        raise CredentialsError(
            f"There is no Airflow connection {conn_id!r}. Make it (Admin → Connections, or "
            f"AIRFLOW_CONN_{conn_id.upper()}), or send credentials with the request.",
            code=NO_CONNECTION,
        ) from None
    return ConnectionFields(
        conn_id=conn_id,
        conn_type=found.conn_type or "",
        host=found.host or "",
        port=found.port,
        login=found.login or "",
        password=SecretStr(found.password or ""),
        schema=found.schema or "",
        extra=extra if isinstance(extra := found.extra_dejson, Mapping) else {},
    )


def _include_airflows_database() -> None:
    """A task asks its supervisor. A command, or a script beside Airflow, is given only the environment's connections
    unless it says that it may look into Airflow's database; Airflow's own commands say it in this way, too."""
    if getattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS", None) is None:
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def account(integration: Integration[Any, Any], inline: Mapping[str, Any], *, settings: Settings) -> Account[Any]:
    """The account for one delivery.

    Args:
        inline: the request's `credentials.<type>`: the integration's own, `{"conn_id": …}`, or empty.

    Raises:
        CredentialsError: they do not suffice; names the field, never a value.
    """
    rest = {key: value for key, value in inline.items() if key != "conn_id"}
    if rest and "conn_id" not in inline and not integration.needs_connection:
        return integration.from_inline(_credentials(integration, rest), base_url=_base_url(integration, settings))
    conn_id = inline.get("conn_id") or integration.conn_id()
    try:
        found = integration.from_connection(fields(conn_id), rest)
    except ValidationError as error:
        raise _unfit(f"Connection {conn_id!r} does not suffice for {integration.type}", error) from None
    return found if found.base_url else replace(found, base_url=_base_url(integration, settings))


def _credentials(integration: Integration[Any, Any], given: Mapping[str, Any]) -> Any:
    try:
        return integration.credentials_model.model_validate(given)
    except ValidationError as error:
        raise _unfit(f"The credentials for {integration.type} do not suffice", error) from None


def _base_url(integration: Integration[Any, Any], settings: Settings) -> str:
    return str(getattr(settings, f"{integration.type}_base_url", ""))


def _unfit(what: str, error: ValidationError) -> CredentialsError:
    return CredentialsError(f"{what}: {Fault.first_of(error)}", code="credentials")
