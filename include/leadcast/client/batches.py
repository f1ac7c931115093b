"""Batches over the API: send one, read one, wait for one, retry or cancel one."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from leadcast.client.api import Api, ApiError, patient
from leadcast.client.errors import StackError
from leadcast.core.model import BatchStatus

_POLL_S = 0.5
_TIMEOUT_S = 600


def send_batch(api: Api, data: bytes, *, idempotency_key: str = "") -> dict[str, Any]:
    """`POST /send-batch`, byte for byte. Returns the answer. Where none comes it is sent again under the same key, and
    so accepted once.

    Args:
        idempotency_key: empty: one that nobody else has.

    Raises:
        StackError: no answer came.
        ApiError: it was refused.
    """
    from rich.console import Console

    key = idempotency_key or f"cli-{uuid4()}"
    try:
        with Console(stderr=True).status(f"Sending to {api.url} …"):
            answer = patient()(post_batch, api, data, idempotency_key=key)
    except ApiError as error:
        if not error.is_unanswered:
            raise
        raise StackError(
            f"{error} It may have been accepted.", mend=f"With --idempotency-key {key} it is accepted once at most."
        ) from error
    return answer


def post_batch(api: Api, data: bytes, *, idempotency_key: str) -> dict[str, Any]:
    """`POST /send-batch` once. Under the same key it may be called again.

    Raises:
        ApiError: no answer, or it was refused.
    """
    headers = {"Idempotency-Key": idempotency_key}
    body: dict[str, Any] = api.call("POST", "/api/integrations/send-batch", data=data, headers=headers)
    return body


def read_batch(api: Api, batch_id: str) -> dict[str, Any]:
    """`GET /batches/{id}`.

    Raises:
        ApiError: no such batch, or not for this user.
    """
    return _call(api, "GET", batch_id)


def retry_batch(api: Api, batch_id: str) -> dict[str, Any]:
    """`POST /batches/{id}/retry`: the batch, put back.

    Raises:
        ApiError: no such batch, nothing to retry, it is on its way, or not for this user.
    """
    return _call(api, "POST", batch_id, "/retry")


def cancel_batch(api: Api, batch_id: str) -> dict[str, Any]:
    """`POST /batches/{id}/cancel`: the batch, as it stands then.

    Raises:
        ApiError: no such batch, it has ended, or not for this user.
    """
    return _call(api, "POST", batch_id, "/cancel")


def _call(api: Api, method: str, batch_id: str, action: str = "") -> dict[str, Any]:
    body: dict[str, Any] = api.call(method, f"/api/integrations/batches/{quote(batch_id, safe='')}{action}")
    return body


def await_batch(api: Api, batch_id: str, *, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
    """The batch once it has ended, shown on a terminal while it has not.

    Raises:
        StackError: it has not ended in time.
        ApiError: no such batch, or not for this user.
    """
    from rich.console import Console

    deadline = time.monotonic() + timeout_s
    with Console(stderr=True).status(f"Batch {batch_id} …") as spinner:
        while not BatchStatus((body := patient()(read_batch, api, batch_id))["status"]).is_final:
            if time.monotonic() > deadline:
                raise StackError(
                    f"Batch {batch_id} is still {body['status']} after {timeout_s:.0f} s.",
                    mend=f"It goes on. Look again: leadcast batch {batch_id}",
                )
            spinner.update(f"Batch {batch_id}: {body['status']}, {body.get('progress', 0)} %")
            time.sleep(_POLL_S)
    return body
