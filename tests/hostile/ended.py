"""A batch that has ended: a service has refused the lead in words that repeat it, another could not be reached."""

from __future__ import annotations

from leadcast.core.clock import utc_now
from leadcast.core.errors import RejectedError, TransientError
from leadcast.core.model import AttemptOutcome, DeliveryState, Receipt
from leadcast.core.settings import Settings
from leadcast.flow.settle import Settler
from leadcast.store.batches import ledger
from leadcast.store.database import Store
from tests.support.leases import living
from tests.support.planned import begin_batch

_ERROR = RejectedError("Telegram refuses the message: needle said Bad Request.", code="400", detail="needle detail")
_AWAY = TransientError(
    "Cannot reach https://needle.example:8443: connection refused; nothing was sent.", code="unreachable"
)
_RECEIPT = Receipt(external_id="<42@example.com>", detail={"accepted": ["needle of a receipt"]})
ENDS = (
    ledger.Ended(state=DeliveryState.FAILED, outcome=AttemptOutcome.REJECTED, error=_ERROR),
    ledger.Ended(state=DeliveryState.DELIVERED, outcome=AttemptOutcome.DELIVERED, receipt=_RECEIPT),
    ledger.Ended(state=DeliveryState.FAILED, outcome=AttemptOutcome.TRANSIENT, error=_AWAY),
)
"""One attempt of each of its deliveries."""


def end_partially(store: Store, batch_id: str) -> None:
    """Ends a batch of three deliveries: the second is delivered, the others have failed."""
    now = utc_now()
    with store.begin() as connection:
        begin_batch(connection, batch_id, run_id="wave__1")
        for index, ended in enumerate(ENDS):
            begun = ledger.begin(connection, f"{batch_id}-{index}", lease=living(store, "worker-1:42"), now=now)
            assert begun is not None
            ledger.end(connection, begun, ended, now=now)
    Settler(store=store, settings=Settings()).so_far([batch_id])
