"""What `leadcast doctor` says of connections: whether deliveries would go out by them, and where they may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from leadcast.core.errors import Blocked, CredentialsError, LeadcastError, SettingsError, StoreError, TransientError
from leadcast.engine.settings import config, connections
from leadcast.engine.setup.connection_hooks import BESIDE_THE_CONNECTION
from leadcast.engine.setup.finding import Finding, Level
from leadcast.integrations import registry
from leadcast.integrations.base import Account, Integration
from leadcast.integrations.http.address import is_vendors
from leadcast.integrations.http.egress import Egress

MAX_WAITING = 1000
"""How many of the deliveries that wait are looked at."""


def examine() -> Iterator[Finding]:
    """The base URLs in the settings, each integration's default connection, and those that waiting deliveries name."""
    for kind in registry.types():
        integration = registry.get_if_sound(kind)
        if integration is None:  # said once, of the integrations
            continue
        yield from _of_setting(integration)
        yield _of_default(integration)
    yield _named_by_requests()
    yield from _of_waiting()


def _of_setting(integration: Integration[Any, Any]) -> Iterator[Finding]:
    name = f"{integration.type}_base_url"
    if url := str(getattr(config.settings(), name, "")):
        try:
            _judge(integration, url, operators=True)
        except Blocked as error:
            yield Finding(Level.FAIL, f"[leadcast] {name}: nothing is sent there, {_why(error)}", _mend_of(error))


def _of_default(integration: Integration[Any, Any]) -> Finding:
    kind, conn_id = integration.type, integration.conn_id()
    try:
        _look_at(integration, conn_id)
    except Blocked as error:
        return Finding(Level.FAIL, f"connection {conn_id}: nothing is sent by it, {_why(error)}", _mend_of(error))
    except LeadcastError as error:
        if isinstance(error, CredentialsError) and error.code == connections.NO_CONNECTION:
            by_name = integration.needs_connection
            instead = f"name another for {kind} by conn_id" if by_name else f"bring credentials for {kind}"
            what = f"connection {conn_id}: none, so requests must {instead}"
            mend = f"Make it under Admin → Connections, or AIRFLOW_CONN_{conn_id.upper()}"
        else:
            what, mend = f"connection {conn_id}: cannot be used. {error}", "Admin → Connections, and fill that in"
        return Finding(Level.WARN, what, mend)
    return Finding(Level.OK, f"connection {conn_id}: there, and complete")


def _look_at(integration: Integration[Any, Any], conn_id: str) -> None:
    """Raises what a delivery by this connection would end with, and calls nobody."""
    beside = BESIDE_THE_CONNECTION.get(integration.type, {})
    account: Account[Any] = connections.of_connection(integration, conn_id, beside, settings=config.settings())
    if url := integration.chosen_url(account):
        _judge(integration, url, operators=bool(account.base_url))


def _judge(integration: Integration[Any, Any], url: str, *, operators: bool) -> None:
    if is_vendors(url, integration.public_hosts):
        return
    try:
        Egress.under(config.settings(), integration.type).judge(url, operators=operators)
    except TransientError:
        return  # a proxy may know the name, and so may name servers later


def _why(error: Blocked) -> str:
    return error.message.partition(";")[0]


def _mend_of(error: Blocked) -> str:
    if error.code == "private_address":
        return "If that is meant, add its network to [leadcast] allowed_networks"
    if error.code == "clear_text":
        return "Use https, or add its network to [leadcast] allowed_networks"
    return "Write it as a URL: https://, and a host"


def _named_by_requests() -> Finding:
    patterns = config.settings().allowed_conn_ids
    if "*" in patterns:
        mend = "Name those that are meant in [leadcast] allowed_conn_ids, or begin their names alike"
        return Finding(Level.WARN, "requests may use every connection of a fitting type", mend)
    return Finding(Level.OK, f"requests may name, beside these: {', '.join(patterns) or 'no connection'}")


def _of_waiting() -> Iterator[Finding]:
    try:
        named = _named_by_waiting()
    except (SettingsError, StoreError):
        return  # said by the check of the store
    for (kind, conn_id), count in sorted(named.items()):
        integration = registry.get_if_sound(kind)
        if integration is None or conn_id == integration.conn_id():
            continue
        what = f"connection {conn_id}: {count} that wait for {kind} name it, and will fail"
        if not config.settings().conn_ids().may_be_named(conn_id, default=integration.conn_id()):
            yield Finding(Level.WARN, f"{what}: requests may not", "Add its name to [leadcast] allowed_conn_ids")
            continue
        try:
            _look_at(integration, conn_id)
        except Blocked as error:
            yield Finding(Level.WARN, f"{what}: {_why(error)}", _mend_of(error))
        except LeadcastError as error:
            yield Finding(Level.WARN, f"{what}. {error}", "Admin → Connections, before they are sent")


def _named_by_waiting() -> Counter[tuple[str, str]]:
    from leadcast.store.batches import waiting
    from leadcast.store.sealing import credentials_of

    store, named = config.store(), Counter[tuple[str, str]]()
    with store.begin() as connection:
        found = waiting.sealed_credentials(connection, at_most=MAX_WAITING)
    for delivery_id, kind, sealed in found:
        try:
            conn_id = store.sealer.open(sealed, for_=credentials_of(delivery_id)).get("conn_id")
        except SettingsError:
            continue  # `leadcast rotate-keys` counts those that no key opens
        if conn_id:
            named[kind, str(conn_id)] += 1
    return named
