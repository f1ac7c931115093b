"""Lanes, side by side: the tests that share the one stack, those that share an api-server, all others file by file.

A pytest plugin (tests/conftest.py names it) that tells pytest-xdist what has to stay together, and what begins first.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

STACK, API_SERVER, WAVES, TROUBLE = "stack", "api-server", "waves", "waves in trouble"
OF_FOLDER = {"browser": STACK, "main_job": STACK, "stack": STACK, "airflow": WAVES}
OF_FILE = {
    "tests/api/test_api_server.py": API_SERVER,
    "tests/api/test_api_server_without_log.py": API_SERVER,
    "tests/hostile/test_beside_strangers.py": API_SERVER,
    "tests/hostile/test_doors_needles.py": API_SERVER,
    "tests/hostile/test_logged_connections.py": API_SERVER,
    "tests/hostile/test_openapi_fuzz.py": API_SERVER,
    "tests/hostile/test_slow_store_in_airflow.py": API_SERVER,
    # what runs in processes of its own shares nothing with the rest of its folder
    "tests/airflow/test_local_executor.py": "",
    "tests/airflow/test_own_integration.py": "",
    "tests/airflow/test_start.py": "",
    # these mostly wait; each of the two lanes makes Airflow's tables once
    "tests/airflow/test_not_begun.py": TROUBLE,
    "tests/airflow/test_sweep_and_retry.py": TROUBLE,
    "tests/airflow/test_timeouts.py": TROUBLE,
    "tests/airflow/test_unplanned.py": TROUBLE,
}
"""What is dear to set up is shared: a stack, an api-server, Airflow's tables."""
BUSY = "tests/chaos/test_busy_machine.py"
"""Keeps all cores busy on purpose: last, when there is the least beside it that it could slow down."""
LONGEST_FIRST = (
    STACK,
    "tests/chaos/test_chaos.py",
    TROUBLE,
    WAVES,
    API_SERVER,
    "tests/airflow/test_own_integration.py",
    "tests/airflow/test_start.py",
    "tests/chaos/test_two_of_each.py",
    "tests/installs/test_install.py",
    "tests/chaos/test_overload.py",
)
"""Those that would be waited for in the end; all others in the order in which they are found."""


def lane_of(nodeid: str) -> str:
    """Which tests stay together, in this order, in one process."""
    file = nodeid.partition("::")[0]
    return OF_FILE.get(file, OF_FOLDER.get(PurePosixPath(file).parent.name)) or file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest lanes begin first, and what keeps all cores busy last."""
    items.sort(key=lambda item: place_of(lane_of(item.nodeid)))


def place_of(lane: str) -> int:
    """Where it stands in line."""
    if lane in LONGEST_FIRST:
        return LONGEST_FIRST.index(lane)
    return len(LONGEST_FIRST) + (lane == BUSY)


# pytest-xdist 3.8 has groups of its own (--dist loadgroup), and they do nothing with pytest 9.2
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out whole lanes."""
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return lane_of(nodeid)

    return Lanes(config, log)
