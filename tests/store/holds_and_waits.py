"""A process that holds a delivery's lock and the inbox row, says so, and waits to be killed.

python -m tests.store.holds_and_waits '{"store": URL, "key": FERNET, "lock": NAME}'
"""

from __future__ import annotations

import json
import sys
import threading

from sqlalchemy import select

from leadcast.store.database import Store, open_engine
from leadcast.store.schema import inbox
from leadcast.store.sealing import Sealer

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    store = Store(open_engine(given["store"]), Sealer(given["key"]))
    with store.lock(given["lock"]) as held, store.begin() as connection:
        connection.execute(select(inbox).with_for_update())
        sys.stdout.write(f"held: {held}\n")
        sys.stdout.flush()
        threading.Event().wait()
