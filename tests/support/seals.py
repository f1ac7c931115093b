"""Sealed texts past our own code: opened whatever they are for, and made as an older version made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cryptography.fernet import Fernet


def content(sealed: str, *, key: str) -> Any:
    """All that is in there, opened with this key alone."""
    return json.loads(Fernet(key).decrypt(sealed.encode()))


def inside(sealed: str, *, key: str) -> Any:
    """What was sealed."""
    return content(sealed, key=key)["value"]


def unbound(value: Mapping[str, Any], *, key: str) -> str:
    """Sealed for no place, as an older version did."""
    return Fernet(key).encrypt(json.dumps(value).encode()).decode()
