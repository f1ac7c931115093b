"""The example of docs/adding-an-integration.md: the page shows it as it is, and it delivers to the sandbox."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, RateLimited, UnknownOutcome
from leadcast.core.model import Lead, Receipt
from leadcast.core.settings import Settings
from leadcast.core.tokens import TokenVault
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.http.egress import Egress
from leadcast.integrations.text.templating import Templates
from leadcast.sandbox import Sandbox, SandboxPorts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-an-integration.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "lead-to-slack"
MODULE = EXAMPLE / "src" / "lead_to_slack" / "__init__.py"
LONGEST_EXAMPLE = 60
SECRET = "a-secret-of-slack"


@pytest.fixture
def integration() -> Integration[Any, Any]:
    """The page's own, as it stands there."""
    source = shown("python")
    assert source.count("\n") < LONGEST_EXAMPLE
    names: dict[str, Any] = {"__name__": "leadcast_docs_slack"}
    exec(compile(source, "adding-an-integration.md", "exec", dont_inherit=True), names)
    made: Integration[Any, Any] = names["Slack"]()
    return made


def shown(language: str) -> str:
    """The page's only block in this language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(block)


def test_the_page_shows_the_example_as_it_is() -> None:
    assert shown("python") == MODULE.read_text(encoding="utf-8")
    assert shown("toml") == (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as running:
        yield running


def delivered(integration: Integration[Any, Any], sandbox: Sandbox) -> Receipt:
    settings = Settings.of({"allowed_networks": "127.0.0.0/8"})
    call = Call(
        key="0198f2c4-0",
        batch_id="0198f2c4",
        accepted_at=datetime(2026, 1, 1, tzinfo=UTC),
        attempt=1,
        egress=Egress(allowed_networks=settings.allowed_networks),
        templates=Templates(),
        tokens=cast(TokenVault, None),
        settings=settings,
        timeout_s=20,
    )
    lead = Lead(id="1", name="Анна", phone="+7999")
    account = account_at(integration, sandbox.webhook_url)
    return integration.deliver(lead, settings=integration.settings_model(), account=account, call=call)


def account_at(integration: Integration[Any, Any], base_url: str) -> Account[Any]:
    url = SecretStr(f"{base_url}/services/T024/B048/{SECRET}")
    account: Account[Any] = integration.from_connection(ConnectionFields(conn_id="slack", password=url), {})
    return account


def test_the_example_of_an_integration_delivers(integration: Integration[Any, Any], sandbox: Sandbox) -> None:
    assert isinstance(integration, Integration)
    assert delivered(integration, sandbox).detail == {"status": 200}
    assert json.loads(sandbox.received("webhook")[-1]["body"]) == {"text": "New lead: Анна +7999"}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "rate_limit", "retry_after": 7}, RateLimited),
        ({"kind": "status", "status": 404}, CredentialsError),
        ({"kind": "status", "status": 503}, UnknownOutcome),
        ({"kind": "hang_up_after"}, UnknownOutcome),
    ],
)
def test_the_example_of_an_integration_says_what_went_wrong(
    integration: Integration[Any, Any], sandbox: Sandbox, fault: dict[str, Any], error: type[Exception]
) -> None:
    sandbox.fault(service="webhook", **fault)
    with pytest.raises(error):
        delivered(integration, sandbox)


def test_the_example_names_its_account_and_its_limit_without_the_secret(integration: Integration[Any, Any]) -> None:
    account = account_at(integration, "https://hooks.slack.com")
    (limit,) = integration.limits(settings=integration.settings_model(), account=account)
    assert integration.label(account) == limit.name == "slack/T024/B048"
    assert (limit.calls, limit.period_s) == (1, 1)


def test_the_example_has_the_pool_and_the_connection_that_the_page_names(integration: Integration[Any, Any]) -> None:
    assert f"`{integration.queue_name()}`" in PAGE
    assert f"`{integration.conn_id()}`" in PAGE
