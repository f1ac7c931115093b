"""The example of docs/adding-an-integration.md, built and installed as the page says: a distribution of its own.

Each module named here runs in a pytest of its own, where that distribution is installed and nothing else has changed:
Leadcast looks for integrations once a process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plain_airflow import uv

pytestmark = [pytest.mark.airflow, pytest.mark.store]
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "lead-to-slack"
MODULE = Path("lead_to_slack") / "__init__.py"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with that distribution installed in it."""
    project, site = tmp_path / "lead-to-slack", tmp_path / "site"
    shutil.copytree(EXAMPLE, project)
    uv("build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(project))
    (wheel,) = tmp_path.glob("lead_to_slack-*.whl")
    # Leadcast is there already, from this work tree
    uv("pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
    return site


def run_with(site: Path, module: str) -> None:
    """Runs a module's tests where the distribution is installed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name(module))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not done.returncode, done.stdout[-8000:] + done.stderr[-2000:]


def test_the_pages_example_is_an_integration_like_the_shipped_ones(site: Path) -> None:
    run_with(site, "own_integration.py")


def test_an_integration_that_cannot_be_loaded_takes_no_other_with_it(site: Path) -> None:
    (site / MODULE).write_text("import a_library_that_nobody_installed\n", encoding="utf-8")
    run_with(site, "broken_integration.py")
