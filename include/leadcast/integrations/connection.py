"""What the integrations read from an Airflow connection alike: its address, its extra, what may not stand beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr, ValidationError

from leadcast.core.errors import CredentialsError
from leadcast.core.field_words import Fault
from leadcast.integrations.base import ConnectionFields, ModelClass
from leadcast.integrations.text.blanks import meant

_SCHEMES = ("http", "https")
_ADDRESS = re.compile(r"(?s)(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#]*)(.*)")
_TEXTS = (str, SecretStr)


def address_of(connection: ConnectionFields) -> str:
    """The address in `host`, as Airflow's hook for HTTP reads it; empty without a host.

    It has https unless the host or the schema says otherwise, and the port where the host names none. What is no scheme
    in the schema is the path of a connection that was written as a URI.
    """
    parts = _ADDRESS.fullmatch(connection.host)
    if not connection.host or parts is None:
        return ""
    scheme, netloc, path = parts.groups()
    schema = connection.schema.lower().rstrip(":/")
    if connection.port and ":" not in netloc.rpartition("@")[2].rpartition("]")[2]:
        netloc = f"{netloc}:{connection.port}"
    if schema not in ("", *_SCHEMES):
        path = path or f"/{connection.schema}"
    elif not scheme:
        scheme = schema
    return f"{scheme or 'https'}://{netloc}{path}"


def base_url_of(connection: ConnectionFields) -> str:
    """The address in `host`, to put paths behind; empty without a host."""
    return address_of(connection).rstrip("/")


def given(connection: ConnectionFields, model: ModelClass) -> dict[str, Any]:
    """What the connection's extra says of this model's fields.

    False for what is no flag is a field that was left empty, and a number may stand where text is meant.
    """
    found = {}
    for name, field in model.model_fields.items():
        value = connection.extra.get(name)
        if value is None or (value is False and field.annotation is not bool):
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        found[name] = str(value) if is_number and field.annotation in _TEXTS else value
    return found


def parsed(value: Any) -> Any:
    """A list or an object of the extra that was written as text, as `airflow connections add --conn-uri` has it."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return meant(json.loads(value))
        except ValueError:
            return value
    return value


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


def misfit(connection: ConnectionFields, error: ValidationError, *, called: Mapping[str, str]) -> CredentialsError:
    """The first thing that is wrong with a connection, without the value.

    Args:
        called: a field of the credentials → what it is called in Airflow's form, where that is another name.
    """
    fault = Fault.first_of(error)
    name = fault.where.partition(".")[0]
    field = called.get(name, name)
    return CredentialsError(f"Connection {connection.conn_id!r}: {field}: {fault.what}.", code=field)
