"""Names for what nobody may read in its name: an account's secret, a URL, a key."""

from __future__ import annotations

import hashlib


def digest(*parts: str, chars: int = 64) -> str:
    """SHA-256 of the parts, joined by line ends, in hex. Stored as names: it is the same in every version.

    Args:
        chars: how many of the 64 characters, from the first one.
    """
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:chars]
