"""Every file of the package says in its first line why it is there, and is short enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "include" / "leadcast"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
MOST_LINES = 350


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_a_file_says_why_it_is_there_and_is_not_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES, "what of it has another reason, or is done at another time?"
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "its first line says its one reason"
