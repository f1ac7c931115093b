"""Of the runs that ask a store which stands still for their lead, only so many wait, and none for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from leadcast.core.errors import LeadNotFound, StoreError
from leadcast.engine import config, lead_of_run
from leadcast.store.database import Store

TRIGGERS = 40
"""As many as the api-server has threads."""
LONG_S = 120


class Hanging:
    """A store whose questions are not answered until somebody lets them. Counts who asks at once."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.asking = 0

    def begin(self) -> Any:
        self.asking += 1
        self.goes_on.wait(LONG_S)
        raise LeadNotFound("nobody")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr(config, "lead_table", lambda: None)
    monkeypatch.setattr(lead_of_run, "ASKED_WITHIN_S", 0.05)
    monkeypatch.setattr(lead_of_run, "IN_LINE_S", 0.05)
    hanging = Hanging()
    yield hanging
    hanging.goes_on.set()


def test_only_so_many_runs_ask_a_store_that_stands_still(hanging: Hanging) -> None:
    store = cast(Store, hanging)

    def ask(_: int) -> str:
        with pytest.raises(StoreError) as told:
            lead_of_run.find("1", store)
        return str(told.value)

    with ThreadPoolExecutor(TRIGGERS) as pool:
        said = list(pool.map(ask, range(TRIGGERS)))
    assert set(said) <= {"The store has not answered within 0.05 s.", "The store does not answer just now."}
    assert hanging.asking == lead_of_run.ASKED_AT_ONCE


def test_once_it_goes_on_runs_are_looked_up_again(hanging: Hanging) -> None:
    store = cast(Store, hanging)
    for _ in range(lead_of_run.ASKED_AT_ONCE + 1):
        with pytest.raises(StoreError):
            lead_of_run.find("1", store)
    hanging.goes_on.set()
    deadline = time.monotonic() + LONG_S
    while True:
        try:
            lead_of_run.find("1", store)
        except LeadNotFound:
            break
        except StoreError:
            assert time.monotonic() < deadline
