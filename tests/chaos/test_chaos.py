"""A part of `make chaos`, small enough for CI: some deaths of each kind, and the promise is kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.matrix import POINTS, After, Who, chosen, everything

from tests.support.stack import ROOT, free_port, stack_env

MINUTES = 4
SEED = 5


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Any]]:
    """The result of one run, as it was written."""
    folder = Path(tempfile.mkdtemp(prefix="leadcast-chaos-"))
    # nobody reads here how long it took to recover, so what all feel need not wait for the rest
    words = [f"--seed={SEED}", "--leads=60", "--faults=46", "--big=5", f"--minutes={MINUTES}", "--together"]
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *words],
        cwd=ROOT,
        env=stack_env(folder, free_port()),
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert (folder / "chaos.json").exists(), f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    result = json.loads((folder / "chaos.json").read_text()) | {"exit": done.returncode, "shown": done.stdout}
    yield result
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.system
def test_nothing_is_lost_nothing_comes_twice_and_all_have_a_status(found: dict[str, Any]) -> None:
    assert found["broken"] == {name: [] for name in found["broken"]}, found["shown"]
    assert found["exit"] == 0


@pytest.mark.system
def test_most_of_what_was_to_be_staged_was_staged(found: dict[str, Any]) -> None:
    met = [fault for fault in found["faults"] if fault["fired"]]
    assert len(met) > len(found["faults"]) / 2, found["shown"]


def test_the_matrix_holds_each_point_and_each_victim() -> None:
    pool = everything(list(After))
    assert {item.point for item in pool if item.who is not Who.SERVICE} == set(POINTS)
    assert {item.who for item in pool} == set(Who)
    assert {item.after for item in pool} == set(After)


def test_a_run_holds_more_than_120_different_faults_and_the_same_ones_for_the_same_seed() -> None:
    first, again = (chosen(140, afters=list(After), seed=SEED) for _ in range(2))
    assert first == again
    assert len({(item.point, item.who, item.kind, item.after) for item in first}) == 140


def test_a_short_run_kills_at_each_point() -> None:
    run = chosen(46, afters=[After.NOTHING], seed=SEED, big=5)
    assert {item.point for item in run if item.who is not Who.SERVICE} >= set(POINTS)


def test_a_run_kills_each_victim_at_each_point_before_any_fault_is_repeated() -> None:
    pairs = {(item.point, item.who) for item in everything(list(After))}
    run = chosen(len(pairs), afters=list(After), seed=SEED)
    assert {(item.point, item.who) for item in run} == pairs
