"""The demo of `leadcast up --demo`: lead 123 through the REST door to all five integrations."""

from __future__ import annotations

from typing import Any

from leadcast.local.batches import await_batch, send_batch
from leadcast.local.client import Api
from leadcast.local.errors import StackError
from leadcast.local.home import Home

_TIMEOUT_S = 120
LEAD_ID = "123"
LEAD = {
    "name": "Анна Пример",
    "phone": "+79990000001",
    "email": "anna@example.com",
    "company": "ООО Пример",
    "comment": "Перезвоните, пожалуйста, после обеда.",
    "source": "landing",
    "utm": {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "spring"},
}


def send_demo_lead(home: Home, api: Api) -> dict[str, Any]:
    """Stores lead 123, sends examples/lead-123.json and returns the batch once it has ended.

    Raises:
        StackError: the example is missing, or the batch has not ended in time.
        ApiError: a call was refused.
    """
    example = home.project / "examples" / "lead-123.json"
    try:
        body = example.read_bytes()
    except OSError as error:
        raise StackError(f"{example} cannot be read: {error.strerror}.") from error
    api.call("PUT", f"/api/integrations/leads/{LEAD_ID}", json=LEAD)
    accepted = send_batch(api, body)
    return await_batch(api, accepted["batch_id"], timeout_s=_TIMEOUT_S)
