"""Imports one file on top of Airflow in a fresh interpreter; prints how long it took and what came with it, as JSON.

python -m bench.import_probe dags/send_lead.py
"""

from __future__ import annotations

import json
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location

# What a DAG file or plugin may not bring into each task process: 0.2 to 1.6 s of processor time each.
HEAVY = ("aiohttp", "alembic", "fastapi", "jinja2", "requests", "sqlalchemy", "telegram", "uvicorn")


def main(path: str) -> None:
    """Measures this file."""
    # What Airflow has loaded before it comes to a DAG file or, in a task process, to the plugins.
    import airflow.sdk
    import airflow.sdk.execution_time.task_runner
    import airflow.sdk.plugins_manager  # noqa: F401  # loaded, so that it does not count

    before = set(sys.modules)
    began = time.perf_counter()
    spec = spec_from_file_location("bench_probed", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file.")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for plugin in vars(module).values():
        # as Airflow does in each process
        if isinstance(plugin, type) and plugin.__module__ == "bench_probed" and hasattr(plugin, "on_load"):
            plugin.on_load()
    took_s = time.perf_counter() - began
    new = set(sys.modules) - before
    print(json.dumps({"took_s": took_s, "modules": len(new), "heavy": sorted(set(HEAVY) & new)}))


if __name__ == "__main__":
    main(sys.argv[1])
