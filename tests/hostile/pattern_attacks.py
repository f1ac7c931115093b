"""Every regular expression of the package, how it is used, and texts that are its worst.

Run as a module it tries all of them, and prints as JSON those that have burst their time.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from re import _constants as codes
from re import _parser
from typing import Any

from tests.hostile.processor_time import is_burst

PACKAGE = Path(__file__).parents[2] / "include" / "leadcast"
CHARS = 100_000
CPU_S = 1.0
"""For one pattern on one text. What is linear takes 50 ms at most; what is quadratic seconds to minutes."""
METHODS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
BREAKERS = ("", "\x00", "!", "\n", "0")
GENERIC = (
    *("\\", '"', "'", " ", "\t", "\n", "\r\n", "0", "a", "A", "[", "{", "(", "<", "/", "-", ".", ":", "@", "=", "%"),
    *("a@", "//", "/.", "a.", "0.", "0 ", "a ", " a", "\\x", "%4", "&#", "<a", "</", "{{", "[a]", "a=", "\u00a0", "я"),
)


@dataclass(frozen=True)
class Use:
    """A pattern, and the method by which text meets it. `longest`: no longer text can reach it."""

    where: str
    pattern: re.Pattern[Any]
    method: str
    longest: int = CHARS

    def try_on(self, text: str) -> None:
        """Does it."""
        subject: Any = text.encode("latin-1", "ignore") if isinstance(self.pattern.pattern, bytes) else text
        if self.method in ("sub", "subn"):
            getattr(self.pattern, self.method)(subject[:0], subject)
        elif self.method == "finditer":
            for _ in self.pattern.finditer(subject):
                pass
        else:
            getattr(self.pattern, self.method)(subject)


def uses(bounds: dict[str, int], unnamed: dict[str, re.Pattern[Any]]) -> Iterator[Use]:
    """All of the package.

    Args:
        bounds: `module:what` → the longest text that can reach it.
        unnamed: those that are made while the code runs: `module:line's text` → an example.

    Raises:
        LookupError: one that cannot be made out.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text()
        if "re." not in source:
            continue
        tree = ast.parse(source)
        name = ".".join(("leadcast", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        yield from _uses_in(tree, name, bounds, unnamed)


def _uses_in(tree: ast.Module, name: str, bounds: dict[str, int], unnamed: dict[str, re.Pattern[Any]]) -> Iterator[Use]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    of_re = [call for call in calls if isinstance(call.func.value, ast.Name) and call.func.value.id == "re"]  # type: ignore[attr-defined]
    for call in of_re:
        function = call.func.attr  # type: ignore[attr-defined]
        if function not in (*METHODS, "compile"):
            continue
        what = _name_of(tree, call) if function == "compile" else ast.unparse(call.args[0])
        where = f"{name}:{what}"
        pattern = unnamed.get(where) or _evaluated(call, name, function)
        methods = _methods(calls, what) if function == "compile" else [function]
        for method in methods:
            yield Use(where, pattern, method, bounds.get(where, CHARS))


def _name_of(tree: ast.Module, call: ast.Call) -> str:
    for node in ast.walk(tree):
        # on its own, or as a member of a dict
        if isinstance(node, ast.Assign | ast.AnnAssign) and call in ast.walk(node.value or node):
            return ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    return ast.unparse(call.args[0])


def _methods(calls: Iterable[ast.Call], name: str) -> list[str]:
    """By which methods it is used in its module; all that differ, where that cannot be seen."""
    found = {
        call.func.attr  # type: ignore[attr-defined]
        for call in calls
        if ast.unparse(call.func.value).partition("[")[0] == name  # type: ignore[attr-defined]
    }
    return sorted(found & set(METHODS)) or ["fullmatch", "match", "search"]


def _evaluated(call: ast.Call, name: str, function: str) -> re.Pattern[Any]:
    place = {"compile": 1, "match": 2, "fullmatch": 2, "search": 2, "findall": 2, "finditer": 2, "split": 3}
    flags = [keyword.value for keyword in call.keywords if keyword.arg == "flags"]
    flags += call.args[place.get(function, 4) :][:1]
    parts = [ast.unparse(part) for part in (call.args[0], *flags)]
    namespace = {**vars(importlib.import_module(name)), "re": re}
    try:
        pattern, *flag = (eval(part, namespace) for part in parts)
        return pattern if isinstance(pattern, re.Pattern) else re.compile(pattern, *flag)
    except Exception as error:
        raise LookupError(f"{name}: say by hand what the pattern of {ast.unparse(call)} is like") from error


def texts(use: Use) -> Iterator[str]:
    """Its worst: each part of it that repeats, again and again after what leads to it, and then what breaks it."""
    pattern = use.pattern.pattern
    source = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    flags = use.pattern.flags & ~re.UNICODE if isinstance(pattern, bytes) else use.pattern.flags
    pumps = {*_pumps(_parser.parse(source, flags), ""), *(("", generic) for generic in GENERIC)}
    for before, pump in sorted(pumps):
        for breaker in BREAKERS:
            yield (before + pump * use.longest)[: use.longest - len(breaker)] + breaker
        if before:
            yield ((before + pump) * use.longest)[: use.longest]
            yield (before * use.longest)[: use.longest]


def _pumps(sequence: Any, before: str) -> Iterator[tuple[str, str]]:
    """What repeats in a parsed pattern, with a text that leads to it."""
    for code, argument in sequence:
        inner: list[Any] = []
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            inner = [argument[2]]
            if argument[1] > 1:
                yield from ((before, pump) for pump in _examples(argument[2]) if pump)
        elif code is codes.SUBPATTERN:
            inner = [argument[3]]
        elif code is codes.ATOMIC_GROUP:
            inner = [argument]
        elif code is codes.BRANCH:
            inner = argument[1]
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            inner = [argument[1]]
        for each in inner:
            yield from _pumps(each, before)
        before += next(iter(_examples([(code, argument)])), "")


def _examples(sequence: Any) -> list[str]:
    """A few texts that such a part matches."""
    found = [""]
    for code, argument in sequence:
        found = [head + tail for head in found[:3] for tail in _one(code, argument)[:4]]
    return found


def _one(code: Any, argument: Any) -> list[str]:
    if code is codes.LITERAL:
        return [chr(argument)]
    if code is codes.NOT_LITERAL:
        return ["b" if argument == ord("a") else "a"]
    if code is codes.ANY:
        return ["a"]
    if code is codes.IN:
        return _of_class(argument)
    if code is codes.SUBPATTERN:
        return _examples(argument[3])
    if code is codes.ATOMIC_GROUP:
        return _examples(argument)
    if code is codes.BRANCH:
        return [example for branch in argument[1] for example in _examples(branch)[:2]]
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return [example * max(1, argument[0]) for example in _examples(argument[2])]
    return [""]


_ALPHABET = "a0 -_.A9f\n/=,:\"'\\<>[]{}()@%&#;+*|я\u00a0\u2028"


def _of_class(members: Any) -> list[str]:
    listed = list(members)
    negated = bool(listed) and listed[0][0] is codes.NEGATE
    found = [char for char in _ALPHABET if any(_is_in(char, *member) for member in listed) is not negated]
    literal = [chr(argument) for code, argument in listed if code is codes.LITERAL]
    ranges = [chr(argument[0]) for code, argument in listed if code is codes.RANGE]
    return (found or ["\x01"]) if negated else (found[:3] + literal[:2] + ranges[:2] or ["\x01"])


def _is_in(char: str, code: Any, argument: Any) -> bool:
    if code is codes.LITERAL:
        return bool(ord(char) == argument)
    if code is codes.RANGE:
        return bool(argument[0] <= ord(char) <= argument[1])
    if code is codes.CATEGORY:
        kind = str(argument).rpartition("_")[2]
        is_it = {"DIGIT": char.isdigit(), "SPACE": char.isspace(), "WORD": char.isalnum() or char == "_"}[kind]
        return is_it is not ("_NOT_" in str(argument))
    return False


def burst(listed: Iterable[Use]) -> Iterator[tuple[str, str]]:
    """Those that use up their processor time on a text of theirs, with how that text begins.

    The engine of `re` looks for signals as it goes, so it can be broken off.
    """
    for use in listed:
        for text in texts(use):
            if is_burst(partial(use.try_on, text), cpu_s=CPU_S):
                yield f"{use.where} {use.method}", repr(text[:40] + "…" + text[-3:])
                break


if __name__ == "__main__":
    from tests.hostile.test_patterns import LONGEST, MADE

    found = list(uses(LONGEST, MADE))
    json.dump({"tried": len(found), "burst": list(burst(found))}, sys.stdout)
