"""A task that a person marks as a success while it sends: settle waits until its process cannot be at work any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pytest

from leadcast.core.ending import Ending
from leadcast.core.settings import Settings
from leadcast.engine.dags import wave_operators
from leadcast.engine.dags.wave_operators import SettleOperator

MARKED = Ending(given_up=lambda: {"marked"})


class Held:
    """What is still being sent, each time that it is asked for."""

    settings = Settings(worker_lease_s=6)

    def __init__(self, answers: Iterator[set[str]]) -> None:
        self.answers = answers

    def held(self, delivery_ids: Collection[str]) -> set[str]:
        return next(self.answers) & set(delivery_ids)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


def waits(*answers: set[str], ending: Ending = MARKED) -> None:
    SettleOperator(task_id="settle")._wait_for_marked(Held(iter(answers)), ending)  # type: ignore[arg-type]


def test_it_waits_until_the_lease_of_what_was_marked_is_over(slept: list[float]) -> None:
    waits({"marked"}, {"marked", "other"}, {"other"})
    assert slept == [1, 1]


def test_for_nothing_else(slept: list[float]) -> None:
    waits({"other"})
    waits(ending=Ending())
    assert slept == []


def test_nor_for_ever(slept: list[float]) -> None:
    waits(*[{"marked"}] * 100)
    assert len(slept) == 6 + wave_operators._KILLED_AFTER_S
