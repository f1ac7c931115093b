"""What the integrations read from an Airflow connection alike: its address, and what it may not be mixed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from leadcast.core.errors import CredentialsError
from leadcast.integrations.base import ConnectionFields


def base_url_of(connection: ConnectionFields) -> str:
    """The address in `host`, with https unless the host or the schema says otherwise; empty without a host."""
    host = connection.host.strip().rstrip("/")
    if not host:
        return ""
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    return f"{host}:{connection.port}" if connection.port and "/" not in host.partition("://")[2] else host


def refuse_inline(connection: ConnectionFields, inline: Mapping[str, Any]) -> None:
    """Refuses credentials of a request beside a connection: the operator's token must not go where a caller says.

    Raises:
        CredentialsError: names the fields.
    """
    if inline:
        fields = ", ".join(sorted(name[:64] for name in inline))
        raise CredentialsError(
            f"Connection {connection.conn_id!r} brings all credentials; remove from the request: {fields}.",
            code="connection",
        )


def expired(service: str, error: CredentialsError) -> CredentialsError:
    """What a probe says of an access token that is not taken, where a refresh token is at hand."""
    return CredentialsError(
        f"{service} does not take the access token ({error.code}). If it has only expired, all is well: there is a "
        "refresh token, and the next delivery renews it. A test does not, because a refresh token works once.",
        code=error.code,
        detail=error.detail,
    )


def lacking(error: ValidationError) -> str:
    """The first thing that is wrong, without the value."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
