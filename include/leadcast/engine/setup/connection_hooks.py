"""Tries an account out without sending anything: `leadcast test-connection`, and the Test button of Airflow's form.

Airflow finds the button's code by the connection's type: the hooks of ours are here. Deliveries do not use them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from airflow.sdk.bases.hook import BaseHook

from leadcast.core.bounded import NotInTime, Turns
from leadcast.core.clock import utc_now
from leadcast.core.errors import DeliveryError, LeadcastError
from leadcast.core.tokens import TokenPair
from leadcast.engine.settings import config, connections
from leadcast.integrations import registry
from leadcast.integrations.base import Call
from leadcast.integrations.text.fit_to_show import fit_to_show

TEST_TIMEOUT_S = 20.0
"""For the whole test: somebody waits in front of a form, and a thread of the api-server with them."""
TESTS_AT_ONCE = 4
"""So many of a process's threads try accounts out for Airflow's Test button."""
_MORE_S = 5.0
"""How much longer than the call a test may take: the store, which is asked for an account's tokens, may stand still."""
_turns = Turns("test-connection", at_once=TESTS_AT_ONCE, within_s=TEST_TIMEOUT_S + _MORE_S)
BESIDE_THE_CONNECTION: Mapping[str, Mapping[str, Any]] = {"email": {"emails": ["nobody@example.com"]}}
"""What a request would bring and the account cannot be without. Nobody is written to."""


@dataclass(frozen=True)
class Tried:
    """How a test of an account ended. `works` None: it cannot be tried without sending something.

    words: for a person, without a secret.
    """

    works: bool | None
    words: str


def try_out(integration_type: str, conn_id: str) -> Tried:
    """Asks the service, by a call that changes nothing, whether it takes this connection's account."""
    secrets: list[str] = []
    try:
        integration, settings = registry.get(integration_type), config.settings()
        beside = BESIDE_THE_CONNECTION.get(integration_type, {})
        account = connections.of_connection(integration, conn_id, beside, settings=settings)
        secrets += account.secrets()
        if not integration.can_probe:
            return Tried(None, "It is complete; whether the service takes it cannot be tried without sending.")
        return Tried(True, fit_to_show(integration.probe(account, call=_call(integration_type)), secrets=secrets))
    except DeliveryError as error:
        return Tried(
            False, " ".join(fit_to_show(part, secrets=secrets) for part in (error.message, error.detail) if part)
        )
    except LeadcastError as error:
        return Tried(False, str(error))
    except Exception as error:  # its text is not shown: a secret may be in it
        at = traceback.extract_tb(error.__traceback__)[-1]
        return Tried(False, f"The test itself failed: {type(error).__name__} at {Path(at.filename).name}:{at.lineno}.")


def may_be_named(integration_type: str, conn_id: str) -> bool:
    """Whether requests may name this connection for this integration."""
    default = registry.get(integration_type).conn_id()
    return config.settings().conn_ids().may_be_named(conn_id, default=default)


def probe_account(integration_type: str, conn_id: str) -> tuple[bool, str]:
    """What `try_out` says, as Airflow's Test button wants it. Only so many are tried at once."""
    try:
        tried = _turns.ask(lambda: try_out(integration_type, conn_id))
    except NotInTime:
        return False, (
            f"This was not tried to its end: {TESTS_AT_ONCE} other tests run already, or it took longer than "
            f"{TEST_TIMEOUT_S + _MORE_S:g} s. Try again in half a minute."
        )
    return bool(tried.works), tried.words


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
        from leadcast.store.accounts.tokens import StoredTokens

        return StoredTokens(config.store()).current(account)

    def renew(self, account: str, *, stale: str, exchange: Callable[[TokenPair | None], TokenPair]) -> TokenPair:
        raise TypeError("a test renews no token")


def _call(integration_type: str) -> Call:
    from leadcast.integrations.http.egress import Egress
    from leadcast.integrations.text.templating import Templates

    settings = config.settings()
    return Call(
        key="test-connection",
        batch_id="test-connection",
        accepted_at=utc_now(),
        attempt=1,
        egress=Egress.under(settings, integration_type),
        templates=Templates(folder=settings.templates_folder, language=settings.language),
        tokens=_TokensToRead(),
        settings=settings,
        timeout_s=TEST_TIMEOUT_S,
    )
