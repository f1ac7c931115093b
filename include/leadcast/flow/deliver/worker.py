"""Who sends: one process, with its lease and its transactions. Its threads begin and end their attempts together."""

from __future__ import annotations

from leadcast.flow.deliver.admit import Admission
from leadcast.flow.deliver.begin import Beginning
from leadcast.flow.deliver.outcome import Endings
from leadcast.store.lease import Lease


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
