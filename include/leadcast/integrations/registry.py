"""Which integrations there are: the entry-point group `leadcast.integrations`, loaded only when used.

A DAG file asks for the types and their queues at every parse, so these are known without importing an integration:
the shipped ones are listed here, others (a user's own) are read from their class.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from leadcast.core.errors import SettingsError
from leadcast.core.redact import one_line

if TYPE_CHECKING:
    from leadcast.integrations.base import Integration

GROUP = "leadcast.integrations"
SHIPPED = {
    "email": ("leadcast.integrations.email.integration:Email", "integration-email"),
    "amocrm": ("leadcast.integrations.amocrm.integration:AmoCrm", "integration-amocrm"),
    "telegram": ("leadcast.integrations.telegram.integration:Telegram", "integration-telegram"),
    "bitrix24": ("leadcast.integrations.bitrix24.integration:Bitrix24", "integration-bitrix24"),
    "webhook": ("leadcast.integrations.webhook.integration:Webhook", "integration-webhooks"),
}
NOTIFICATIONS_QUEUE = "notifications"


@cache
def _targets() -> dict[str, str]:
    """Type → import path. The shipped ones work without an installed distribution, too."""
    own = {point.name: point.value for point in entry_points(group=GROUP) if point.name not in SHIPPED}
    return {name: path for name, (path, _) in SHIPPED.items()} | dict(sorted(own.items()))


def types() -> tuple[str, ...]:
    """The registered types, those of the Laravel system first, in the order of its queues."""
    return tuple(_targets())


def queue_of(integration_type: str) -> str:
    """Name of the pool and Celery queue of a type, without importing a shipped integration.

    One that cannot be loaded has the usual name: it must take neither the DAG nor the monitor with it.
    """
    if integration_type in SHIPPED:
        return SHIPPED[integration_type][1]
    integration = get_if_sound(integration_type)
    return f"integration-{integration_type}" if integration is None else integration.queue_name()


def queue_if_known(integration_type: str) -> str:
    """As `queue_of`; empty for a type that is not installed (any more)."""
    return queue_of(integration_type) if integration_type in types() else ""


def get_if_sound(integration_type: str) -> Integration[Any, Any] | None:
    """As `get`; None where it cannot be loaded, for what must go on without it. `leadcast doctor` says why."""
    try:
        return get(integration_type)
    except SettingsError:
        return None


@cache
def get(integration_type: str) -> Integration[Any, Any]:
    """The integration of this type, imported now if it was not before.

    Raises:
        SettingsError: there is none, or it cannot be imported.
    """
    path = _targets().get(integration_type)
    if path is None:
        raise SettingsError(f"No integration {integration_type!r}; there are: {', '.join(types())}.")
    from importlib import import_module

    module, _, name = path.partition(":")
    try:
        integration: Integration[Any, Any] = getattr(import_module(module), name)()
    except Exception as error:  # somebody's own code: anything may happen in there
        why = one_line(f"{type(error).__name__}: {error}", limit=200)
        raise SettingsError(f"Integration {integration_type!r} at {path} cannot be loaded: {why}") from error
    if integration.type != integration_type:
        raise SettingsError(
            f"The entry point {integration_type!r} leads to {path} of type {integration.type!r}: name them alike."
        )
    return integration
