"""Who sends: one process, with its lease and its transactions. Its threads begin and end their attempts together."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial

from leadcast.core.errors import StoreError
from leadcast.flow.deliver.admit import Admission
from leadcast.flow.deliver.begin import Beginning
from leadcast.flow.deliver.chunk import Lane, Part
from leadcast.flow.deliver.outcome import Endings
from leadcast.store.batches import lanes
from leadcast.store.lease import Lease

OVERDUE_AFTER = timedelta(minutes=1)
"""What a process has died with, and that has been due for so long, is looked for first."""
NOT_BEGUN_PAUSE = timedelta(seconds=10)
"""What could not be begun since the store was in trouble is due again after this."""


class Worker:
    """One process that sends.

    Args:
        admission: where its attempts are admitted.
        lease: under which it sends: of one attempt, or while `Lease.of_process` lasts, of all.
        gathers_s: how long one of its threads waits for others before it writes for all of them.
    """

    def __init__(self, admission: Admission, lease: Lease, *, gathers_s: float) -> None:
        self.admission, self.lease, self.gathers_s = admission, lease, gathers_s
        self.beginning = Beginning(admission, lease=lease, gathers_s=gathers_s)
        self.endings = Endings(admission, lease=lease, gathers_s=gathers_s)

    def lane(self, kind: str) -> Lane:
        """Where this process takes from, for one integration, while it holds all that it begins."""
        doubtful = partial(self._take, kind, 1, are_doubtful=True)
        return Lane(
            take=partial(self._take, kind),
            take_doubtful=doubtful,
            take_overdue=partial(doubtful, due_for=OVERDUE_AFTER),
            drop=self._drop,
        )

    def _drop(self, part: Part) -> None:
        admission, worker_id = self.admission, self.lease.worker_id
        if worker_id is None:
            return
        with suppress(StoreError), admission.store.begin() as connection:
            until = admission.clock() + NOT_BEGUN_PAUSE
            lanes.drop(connection, part.delivery_id, worker_id=worker_id, until=until)

    def _take(
        self, kind: str, limit: int, *, are_doubtful: bool = False, due_for: timedelta = timedelta(0)
    ) -> list[Part]:
        admission = self.admission
        with admission.store.begin() as connection:
            taken = lanes.take(
                connection,
                kind,
                worker_id=self.lease.take(connection),
                now=admission.clock(),
                limit=limit,
                are_doubtful=are_doubtful,
                due_for=due_for,
            )
        return [Part(delivery_id, batch_id) for delivery_id, batch_id in taken]
