"""What is shown of a batch to those who may not see its lead: how it goes, in words of ours.

What a service has said may repeat the person, in whatever form; what was mended in a lead is called as its sender does;
where a lead goes, its sender alone may know: the address may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from leadcast.integrations import registry
from leadcast.integrations.text.own_words import HIDDEN, is_code, ours_of
from leadcast.store.batches.views import AttemptView, BatchView, DeliveryView

Sees = Callable[[str | None], bool]
"""Whether whoever asks may see the leads that this user has sent. None: nobody knows whose they are."""
_OURS = "leadcast.integrations."


def nobodys(sender: str | None) -> bool:
    """Sees no lead at all."""
    return False


def as_seen(batch: BatchView, sees: Sees) -> BatchView:
    """The batch as it is shown to whoever asks."""
    if sees(batch.sent_by):
        return batch
    return replace(batch, is_masked=True, notes=(), deliveries=[_delivery(item) for item in batch.deliveries])


def words(kind: str, message: str | None) -> str | None:
    """What of an error's message is ours: the words of our sentences stand fast, and what is put into them is hidden,
    be it an address or what a service has said. Of an integration that is not ours, none is.

    Args:
        kind: the integration's type.
    """
    if not message:
        return message
    return ours_of(message) if _is_ours(kind) else HIDDEN


def _delivery(delivery: DeliveryView) -> DeliveryView:
    error, receipt = delivery.error, delivery.receipt
    return replace(
        delivery,
        error=None if error is None else _error(delivery.type, error),
        receipt=None if receipt is None else {**receipt, "detail": None},
        history=[_attempt(delivery.type, attempt) for attempt in delivery.history],
    )


def _error(kind: str, error: Mapping[str, Any]) -> dict[str, Any]:
    code, message = error.get("code"), error.get("message")
    return {**error, "code": _code(code), "message": words(kind, message), "detail": None}


def _attempt(kind: str, attempt: AttemptView) -> AttemptView:
    message = words(kind, attempt.message)
    return replace(attempt, code=_code(attempt.code), message=message)


def _code(code: str | None) -> str | None:
    return code if not code or is_code(code) else HIDDEN


def _is_ours(kind: str) -> bool:
    integration = registry.get_if_sound(kind)
    return integration is not None and type(integration).__module__.startswith(_OURS)
