"""What one attempt of an integration may use, without a store behind it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from leadcast.core.setting_choices import Language
from leadcast.core.settings import Settings
from leadcast.integrations.base import Call
from leadcast.integrations.http.egress import Egress
from leadcast.integrations.text.templating import Templates
from tests.contract.conftest import MemoryVault

KEY = "0198f2c4-7a3e-7c11-9d0a-5f6b1e2d3c4b-2"
ACCEPTED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def one_attempt(**given: Any) -> Call:
    """The `Call` of an attempt; what is given wins: `one_attempt(attempt=2, kept={…})`."""
    settings = Settings(allowed_networks=("127.0.0.0/8",), language=Language.RU)
    values: dict[str, Any] = {
        "key": KEY,
        "batch_id": KEY.rpartition("-")[0],
        "accepted_at": ACCEPTED_AT,
        "attempt": 1,
        "egress": Egress(allowed_networks=settings.allowed_networks),
        "templates": Templates(language=settings.language),
        "tokens": MemoryVault(),
        "settings": settings,
        "timeout_s": 60,
    }
    return Call(**{**values, **given})
