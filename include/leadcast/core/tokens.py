"""OAuth tokens that are exchanged for newer ones: the pair, and what keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    """An OAuth access token with the refresh token that renews it."""

    access: SecretStr
    refresh: SecretStr


class TokenVault(Protocol):
    """Where rotated OAuth tokens live. One process renews an account's pair at a time."""

    def current(self, account: str) -> TokenPair | None:
        """The newest pair stored for this account, or None."""

    def renew(self, account: str, *, stale: str, exchange: Callable[[TokenPair | None], TokenPair]) -> TokenPair:
        """A pair newer than the access token `stale`.

        Under a lock: where the stored access token is no longer `stale`, that pair is returned; else `exchange` is
        called with the stored pair (None: nothing stored yet) and what it returns is committed before it is returned.
        """
