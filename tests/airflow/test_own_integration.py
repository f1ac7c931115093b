"""docs/adding-an-integration.md, followed to the letter: its example, built and installed as a distribution of its own.

Each module named here runs in a pytest of its own, where that distribution is installed and nothing else has changed:
Leadcast looks for integrations once a process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plain_airflow import uv

pytestmark = [pytest.mark.airflow, pytest.mark.store]
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-an-integration.md").read_text(encoding="utf-8")
MODULE = Path("lead_to_slack") / "__init__.py"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the page's distribution installed in it."""
    blocks = {
        language: re.search(rf"^```{language}\n(.*?)^```", PAGE, flags=re.M | re.S) for language in ("python", "toml")
    }
    project, site = tmp_path / "lead-to-slack", tmp_path / "site"
    for language, file in (("python", project / "src" / MODULE), ("toml", project / "pyproject.toml")):
        file.parent.mkdir(parents=True, exist_ok=True)
        block = blocks[language]
        assert block is not None
        file.write_text(block[1], encoding="utf-8")
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
