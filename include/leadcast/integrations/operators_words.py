"""What people read instead of an address that only the operator knows: the name of the connection or setting it is in.

Who looks at batches may not look at connections. Errors and labels say `'leadcast_amocrm'` where they would say
`http://10.1.2.3:8080`; the vendor's own addresses stay. Integrations need not think of it: whatever an attempt says
passes here once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from leadcast.core.errors import Blocked, DeliveryError
from leadcast.integrations.base import Account, Integration
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.http.address import Target, is_host_of

_URL = "://"


def of_connection(account: Account[Any], connection: ConnectionFields) -> Account[Any]:
    """The account, with what this connection says of where it is."""
    return replace(account, source=connection.conn_id, addresses=tuple(dict.fromkeys(_addresses(connection))))


def of_setting(account: Account[Any], name: str) -> Account[Any]:
    """The account, whose base URL stands in this setting."""
    return replace(account, source=name, addresses=(account.base_url,))


def _addresses(connection: ConnectionFields) -> Iterator[str]:
    if connection.host:
        yield connection.host
        yield connection.address
    if connection.host and connection.port:
        yield f"{connection.host}:{connection.port}"
    if "@" in connection.login:
        yield connection.login
    for value in (connection.password, *connection.extra.values()):
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and _URL in text:
            yield text


def in_label(label: str, integration: Integration[Any, Any], account: Account[Any]) -> str:
    """What people know an account by, fit for who may not see connections."""
    if label in (form for address in account.addresses for form in _forms(address, integration)):
        return account.source
    return in_text(label, integration, account)


def in_error(error: DeliveryError, integration: Integration[Any, Any], account: Account[Any]) -> None:
    """Takes the addresses out of an error's texts."""
    error.message = in_text(error.message, integration, account)
    error.detail = in_text(error.detail, integration, account)


def in_text(text: str, integration: Integration[Any, Any], account: Account[Any]) -> str:
    """`text` with the account's source in place of each of its addresses. Where it has a host by a bare word, as in
    `mail`, only what is more than that word is an address."""
    forms = {form for address in account.addresses for form in _forms(address, integration) if _is_more(form)}
    if not forms:
        return text
    any_of_them = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(rf"(?i)(?<![\w.-])(?:{any_of_them})(?![\w-]|\.\w)", lambda _: repr(account.source), text)


def _is_more(form: str) -> bool:
    return any(sign in form for sign in ".:@")


def _forms(address: str, integration: Integration[Any, Any]) -> Iterator[str]:
    """The ways in which an address is written in our errors, or in a service's."""
    if "@" in address and _URL not in address:
        yield address
        return
    try:
        target = Target.of(address if _URL in address else f"https://{address}")
    except Blocked:  # nothing is ever sent there, nor named: what was written may stand in an error all the same
        yield address
        return
    if is_host_of(target.host, integration.public_hosts):
        return
    host = f"[{target.host}]" if ":" in target.host else target.host
    yield from (target.origin, target.netloc, f"{host}:{target.port}", target.host)
    written = address.partition(_URL)[2] or address
    yield from {part for part in (written, re.split(r"[/?#]", written)[0]) if part}
