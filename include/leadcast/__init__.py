"""Leadcast sends one lead to several integrations at once. For Python callers: `send_batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leadcast.flow.inbox import Accepted

__all__ = ["send_batch"]


def send_batch(
    lead_id: str | int,
    integrations: Sequence[Mapping[str, Any]],
    credentials: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    lead: Mapping[str, Any] | None = None,
    callback_url: str | None = None,
    priority: str = "normal",
    idempotency_key: str | None = None,
    sent_by: str | None = None,
) -> Accepted:
    """Sends one lead to several integrations: `POST /api/integrations/send-batch` as a function.

    Works where Airflow's configuration names the store: in a task, in a script on a machine with Airflow.

        from leadcast import send_batch

        accepted = send_batch(
            123,
            [{"type": "amocrm", "settings": {"priority": "high"}}, {"type": "email"}],
            {"email": {"emails": ["admin@example.com"]}},
        )
        print(accepted.batch_id, accepted.total_jobs)

    Args:
        lead_id: the lead's id, stored before or brought with `lead`.
        integrations: for each, `{"type": …, "settings": {…}}`.
        credentials: by type; sealed before they are stored. A type left out uses its Airflow connection.
        lead: the lead's data (name, phone, email, …), stored under `lead_id`.
        callback_url: is told when the batch is over.
        priority: high, normal or low.
        idempotency_key: the same key and request return the first answer.
        sent_by: name of the user of Airflow's whose batch it is: he may see its lead, retry, cancel and erase it. None:
            only those who may see everybody's.

    Raises:
        InvalidRequest, LeadNotFound, IdempotencyConflict: nothing was stored; the error says what is wrong.
        SettingsError, StoreError, LeadTableError: the store or your lead table is not set up or not there; nothing was
            stored.
    """
    from leadcast.engine.runs import bell
    from leadcast.engine.settings import config

    body: dict[str, Any] = {"lead_id": lead_id, "integrations": [dict(item) for item in integrations]}
    body["priority"] = priority
    if credentials:
        body["credentials"] = {kind: dict(given) for kind, given in credentials.items()}
    if lead is not None:
        body["lead"] = dict(lead)
    if callback_url is not None:
        body["callback_url"] = callback_url
    accepted = config.inbox().accept(body, idempotency_key=idempotency_key, caller="python", sent_by=sent_by)
    if accepted.must_ring and accepted.run_id:
        bell.ring_from_here(accepted.run_id)
    return accepted
