"""What the integrations' tests share: a sandbox, and all that one attempt may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import pytest

from leadcast.core.model import Lead
from leadcast.core.setting_choices import Language
from leadcast.core.settings import Settings
from leadcast.core.tokens import TokenPair, TokenVault
from leadcast.integrations.base import Call
from leadcast.integrations.http.egress import Egress
from leadcast.integrations.text.templating import Templates
from leadcast.sandbox import Sandbox, SandboxPorts

KEY = "0198f2c4-7a3e-7c11-9d0a-5f6b1e2d3c4b-2"


class MemoryVault:
    """A `TokenVault` in memory. `stored` may be looked at."""

    def __init__(self) -> None:
        self.stored: dict[str, TokenPair] = {}
        self._lock = Lock()

    def current(self, account: str) -> TokenPair | None:
        return self.stored.get(account)

    def renew(self, account: str, *, stale: str, exchange: Callable[[TokenPair | None], TokenPair]) -> TokenPair:
        with self._lock:
            pair = self.stored.get(account)
            if pair is None or pair.access.get_secret_value() == stale:
                pair = self.stored[account] = exchange(pair)
            return pair


@pytest.fixture(scope="session")
def _running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_running_sandbox: Sandbox) -> Sandbox:
    """The outside services, as just started."""
    _running_sandbox.reset()
    return _running_sandbox


@pytest.fixture
def vault() -> MemoryVault:
    return MemoryVault()


@pytest.fixture
def make_call(vault: MemoryVault) -> Callable[..., Call]:
    """Builds the `Call` of one attempt; what is given wins: `make_call(attempt=2, timeout_s=1)`."""
    settings = Settings(allowed_networks=("127.0.0.0/8",), language=Language.EN)

    def make(**given: Any) -> Call:
        own_settings: Settings = given.get("settings", settings)
        tokens: TokenVault = vault
        values: dict[str, Any] = {
            "key": KEY,
            "batch_id": KEY.rpartition("-")[0],
            "accepted_at": datetime(2026, 1, 1, tzinfo=UTC),
            "attempt": 1,
            # the sandbox is on loopback, whatever is tried
            "egress": Egress(allowed_networks=settings.allowed_networks),
            "templates": Templates(language=own_settings.language),
            "tokens": tokens,
            "settings": own_settings,
            "timeout_s": 20.0,
        }
        return Call(**{**values, **given})

    return make


@pytest.fixture
def lead() -> Lead:
    return Lead(
        id="7781",
        name="Анна Пример",
        phone="+79990000001",
        email="anna@example.com",
        company="ООО Ромашка",
        comment="Перезвоните <b>завтра</b> & не позже 12:00",
        source="landing-a",
        utm={"utm_source": "yandex", "medium": "cpc", "utm_extra": "x1"},
        custom={"Площадь": 42, "Срочно": True, "Пусто": None},
    )
