"""Hooks of our connection types, for the Test button of Airflow's connection form. Deliveries do not use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from airflow.sdk.bases.hook import BaseHook

from leadcast.core.clock import utc_now
from leadcast.core.errors import DeliveryError, LeadcastError
from leadcast.engine import config, connections
from leadcast.integrations import registry
from leadcast.integrations.base import Call, TokenPair

TEST_TIMEOUT_S = 20.0
"""For the whole test: somebody waits in front of a form, and a thread of the api-server with them."""


def probe_account(integration_type: str, conn_id: str) -> tuple[bool, str]:
    """Asks the service, by a call that changes nothing, whether it takes this connection's account.

    Returns:
        Whether it does, and words for a person, without a secret.
    """
    try:
        integration = registry.get(integration_type)
        account = connections.account(integration, {"conn_id": conn_id}, settings=config.settings())
        return True, integration.probe(account, call=_call())
    except DeliveryError as error:
        return False, f"{error.message} {error.detail}".strip()
    except LeadcastError as error:
        return False, str(error)
    except Exception as error:  # Airflow would show its text, and a secret may be in it
        return False, f"The test itself failed ({type(error).__name__}); see the log of the api-server."


class ServiceHook(BaseHook):
    """A connection that can be tested."""

    conn_name_attr: ClassVar[str] = "conn_id"
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]

    def __init__(self, conn_id: str, logger_name: str | None = None) -> None:
        super().__init__(logger_name=logger_name)
        self.conn_id = conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Called by Airflow with the form's values under a passing conn_id. Returns whether it works, and words."""
        return probe_account(self.conn_type, self.conn_id)


class AmoCrmHook(ServiceHook):
    """Connections of the type amocrm."""

    conn_type = "amocrm"
    hook_name = "amoCRM"


class Bitrix24Hook(ServiceHook):
    """Connections of the type bitrix24."""

    conn_type = "bitrix24"
    hook_name = "Bitrix24"


class _TokensToRead:
    """The stored tokens, which a test reads and never renews; the store is opened only if the account has any."""

    def current(self, account: str) -> TokenPair | None:
        from leadcast.store.tokens import StoredTokens

        return StoredTokens(config.store()).current(account)

    def renew(self, account: str, *, stale: str, exchange: Callable[[TokenPair | None], TokenPair]) -> TokenPair:
        raise TypeError("a test renews no token")


def _call() -> Call:
    from leadcast.integrations.egress import Egress
    from leadcast.integrations.templating import Templates

    settings = config.settings()
    return Call(
        key="test-connection",
        batch_id="test-connection",
        accepted_at=utc_now(),
        attempt=1,
        egress=Egress(allowed_networks=settings.allowed_networks),
        templates=Templates(folder=settings.templates_folder, language=settings.language),
        tokens=_TokensToRead(),
        settings=settings,
        timeout_s=TEST_TIMEOUT_S,
        last_try=True,
    )
