"""Lanes, side by side: the tests that share the one stack, those that share an api-server, all others file by file.

A pytest plugin (tests/conftest.py names it) that tells pytest-xdist what has to stay together, and what begins first.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

STACK = "stack"
BUSY = "tests/chaos/test_busy_machine.py"
"""Keeps all cores busy on purpose: last, when there is the least beside it that it could slow down."""
API_SERVER = "api-server"
STARTS_AN_API_SERVER = frozenset(
    {
        "tests/api/test_api_server.py",
        "tests/api/test_api_server_without_log.py",
        "tests/hostile/test_beside_strangers.py",
        "tests/hostile/test_doors_needles.py",
        "tests/hostile/test_logged_connections.py",
        "tests/hostile/test_openapi_fuzz.py",
        "tests/hostile/test_slow_store_in_airflow.py",
    }
)
"""Airflow's tables take long to make, and the server long to start."""
LONGEST_FIRST = (STACK, "tests/chaos/test_chaos.py", "airflow", API_SERVER)
"""Those that would be waited for in the end; all others in the order in which they are found."""


def lane_of(nodeid: str) -> str:
    """Which tests stay together, in this order, in one process."""
    file = nodeid.partition("::")[0]
    folder = PurePosixPath(file).parent.name
    if folder in ("browser", "main_job", "stack"):
        return STACK
    if file in STARTS_AN_API_SERVER:
        return API_SERVER
    # those of airflow share what is dear to set up
    return folder if folder == "airflow" else file


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
