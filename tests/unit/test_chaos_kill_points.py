"""The kill points of `make chaos`: a process that passes one does what is armed there, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chaos.faults import Armoury
from chaos.inside import kill_points
from chaos.inside.kill_points import _MODULES

ROOT = Path(__file__).parents[2]
PASSES = "import kill_points; kill_points.passing('begin.after', kind='webhook', delivery_id='b-0'); print('lives')"


@pytest.fixture
def armoury(tmp_path: Path) -> Armoury:
    return Armoury(tmp_path)


def runs(code: str, armoury: Armoury | None) -> subprocess.CompletedProcess[str]:
    """A process with the folder on its PYTHONPATH, as those of the chaos stack have it."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("include", "chaos/inside"))
    faults = {"CHAOS_FAULTS": str(armoury.root)} if armoury else {}
    words = [sys.executable, "-c", code]
    env = os.environ | {"PYTHONPATH": paths} | faults
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_who_passes_an_armed_point_dies_and_the_next_one_lives(armoury: Armoury) -> None:
    armoury.arm("007", "begin.after", kind="webhook", action="die")
    assert runs(PASSES, armoury).returncode == -signal.SIGKILL
    fired = armoury.fired("007")
    assert fired is not None
    assert (fired.delivery_id, fired.batch_id) == ("b-0", "b")
    assert runs(PASSES, armoury).stdout == "lives\n"


@pytest.mark.parametrize(
    ("point", "kind", "only"),
    [("begin.before", "any", ""), ("begin.after", "email", ""), ("begin.after", "any", "c-0")],
)
def test_another_point_integration_or_delivery_is_not_hit(armoury: Armoury, point: str, kind: str, only: str) -> None:
    armoury.arm("007", point, kind=kind, action="die", only=only)
    assert runs(PASSES, armoury).stdout == "lives\n"
    assert armoury.disarm("007")


def test_who_waits_at_a_point_goes_on_when_the_deed_is_done(armoury: Armoury) -> None:
    armoury.arm("007", "begin.after", action="wait")
    armoury.done("007")
    assert runs(PASSES, armoury).stdout == "lives\n"
    assert armoury.fired("007") is not None


def test_a_fault_that_was_taken_cannot_be_disarmed(armoury: Armoury) -> None:
    armoury.arm("007", "begin.after", action="die")
    runs(PASSES, armoury)
    assert not armoury.disarm("007")


@pytest.mark.parametrize("module", sorted(_MODULES))
def test_every_function_that_a_kill_point_is_at_is_still_there(module: str, armoury: Armoury) -> None:
    done = runs(f"import {module}", armoury)
    assert done.returncode == 0, done.stderr


def test_without_the_variable_nothing_is_wrapped() -> None:
    shown = runs("import sys; print([type(f).__module__ for f in sys.meta_path])", None)
    assert "kill_points" not in shown.stdout


def test_what_is_known_of_who_passes_is_found_however_it_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[str, Any]] = []
    monkeypatch.setattr(kill_points, "passing", lambda point, **facts: passed.append((point, facts["run_id"])))
    module = SimpleNamespace(settle=lambda run_id, ending=None, *, over=False: (run_id, ending, over))
    kill_points._wrap(module, "settle", "settle", lambda run_id: {"run_id": run_id})

    assert module.settle("w", "an ending") == ("w", "an ending", False)
    assert module.settle(over=True, run_id="x") == ("x", None, True)
    assert passed == [("settle.before", "w"), ("settle.after", "w"), ("settle.before", "x"), ("settle.after", "x")]


def test_a_point_that_wants_to_know_what_its_function_is_not_told_is_refused() -> None:
    module = SimpleNamespace(settle=lambda batch_id: batch_id)
    with pytest.raises(TypeError, match="settle takes no run_id"):
        kill_points._wrap(module, "settle", "settle", lambda run_id: {"run_id": run_id})
