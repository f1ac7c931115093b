"""Every regular expression of the package is linear in its text: each is tried on 100 KB of its worst.

`re` has no counter of steps. So a process of its own tries all of them, each with an end by processor time that a
linear one comes nowhere near, and that a quadratic one exceeds several times over: 1 s, where the first takes 50 ms and
the second 3 s to minutes. It bounds what does not end; nothing is timed.
"""

from __future__ import annotations

import re
from typing import Any

from .pattern_attacks import PACKAGE, Use, burst
from .processor_time import outcome_of

LONGEST: dict[str, int] = {}
"""Where a pattern is not linear: `module:name` → the longest text that can reach it."""
MADE: dict[str, re.Pattern[Any]] = {
    # a phone, however its digits are divided
    "leadcast.core.secret_forms:'[\\\\W_]{0,3}'.join(number)": re.compile(r"[\W_]{0,3}".join("1" * 15)),
    # addresses of a connection, word for word
    r"leadcast.integrations.operators_words:f'(?i)(?<![\\w.-])(?:{any_of_them})(?![\\w-]|\\.\\w)'": re.compile(
        r"(?i)(?<![\w.-])(?:https://crm\.example\.com/rest|crm\.example\.com|10\.0\.0\.1:80)(?![\w-]|\.\w)"
    ),
}
"""Those that are made while the code runs: where → one like it."""


def test_every_pattern_is_linear_on_its_worst() -> None:
    found = outcome_of("tests.hostile.pattern_attacks")
    assert found["burst"] == []
    assert found["tried"] > 100


def test_one_that_is_not_is_found() -> None:
    quadratic = Use("here", re.compile(r'\\*"lead_id'), "search")
    cubic = Use("there", re.compile(r"(?:\s*tel:)+"), "search")
    assert [name for name, _ in burst([quadratic, cubic])] == ["here search", "there search"]


def test_patterns_of_fields_run_in_an_engine_that_is_linear() -> None:
    """pydantic runs `pattern=` in Rust's engine, which does not go back, unless it is told otherwise."""
    for path in PACKAGE.rglob("*.py"):
        assert "regex_engine" not in path.read_text(), path
