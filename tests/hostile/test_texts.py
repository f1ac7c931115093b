"""Every function that takes a text from outside is linear in it: each is fed 100 KB of what may be its worst.

Patterns are one way to be slow (test_patterns.py). Others are a loop within a loop, a text that is put together piece
by piece, and what a library does: to compose marks is to sort them. A process of its own tries all, each with an end
by processor time that a linear one comes nowhere near.
"""

from __future__ import annotations

from .processor_time import outcome_of
from .text_attacks import Taker, burst

LONGEST: dict[str, int] = {}
"""Where a function is not linear: `module:function` → the longest text that can reach it."""


def test_every_function_that_takes_a_text_is_linear_in_it() -> None:
    found = outcome_of("tests.hostile.text_attacks")
    assert found["burst"] == []
    assert found["tried"] > 70


def slow(text: str) -> int:
    """Looks through all that it has read, for each character."""
    return sum(text[:end].count("\x01\x02") + sum(char == text[end] for char in text[:end]) for end in range(len(text)))


def test_one_that_is_not_is_found() -> None:
    assert [where for where, _ in burst([Taker("here", slow, {"text": str(str)})])] == ["here"]
