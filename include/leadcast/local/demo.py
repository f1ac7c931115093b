"""The demo of `leadcast up --demo`: lead 123 through the REST door to all five integrations."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from leadcast.client.api import Api
from leadcast.client.batches import post_batch, read_batch
from leadcast.client.errors import StackError
from leadcast.core.model import BatchStatus
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from leadcast.local.progress import Progress
from leadcast.local.wait import Watch

LEAD_ID = "123"
_USER = "user"
LEAD = {
    "name": "Анна Пример",
    "phone": "+79990000001",
    "email": "anna@example.com",
    "company": "ООО Пример",
    "comment": "Перезвоните, пожалуйста, после обеда.",
    "source": "landing",
    "utm": {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "spring"},
}


def send_demo_lead(home: Home, ports: Ports, *, watch: Watch, progress: Progress) -> dict[str, Any]:
    """Stores lead 123, sends examples/lead-123.json and returns the batch once it has ended. What a slow machine does
    not answer in time is asked again, under one key, so the lead goes out once.

    Raises:
        StackError: the example is missing, or the batch does not get on.
        ApiError: a call was refused.
    """
    example = home.project / "examples" / "lead-123.json"
    try:
        body = example.read_bytes()
    except OSError as error:
        raise StackError(f"{example} cannot be read: {error.strerror}.") from error
    key = f"demo-{uuid4()}"
    with progress.step("Lead 123 to all five integrations") as step:
        password = Keys.read(home).users[_USER].get_secret_value()
        api = watch.answer(
            lambda: Api.log_in(ports.api_url, user=_USER, password=password), what="a user is let in", step=step
        )
        path = f"/api/integrations/leads/{LEAD_ID}"
        watch.answer(lambda: api.call("PUT", path, json=LEAD), what="lead 123 is stored", step=step)
        sent = watch.answer(lambda: post_batch(api, body, idempotency_key=key), what="lead 123 is accepted", step=step)
        return watch.change(
            lambda: read_batch(api, sent["batch_id"]),
            lambda batch: BatchStatus(batch["status"]).is_final,
            what=f"batch {sent['batch_id']} has ended (look again: leadcast batch)",
            step=step,
        )
