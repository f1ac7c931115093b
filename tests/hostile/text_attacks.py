"""Every function that takes a text from outside, and texts that may be its worst.

Run as a module it feeds all to all, and prints as JSON those that use up their processor time.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from tests.hostile.pattern_attacks import GENERIC
from tests.hostile.processor_time import BurstError, is_burst

CHARS = 100_000
CPU_S = 4.0
"""For one function on one text. What is linear takes a tenth of a second; what is quadratic takes minutes."""
ROOMS = ("leadcast.core", "leadcast.integrations")
TEXTS = (str(str), "str", "str | None", str(bytes), str(Any), str(object))
"""How a parameter that takes what comes from outside is annotated."""
PUMPS = (
    *GENERIC,
    # marks that stand above and below: to compose them is to sort them
    *("a\u0301\u0323", "\u0301\u0323", "\uac00\u11a8", "\ufdfa"),
    # digits of several scripts, phones, addresses, names of hosts
    *("\uff11", "\u0661", "+7", "+7 999 ", "8(9", "tel:", "a@b.c,", "a.", "xn--a.", "@a.b ", "1.2.3.4,", "::", "[::1]"),
    # what is written in JSON, HTML, templates, headers, base64 and percent forms
    *('{"a":', '"\\u0000', "1e9", "-1", "<a href=", "&lt;", "{{ a ", "{{a}}", "{% if a %}", "|f", "a.b", "((", "~a"),
    *("=?utf-8?b?", "YQ==", "%25", "\\n", "\r\n ", ";a=b"),
    # halves of characters, what joins them, turns them round or cannot be seen
    *("\ud800", "\u200d", "\u202e", "\U0001f469\u200d", "\x00", "т\u00ad"),
)
ENDS = ("", "!", "\x00")
GIVEN = {"region": "RU"}
"""What a parameter of this name is given instead: it is the operator's."""


@dataclass(frozen=True)
class Taker:
    """A function that takes a text. `longest`: no longer text can reach it.

    Args:
        texts: its parameters → how they are annotated.
    """

    where: str
    function: Callable[..., object]
    texts: dict[str, str]
    longest: int = CHARS

    def try_on(self, text: str) -> None:
        """Calls it, whatever comes of it; what it makes one by one is taken."""
        binary = text.encode("utf-8", "replace")
        given = {name: GIVEN.get(name, binary if kind == str(bytes) else text) for name, kind in self.texts.items()}
        try:
            made = self.function(**given)
            if isinstance(made, Iterator):
                for _ in islice(made, self.longest):
                    pass
        except BurstError:
            raise
        except Exception:
            return  # a refusal is an answer, too: other tests say which


def takers(bounds: dict[str, int]) -> Iterator[Taker]:
    """All public functions that can be called with texts alone.

    Args:
        bounds: `module:function` → the longest text that can reach it.
    """
    for room in ROOMS:
        package = importlib.import_module(room)
        for found in pkgutil.walk_packages(package.__path__, f"{room}."):
            module = importlib.import_module(found.name)
            for name, function in vars(module).items():
                if name.startswith("_") or not inspect.isfunction(function) or function.__module__ != module.__name__:
                    continue
                texts = _texts(function)
                if texts:
                    where = f"{module.__name__}:{name}"
                    yield Taker(where, function, texts, bounds.get(where, CHARS))


def _texts(function: Callable[..., object]) -> dict[str, str]:
    """How each parameter that has to be given is annotated; nothing, if one of them is no text."""
    kinds = inspect.Parameter
    needed = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is kinds.empty and parameter.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # of a type that is imported for the type checker alone
        hints = function.__annotations__
    found = {name: str(hints.get(name)) for name in needed}
    return found if all(kind in TEXTS for kind in found.values()) else {}


def texts(longest: int) -> Iterator[str]:
    """Each pump again and again, and then what may break it."""
    for pump in PUMPS:
        for end in ENDS:
            yield (pump * longest)[: longest - len(end)] + end


def burst(listed: list[Taker]) -> Iterator[tuple[str, str]]:
    """Those that use up their processor time, with how that text begins.

    What stays in C code cannot be broken off: the process's own limit ends it, and the last line of standard error
    says where.
    """
    for taker in listed:
        for text in texts(taker.longest):
            sys.stderr.write(f"{taker.where} {text[:20]!a}…{text[-1:]!a}\n")
            if is_burst(partial(taker.try_on, text), cpu_s=CPU_S):
                yield taker.where, repr(text[:40] + "…" + text[-1:])
                break


if __name__ == "__main__":
    from tests.hostile.test_texts import LONGEST

    found = list(takers(LONGEST))
    json.dump({"tried": len(found), "burst": list(burst(found))}, sys.stdout)
