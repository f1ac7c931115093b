"""What is installed is what the tests ran with, file by file: one published anew under its version is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FILES = ("requirements.txt", "requirements-local.txt", "requirements-dev.txt", "requirements-build.txt")


def entries(text: str) -> dict[str, list[str]]:
    """Each requirement with its hashes."""
    joined = re.sub(r" \\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    found = {}
    for line in joined.splitlines():
        requirement, *hashes = re.split(r" --hash=", line)
        found[requirement.strip()] = hashes
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_package_is_pinned_with_the_hashes_of_its_files(name: str) -> None:
    found = entries((ROOT / name).read_text(encoding="utf-8"))
    assert len(found) > 5
    for requirement, hashes in found.items():
        assert [item.operator for item in Requirement(requirement).specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement


def test_the_files_agree_where_they_name_the_same_package() -> None:
    versions: dict[str, set[str]] = {}
    for name in FILES:
        for requirement in entries((ROOT / name).read_text(encoding="utf-8")):
            parsed = Requirement(requirement)
            versions.setdefault(parsed.name, set()).add(str(parsed.specifier))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_nothing_is_installed_without_them_but_ourselves_and_what_an_operator_adds() -> None:
    steps = [line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if line.startswith("\t")]
    installs = [step for step in steps if "$(INSTALL)" in step or "pip install" in step]
    assert len(installs) == 4
    for step in installs:
        assert "--require-hashes -r requirements" in step or step.endswith(
            "--no-deps --no-build-isolation --editable ."
        )
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    for command in re.findall(r"pip (?:install|wheel) [^&\n;]*", image):
        is_ours = "--no-deps" in command
        assert is_ours or "--require-hashes" in command or command.rstrip().endswith("${EXTRA_REQUIREMENTS}"), command
