"""The face for those who write an integration or a hook: all that they import (docs/adding-an-integration.md).

Names load on first use: an integration's module is imported wherever the DAG is parsed, and need not pay for a hook's.
Where they are at home may change; here they stay.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leadcast.core.digest import digest
    from leadcast.core.errors import (
        Blocked,
        CredentialsError,
        DeliveryError,
        Gone,
        NotLetIn,
        Postponed,
        RateLimited,
        RejectedError,
        TransientError,
        UnknownOutcome,
        Unsendable,
    )
    from leadcast.core.limits import Limit
    from leadcast.core.model import BatchStatus, DeliveryState, Lead, Receipt
    from leadcast.core.setting_choices import Language, OnUnknown
    from leadcast.core.settings import Settings
    from leadcast.core.tokens import TokenPair
    from leadcast.integrations.base import Account, Call, Integration, Memory, RequestModel
    from leadcast.integrations.connection import ConnectionFields, InConnection
    from leadcast.integrations.http.answer import Answer
    from leadcast.integrations.http.deadline import Deadline
    from leadcast.integrations.http.egress import Egress
    from leadcast.integrations.http.oauth import AccessToken, account_name
    from leadcast.integrations.text.caller_lines import Line
    from leadcast.integrations.text.mapping import Fields, filled
    from leadcast.integrations.text.templating import TemplateName, Templates
    from leadcast.store.batches.views import BatchView, DeliveryView

__all__ = [
    "AccessToken",
    "Account",
    "Answer",
    "BatchStatus",
    "BatchView",
    "Blocked",
    "Call",
    "ConnectionFields",
    "CredentialsError",
    "Deadline",
    "DeliveryError",
    "DeliveryState",
    "DeliveryView",
    "Egress",
    "Fields",
    "Gone",
    "InConnection",
    "Integration",
    "Language",
    "Lead",
    "Limit",
    "Line",
    "Memory",
    "NotLetIn",
    "OnUnknown",
    "Postponed",
    "RateLimited",
    "Receipt",
    "RejectedError",
    "RequestModel",
    "Settings",
    "TemplateName",
    "Templates",
    "TokenPair",
    "TransientError",
    "UnknownOutcome",
    "Unsendable",
    "account_name",
    "digest",
    "filled",
]

_HELD = {
    "core.digest": "digest",
    "core.errors": "Blocked CredentialsError DeliveryError Gone NotLetIn Postponed RateLimited RejectedError "
    "TransientError UnknownOutcome Unsendable",
    "core.limits": "Limit",
    "core.model": "BatchStatus DeliveryState Lead Receipt",
    "core.setting_choices": "Language OnUnknown",
    "core.settings": "Settings",
    "core.tokens": "TokenPair",
    "integrations.base": "Account Call Integration Memory RequestModel",
    "integrations.connection": "ConnectionFields InConnection",
    "integrations.http.answer": "Answer",
    "integrations.http.deadline": "Deadline",
    "integrations.http.egress": "Egress",
    "integrations.http.oauth": "AccessToken account_name",
    "integrations.text.caller_lines": "Line",
    "integrations.text.mapping": "Fields filled",
    "integrations.text.templating": "TemplateName Templates",
    "store.batches.views": "BatchView DeliveryView",
}
_HOME = {name: f"leadcast.{module}" for module, names in _HELD.items() for name in names.split()}


if not TYPE_CHECKING:  # or any name would be one to a type checker

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
