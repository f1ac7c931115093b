"""How sealed credentials stand in a request: `{"sealed": "gAAAA…"}`, and nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEALED = "sealed"


def is_sealed(credentials: Any) -> bool:
    """Whether these credentials are sealed: there is nothing else in them. Opens nothing."""
    return isinstance(credentials, Mapping) and list(credentials) == [SEALED] and isinstance(credentials[SEALED], str)
