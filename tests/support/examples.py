"""How many examples a property test tries: few in `make test`, ten times as many in the rest of `make test-all`.

A pytest plugin (tests/conftest.py names it). `pytest --hypothesis-profile long -m hypothesis` is the long way.
"""

from __future__ import annotations

from hypothesis import settings

# how long one takes is no matter: machines differ
settings.register_profile("short", max_examples=100, deadline=None)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile("short")


def examples(part: float) -> int:
    """This part of the profile's examples, for a test whose examples are dear."""
    return max(1, round(settings().max_examples * part))
