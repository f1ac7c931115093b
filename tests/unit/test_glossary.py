"""docs/glossary.md has the words of the code and the pages, the states that there are, and a word for each thing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import pytest

from leadcast.core.model import BatchStatus, DeliveryState

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "glossary.md").read_text(encoding="utf-8")
NOT_USED = "instead of"


def tables() -> dict[str, list[list[str]]]:
    """What stands in the first column's head → the rows below it, of all tables of that head together."""
    found: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
        found.setdefault(head[0], []).extend(rows)
    return found


TABLES = tables()
WORDS = [row[0] for row in TABLES["word"]]
INSTEAD = {word: row[1] for row in TABLES[NOT_USED] for word in row[0].split(", ")}
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "include" / "leadcast").rglob("*.py")]


def public_names(tree: ast.Module) -> Iterator[str]:
    """The names of its classes and public functions, wherever they stand in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name.lstrip("_")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node.name


def words_of(name: str) -> set[str]:
    """The words of a name: each, each without the plural's s, and each with the next one."""
    words = in_order(name)
    return {*words, *(word.removesuffix("s") for word in words), *map(" ".join, pairwise(words))}


def in_order(name: str) -> list[str]:
    """`AmoCrmItem`, `due_items` → their words, in small letters."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)]


NAMES = {name for tree in TREES for name in public_names(tree)}


def said() -> str:
    """All that pages and the code say: public names as words, docstrings."""
    texts = [path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md") if path.name != "glossary.md"]
    texts += [" ".join(in_order(name)) for name in NAMES]
    for tree in TREES:
        nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        texts += [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, nodes)]
    return re.sub(r"\s+", " ", " ".join(texts)).lower()


SAID = said()


def test_the_page_is_read_as_it_is_written() -> None:
    assert {"lead", "wave", "lease", "conf"} <= set(WORDS)
    assert {"job", "encrypt", "emulator"} <= set(INSTEAD)
    assert set(TABLES) == {"word", "batch", "delivery", NOT_USED}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_said_in_the_code_or_on_a_page(word: str) -> None:
    assert re.search(rf"\b{re.escape(word.lower())}(?:s|d|ed|ing)?\b", SAID)


def test_a_word_stands_in_the_glossary_once_and_has_a_meaning() -> None:
    assert len(WORDS) == len(set(WORDS))
    assert all(len(row[1]) > 5 for row in TABLES["word"])


@pytest.mark.parametrize(("head", "states"), [("batch", BatchStatus), ("delivery", DeliveryState)])
def test_the_states_are_those_of_the_model(head: str, states: type[StrEnum]) -> None:
    assert [row[0] for row in TABLES[head]] == [f"`{state}`" for state in states]


@pytest.mark.parametrize("word", INSTEAD)
def test_no_name_has_a_word_that_is_not_used(word: str) -> None:
    assert not [name for name in NAMES if word in words_of(name)], f"say {INSTEAD[word]!r}"


def test_what_is_to_be_said_is_in_the_glossary_and_what_is_not_is_not() -> None:
    assert not set(INSTEAD.values()) - set(WORDS)
    assert not set(INSTEAD) & set(WORDS)
