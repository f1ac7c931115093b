"""Code and tests cite the page of vendors' facts by section; each section that they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "vendors.md"
PLACES = ("include", "tests", "docs", "chaos", "bench", "dags", "plugins")
KINDS = {".md", ".py", ".toml"}

NUMBER = r"\d+(?:\.\d+)*"
GAP = r"[\s#]+"  # a citation may go on in the next line, in a comment as well
CITATION = re.compile(
    rf"vendors\.md,?{GAP}(?:sections?{GAP}|§+(?:{GAP})?)?({NUMBER}(?:(?:,?{GAP}(?:and|or|to){GAP}|,{GAP}){NUMBER})*)"
)


def headings() -> list[str]:
    """The numbers of the page's sections, in its order."""
    return re.findall(rf"^#{{2,3}} ({NUMBER})\.? ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def cited(text: str) -> list[str]:
    """The sections that a text cites, of "1.2 to 1.5" the ends."""
    return [number for found in CITATION.findall(text) for number in re.findall(NUMBER, found)]


def files() -> list[Path]:
    """What may cite the page, but for this file, which has samples."""
    found = (path for place in PLACES for path in (ROOT / place).rglob("*") if path.suffix in KINDS)
    return sorted(path for path in found if path != Path(__file__))


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("A list without a match (vendors.md 1.1).", ["1.1"]),
        ("vendors.md 2.1, 2.3, 2.5, 2.7). Its codes", ["2.1", "2.3", "2.5", "2.7"]),
        ("vendors.md 2.1 and 2.3, and two that only", ["2.1", "2.3"]),
        ("vendors.md 1.2 to 1.5, 1.9): rows", ["1.2", "1.5", "1.9"]),
        ("as vendors.md section 3 describes it", ["3"]),
        ("vendors.md §2.4", ["2.4"]),
        ("vendors.md § 2.4", ["2.4"]),
        ("vendors.md 7 advises 5.", ["7"]),
        ("vendors.md 1.5,\n    # 1.6)", ["1.5", "1.6"]),
        ("# vendors.md\n# 4.1, the test vector", ["4.1"]),
        ("[vendors.md](vendors.md), vendors.md's samples, 7 of them", []),
    ],
)
def test_how_a_citation_is_read(text: str, sections: list[str]) -> None:
    assert cited(text) == sections


def test_every_section_that_is_cited_is_on_the_page() -> None:
    there = set(headings())
    citations = [(path.relative_to(ROOT), number) for path in files() for number in cited(path.read_text("utf-8"))]
    assert len(citations) > 100
    assert not [f"{path}: {number}" for path, number in citations if number not in there]


def test_the_sections_are_numbered_in_order() -> None:
    numbers = [tuple(map(int, number.split("."))) for number in headings()]
    assert numbers == sorted(set(numbers))
    assert not [number for number in numbers if len(number) == 2 and number[:1] not in numbers]
