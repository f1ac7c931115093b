"""What the user's hooks file may define, told from its text: none of his code is run for it.

A wrong no would lose a hook, and a wrong yes costs a row that calls nobody. So a file counts as defining a name unless
it is plain, and the name stands nowhere in it.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from importlib.util import decode_source
from pathlib import Path

_REACHES_NAMES = re.compile(
    r"\b(?:globals|locals|vars|exec|eval|setattr|builtins|modules|inspect|_getframe|f_globals|f_locals|"
    r"__(?:dict|globals|builtins|import|setattr|getattr)__)\b"
)
"""What a module may define names by that stand nowhere in it."""


def may_define(path: Path, names: Collection[str]) -> Collection[str]:
    """Which of these names may be the file's when it is loaded."""
    if path.suffix != ".py":
        return names
    try:
        text = decode_source(path.read_bytes())
        is_plain = all(map(_is_plain, ast.parse(text, filename=str(path)).body))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return names  # whoever loads it says what is wrong
    text = unicodedata.normalize("NFKC", text)  # as Python reads names
    if not is_plain or _REACHES_NAMES.search(text):
        return names
    return [name for name in names if name in text]


def _is_plain(statement: ast.stmt) -> bool:
    """Whether all names that it defines stand in it. A call whose result nobody keeps, or a decorator, may do anything;
    so may what is not looked into here."""
    match statement:
        case ast.ImportFrom():
            return all(alias.name != "*" for alias in statement.names)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return not statement.decorator_list
        case ast.Assign():
            return all(map(_is_name, statement.targets))
        case ast.AnnAssign():
            return _is_name(statement.target)
        case ast.Expr():
            return isinstance(statement.value, ast.Constant)
        case ast.If() | ast.Try():
            return all(map(_is_plain, _within(statement)))
        case _:
            return isinstance(statement, ast.Import | ast.Pass | ast.Raise)


def _is_name(target: ast.expr) -> bool:
    match target:
        case ast.Tuple() | ast.List():
            return all(map(_is_name, target.elts))
        case ast.Starred():
            return _is_name(target.value)
        case _:
            return isinstance(target, ast.Name)


def _within(statement: ast.If | ast.Try) -> Iterator[ast.stmt]:
    blocks: list[Sequence[ast.stmt]] = [statement.body, statement.orelse]
    if isinstance(statement, ast.Try):
        blocks += [statement.finalbody, *(handler.body for handler in statement.handlers)]
    for block in blocks:
        yield from block
