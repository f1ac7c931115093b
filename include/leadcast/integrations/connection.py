"""An Airflow connection, as integrations read it: its fields as plain data, and which of the credentials lies where."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from leadcast.core.errors import CredentialsError
from leadcast.core.field_words import SENTENCES, Fault
from leadcast.core.redact import opened
from leadcast.integrations.text.blanks import filled_in, meant, trimmed, without_line_ends

_SCHEMES = ("http", "https")
_ADDRESS = re.compile(r"(?s)(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#]*)(.*)")
_READ_AS = {"password": "token"}
_TEXTS = (str, SecretStr)
_UNIONS = (Union, UnionType, Annotated)
Place = Literal["password", "login", "host", "address"]


@dataclass(frozen=True, kw_only=True)
class ConnectionFields:
    """An Airflow connection, as plain data, without what was left blank: no integration sees null or a blank text.

    port: None also for 0, as a form may have it.
    password: without line ends around it; `token` is what to read where it is one.
    extra: may hold secrets; every field in it was filled in.
    """

    conn_id: str
    conn_type: str = ""
    host: str = ""
    port: int | None = None
    login: str = ""
    password: SecretStr = field(default_factory=lambda: SecretStr(""))
    schema: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in ("conn_type", "host", "login", "schema"):
            object.__setattr__(self, name, trimmed(getattr(self, name)))
        object.__setattr__(self, "port", self.port or None)
        object.__setattr__(self, "password", SecretStr(without_line_ends(self.password.get_secret_value())))
        object.__setattr__(self, "extra", filled_in(self.extra))

    @property
    def token(self) -> SecretStr:
        """The password where it is a token, which never has blanks around it."""
        return SecretStr(trimmed(self.password.get_secret_value()))

    @property
    def address(self) -> str:
        """The address in `host`, as Airflow's hook for HTTP reads it; empty without a host.

        It has https unless the host or the schema says otherwise, and the port where the host names none. What is no
        scheme in the schema is the path of a connection that was written as a URI.
        """
        parts = _ADDRESS.fullmatch(self.host)
        if not self.host or parts is None:
            return ""
        scheme, netloc, path = parts.groups()
        schema = self.schema.lower().rstrip(":/")
        if self.port and ":" not in netloc.rpartition("@")[2].rpartition("]")[2]:
            netloc = f"{netloc}:{self.port}"
        if schema not in ("", *_SCHEMES):
            path = path or f"/{self.schema}"
        elif not scheme:
            scheme = schema
        return f"{scheme or 'https'}://{netloc}{path}"

    @property
    def base_url(self) -> str:
        """The address, to put paths behind; empty without a host."""
        return self.address.rstrip("/")

    def extra_of(self, model: type[BaseModel]) -> dict[str, Any]:
        """What the extra says of this model's fields.

        False for what is no flag is a field that was left empty. A number may stand where text is meant; a list or an
        object may be written as text, as `airflow connections add --conn-uri` has it.
        """
        found = {}
        for name, wanted in model.model_fields.items():
            value, kind = self.extra.get(name), wanted.annotation
            if value is None or (value is False and kind is not bool):
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            as_text = str(value) if is_number and kind in _TEXTS else value
            found[name] = as_text if _takes_text(kind) else _parsed(value)
        return found


@dataclass(frozen=True)
class InConnection:
    """Which of the credentials lies in which field of a connection. The others are in its extra, by their own names.

    held: a field of the connection → the credential in it. A password is taken for a token: blanks around it are none
        of it. `address` is the URL which host, schema and port make.
    base_url: whether the account's base URL is that address, or stands in extra under this name; empty: there is none.
    lacking: a field of the connection → what belongs there, for who has left it empty: "the bot's token".
    needs: what the whole needs, in a sentence, where no field can be told to be at fault alone.
    """

    held: Mapping[Place, str] = field(default_factory=dict)
    base_url: Literal["", "address", "extra"] = ""
    lacking: Mapping[Place, str] = field(default_factory=dict)
    needs: str = ""

    def credentials(self, connection: ConnectionFields, model: type[BaseModel]) -> dict[str, Any]:
        """The credentials that the connection holds, by their names."""
        own = {name: opened(getattr(connection, _READ_AS.get(place, place))) for place, name in self.held.items()}
        in_extra = connection.extra_of(model)
        return {name: value for name, value in (in_extra | own).items() if name not in own or value}

    def base_url_of(self, connection: ConnectionFields) -> str:
        """The base URL that the connection says.

        Raises:
            CredentialsError: what stands in extra is none.
        """
        if self.base_url != "extra":
            return connection.base_url if self.base_url else ""
        base_url = str(connection.extra.get("base_url") or "")
        if base_url and not base_url.startswith(("https://", "http://")):
            raise CredentialsError(
                f"Connection {connection.conn_id!r}: base_url must begin with https:// or http://.", code="base_url"
            )
        return base_url

    def misfit(self, connection: ConnectionFields, error: ValidationError) -> CredentialsError:
        """The first thing that is wrong with a connection, in the words of its fields, without the value."""
        fault, conn_id = Fault.first_of(error), connection.conn_id
        if self.needs:
            return CredentialsError(f"Connection {conn_id!r}: {fault}. {self.needs}", code="connection")
        place = next((place for place, name in self.held.items() if name == fault.where), None)
        if place is not None:
            fault = replace(fault, where="host" if place == "address" else place)
            if fault.what == SENTENCES["missing"] and place in self.lacking:
                what = self.lacking[place]
                return CredentialsError(f"Connection {conn_id!r} has no {fault.where}: {what}.", code=fault.where)
        return CredentialsError(f"Connection {conn_id!r}: {fault}.", code=fault.where)


def refuse_beside(connection: ConnectionFields, given: Mapping[str, Any], *, allowed: tuple[str, ...] | None) -> None:
    """Refuses credentials of a request beside a connection: the operator's token must not go where a caller says.

    Args:
        allowed: those that may be given; None: all.

    Raises:
        CredentialsError: names the others.
    """
    others = [name for name in given if allowed is not None and name not in allowed]
    if others:
        fields = ", ".join(sorted(name[:64] for name in others))
        raise CredentialsError(
            f"Connection {connection.conn_id!r} brings all credentials; remove from the request: {fields}.",
            code="connection",
        )


def _takes_text(annotation: Any) -> bool:
    if get_origin(annotation) in _UNIONS:
        return any(map(_takes_text, get_args(annotation)))
    return annotation in _TEXTS


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return meant(json.loads(value))
        except ValueError:
            return value
    return value
