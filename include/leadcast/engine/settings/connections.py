"""Where an integration's account comes from: the request's own credentials, or an Airflow connection."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import SecretStr, ValidationError

from leadcast.core.conn_ids import type_name, unusable
from leadcast.core.errors import CredentialsError
from leadcast.core.field_words import Fault
from leadcast.core.settings import Settings
from leadcast.integrations import operators_words, registry
from leadcast.integrations.base import Account, Integration
from leadcast.integrations.connection import ConnectionFields

NO_CONNECTION = "no_connection"
"""The code of an error: there is no connection of that name."""
OTHER_TYPE = "connection_type"
"""The same: it is one for something else."""
UNUSABLE = "connection_unusable"
"""The code that those who may not see connections get in their place."""
_SAYS_NOTHING = ("", "generic", "http", "https")
"""Types of a connection that was made without one, by Airflow's command line with one that it did not know, or of a URL
in `AIRFLOW_CONN_…`, whose scheme Airflow takes for the type."""


def fields(conn_id: str) -> ConnectionFields:
    """An Airflow connection as plain data, from whichever secrets backend has it.

    Raises:
        CredentialsError: there is none of this name.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied

    _include_airflows_database()
    try:
        found = Connection.get(conn_id)
    except (AirflowNotFoundException, AirflowSecretsBackendAccessDenied):
        raise CredentialsError(
            f"There is no Airflow connection {conn_id!r}. Make it: Admin → Connections, or "
            f"AIRFLOW_CONN_{conn_id.upper()}.",
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
    """The account for one delivery. Whatever door its request has come through, and however long ago, this is where it
    is decided which connection it may use.

    Args:
        inline: the request's `credentials.<type>`: the integration's own, `{"conn_id": …}`, or empty.

    Raises:
        CredentialsError: they do not suffice; names the field, never a value. A connection that is not there, is for
            something else or may not be named by requests is refused with the same words. Where the request names
            none, it says that the default one is not there: that name is in our documentation.
    """
    rest = {key: value for key, value in inline.items() if key != "conn_id"}
    if rest and "conn_id" not in inline and not integration.needs_connection:
        found = integration.from_inline(_credentials(integration, rest), base_url=_base_url(integration, settings))
        return operators_words.of_setting(found, _setting(integration)) if found.base_url else found
    conn_id = inline.get("conn_id") or integration.conn_id()
    if inline.get("conn_id") and not settings.conn_ids().may_be_named(conn_id, default=integration.conn_id()):
        raise _unusable(conn_id, integration)
    try:
        return of_connection(integration, conn_id, rest, settings=settings)
    except CredentialsError as error:
        if error.code == NO_CONNECTION and "conn_id" not in inline:
            raise _no_default(error, integration) from None
        if error.code not in (NO_CONNECTION, OTHER_TYPE):
            raise
        raise _unusable(conn_id, integration) from None


def of_connection(
    integration: Integration[Any, Any], conn_id: str, beside: Mapping[str, Any], *, settings: Settings
) -> Account[Any]:
    """The account of a connection, whoever may name it: for the operator, who is told what is wrong with it.

    Args:
        beside: what a request's credentials hold besides `conn_id`.

    Raises:
        CredentialsError: it is not there, is for something else, or does not suffice.
    """
    connection = fields(conn_id)
    _check_type(connection, integration)
    try:
        found = operators_words.of_connection(integration.from_connection(connection, beside), connection)
    except ValidationError as error:
        raise _unfit(f"Connection {conn_id!r} does not suffice for {integration.type}", error) from None
    if found.base_url or not (base_url := _base_url(integration, settings)):
        return found
    return replace(found, base_url=base_url, addresses=(*found.addresses, base_url))


def _check_type(connection: ConnectionFields, integration: Integration[Any, Any]) -> None:
    found = type_name(connection.conn_type)
    types = integration.connection_types or (integration.type,)
    if found in types:
        return
    if found in _SAYS_NOTHING and _is_called_after(integration, connection.conn_id):
        return
    if connection.conn_id == integration.conn_id() and not integration.connection_types:
        return
    raise CredentialsError(
        f"Connection {connection.conn_id!r} is of the type {found or 'none'}; {integration.type} takes "
        f"{' or '.join(types)}.",
        code=OTHER_TYPE,
    )


def _is_called_after(integration: Integration[Any, Any], conn_id: str) -> bool:
    """Whether its name says that it is for this integration: the default one, `leadcast_<type>` or
    `leadcast_<type>_…`. Of two types that fit, the longer one is meant."""
    if conn_id == integration.conn_id():
        return True
    fitting = (kind for kind in (integration.type, *registry.types()) if f"{conn_id}_".startswith(f"leadcast_{kind}_"))
    return max(fitting, key=len, default="") == integration.type


def _no_default(error: CredentialsError, integration: Integration[Any, Any]) -> CredentialsError:
    if integration.needs_connection:  # no request brings a mail server
        return CredentialsError(f"{error.message} Or have the request name another by conn_id.", code=NO_CONNECTION)
    return CredentialsError(f"{error.message} Or send credentials with the request.", code=NO_CONNECTION)


def _unusable(conn_id: str, integration: Integration[Any, Any]) -> CredentialsError:
    return CredentialsError(unusable(conn_id, integration.type), code=UNUSABLE)


def _credentials(integration: Integration[Any, Any], given: Mapping[str, Any]) -> Any:
    try:
        return integration.credentials_model.model_validate(given)
    except ValidationError as error:
        raise _unfit(f"The credentials for {integration.type} do not suffice", error) from None


def _base_url(integration: Integration[Any, Any], settings: Settings) -> str:
    return str(getattr(settings, _setting(integration), ""))


def _setting(integration: Integration[Any, Any]) -> str:
    return f"{integration.type}_base_url"


def _unfit(what: str, error: ValidationError) -> CredentialsError:
    return CredentialsError(f"{what}: {Fault.first_of(error)}", code="credentials")
