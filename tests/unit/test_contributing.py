"""CONTRIBUTING.md leads to files that are there, and to what it says is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATH = r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:toml|md|yaml|example))`"
QUESTIONS = [line for line in PAGE.partition("\n## Where is what\n")[2].splitlines() if "include/" in line]


def test_every_file_that_it_names_is_there() -> None:
    named = re.findall(PATH, PAGE)
    assert len(named) > 40
    assert not [path for path in named if not (ROOT / path).exists()]


def test_a_name_beside_a_file_is_one_of_that_file() -> None:
    beside = re.findall(rf"{PATH} \(`(?:\w+\.)?(\w+)`", PAGE)
    beside += [(path, name) for name, path in re.findall(rf"`(\w+)` \({PATH}\)", PAGE)]
    assert len(beside) > 12
    assert not [(path, name) for path, name in beside if not is_defined(name, ROOT / path)]


def is_defined(name: str, file: Path) -> bool:
    text = file.read_text(encoding="utf-8")
    return re.search(rf"^ *(?:(?:def|class) {name}\b|{name}\b.* = )", text, flags=re.MULTILINE) is not None


def test_every_folder_of_tests_has_its_line() -> None:
    folders = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders == set(re.findall(r"^\| `(tests/\w+)`", PAGE, flags=re.MULTILINE))


@pytest.mark.parametrize(("command", "variable"), [("test", "QUICK"), ("test-rest", "REST")])
def test_a_folder_of_tests_is_run_by_the_command_that_the_page_has_it_under(command: str, variable: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (folders,) = re.findall(rf"^{variable} := \$\(addprefix tests/,([\w ]+)\)$", makefile, flags=re.MULTILINE)
    below = re.split(rf"^`make {command}`.*:$", PAGE, flags=re.MULTILINE)[1].lstrip().partition("\n\n")[0]
    assert [f"tests/{name}" for name in folders.split()] == re.findall(r"^\| `(tests/\w+)`", below, flags=re.MULTILINE)


@pytest.mark.parametrize("line", QUESTIONS)
def test_a_question_is_answered_by_three_files_at_most(line: str) -> None:
    assert 1 <= len(re.findall(PATH, line)) <= 3
