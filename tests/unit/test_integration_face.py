"""`leadcast.integration`: what it says there is, is there, typed and described, and examples need nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadcast import integration

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "adding-an-integration.md").read_text(encoding="utf-8")
SHOWN = ("adding-an-integration.md", "callbacks.md", "field-mapping.md", "templates.md")
FACES = {"leadcast", "leadcast.integration"}


def test_all_is_what_loads() -> None:
    assert sorted(integration.__all__) == sorted(dir(integration)) == sorted(set(integration.__all__))
    assert [name for name in integration.__all__ if getattr(integration, name) is None] == []
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = integration.Nothing  # type: ignore[attr-defined]


def test_a_type_checker_finds_each_name_where_it_is_loaded_from() -> None:
    tree = ast.parse(Path(integration.__file__).read_text(encoding="utf-8"))
    typed = {name: module for module, name in imported_from(tree) if module.startswith("leadcast.")}
    assert typed == integration._HOME
    assert typed.keys() == set(integration.__all__)


def test_the_page_describes_each_name() -> None:
    section = PAGE.partition("\n## What there is to import\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| \S", section, flags=re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(integration.__all__)


def test_pages_and_examples_import_nothing_else_of_leadcast() -> None:
    pages = [(DOCS / page).read_text(encoding="utf-8") for page in SHOWN]
    sources = [block for page in pages for block in re.findall(r"^```python\n(.*?)^```", page, flags=re.M | re.S)]
    sources += [path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py")]
    modules = {module for source in sources for module, _ in imported_from(ast.parse(source))}
    assert {module for module in modules if module.partition(".")[0] == "leadcast"} == {"leadcast.integration"} <= FACES


def imported_from(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Module and name of what is imported, however deep it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
