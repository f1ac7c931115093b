"""Phone numbers that are nobody's: what people type to get past a form. Whoever is known by one is not who wrote."""

from __future__ import annotations

FEWEST_DIGITS = 7
"""Fewer are an extension, a short number, or one that other cities have, too."""
_NATIONAL = 10
_COUNTED = "01234567890123456789"


def names_somebody(digits: str) -> bool:
    """Whether a number can be one person's: it is long enough, and neither one digit all over nor counted through
    (0000000000, +7 999 999-99-99, 1234567)."""
    own = digits[-_NATIONAL:]
    return len(digits) >= FEWEST_DIGITS and len(set(own)) > 1 and own not in _COUNTED
