"""A process that has begun a delivery and holds the inbox row, says so, and waits to be killed.

python -m tests.store.holds_and_waits '{"store": URL, "key": FERNET, "delivery": ID, "lease_s": SECONDS}'
"""

from __future__ import annotations

import json
import sys
import threading

from sqlalchemy import select

from leadcast.core.clock import utc_now
from leadcast.store.batches import ledger
from leadcast.store.database import Store, open_engine
from leadcast.store.lease import Lease
from leadcast.store.schema import inbox
from leadcast.store.sealing import Sealer

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    store = Store(open_engine(given["store"]), Sealer(given["key"]))
    lease = Lease(store, name="holder", lease_s=given["lease_s"])
    with store.begin() as connection:
        begun = ledger.begin(connection, given["delivery"], lease=lease, now=utc_now())
    with lease.kept(), store.begin() as connection:
        connection.execute(select(inbox).with_for_update())
        sys.stdout.write(f"held: {begun is not None}\n")
        sys.stdout.flush()
        threading.Event().wait()
