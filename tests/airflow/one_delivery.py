"""One delivery by the real operator, in a process of its own: `one_delivery.py TYPE DELIVERY BATCH GATE`.

Says `ready` once everything is loaded, and begins as soon as the file GATE is there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main(kind: str, delivery_id: str, batch_id: str, gate: Path) -> None:
    from leadcast.engine.dags.wave_operators import DeliverOperator
    from leadcast.engine.settings import config
    from leadcast.integrations import registry

    operator = DeliverOperator(
        task_id=f"deliver_{kind}",
        integration=kind,
        work={"delivery_id": delivery_id, "batch_id": batch_id, "label": delivery_id},
    )
    registry.get(kind)
    with config.store().begin():
        pass
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    until = time.monotonic() + 60
    while not gate.exists() and time.monotonic() < until:
        time.sleep(0.001)
    ti: Any = SimpleNamespace(try_number=1, max_tries=2)
    operator.execute({"ti": ti, "run_id": "race"})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
