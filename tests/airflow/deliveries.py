"""Deliveries by the real operator, a process for each: `deliveries.py TYPE GATE DELIVERY:BATCH…`.

All are forked from one that has loaded what they need, as the LocalExecutor does it. Each says `ready` once it is,
waits until the file GATE is there, and delivers.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main(kind: str, gate: Path, pairs: list[str]) -> int:
    """How many of the processes have failed."""
    from leadcast.engine.dags.deliver_operator import DeliverOperator
    from leadcast.engine.processes import preload
    from leadcast.engine.settings import config

    preload.modules()

    def deliver(delivery_id: str, batch_id: str) -> None:
        operator = DeliverOperator(
            task_id=f"deliver_{kind}",
            integration=kind,
            work={"parts": [{"delivery_id": delivery_id, "batch_id": batch_id}], "label": delivery_id},
        )
        with config.store().begin():
            pass
        os.write(sys.stdout.fileno(), b"ready\n")
        until = time.monotonic() + 60
        while not gate.exists() and time.monotonic() < until:
            time.sleep(0.001)
        ti: Any = SimpleNamespace(try_number=1, max_tries=2)
        operator.execute({"ti": ti, "run_id": "race"})

    for pair in pairs:
        if not os.fork():
            deliver(*pair.split(":"))
            os._exit(0)
    return sum(os.wait()[1] != 0 for _ in pairs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
