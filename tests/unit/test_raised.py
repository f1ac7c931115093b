"""core/raised.py says where an error arose, and nothing of what it was about."""

from __future__ import annotations

import pytest

from leadcast.core.raised import raised_at


def broken(text: str) -> None:
    raise ValueError(text)


def test_it_is_the_innermost_step() -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        broken("secret")
    line = broken.__code__.co_firstlineno + 1
    assert raised_at(caught.value) == f"{__file__}:{line}"


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert raised_at(ValueError("secret")) == ""
