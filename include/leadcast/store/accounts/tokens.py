"""Rotated OAuth tokens, sealed. A refresh token works once, so one process at a time renews an account's pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from threading import Lock

from pydantic import SecretStr
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from leadcast.core.tokens import TokenPair
from leadcast.store.database import Store
from leadcast.store.schema import oauth_tokens
from leadcast.store.sealing import tokens_of


class StoredTokens:
    """The `TokenVault` of the integrations, kept in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = Lock()
        self._renewing: defaultdict[str, Lock] = defaultdict(Lock)

    def current(self, account: str) -> TokenPair | None:
        """The newest pair stored for this account, or None."""
        with self._store.begin() as connection:
            return self._open(
                account,
                connection.execute(select(oauth_tokens.c.sealed).where(oauth_tokens.c.account == account)).scalar(),
            )

    def renew(self, account: str, *, stale: str, exchange: Callable[[TokenPair | None], TokenPair]) -> TokenPair:
        """A pair newer than `stale`; the row's lock makes the others wait and take what the first one got. Threads of
        this process wait before they have a connection: it would be missing elsewhere."""
        with self._guard:
            its_turn = self._renewing[account]
        with its_turn, self._store.begin() as connection:
            connection.execute(
                insert(oauth_tokens)
                .values(account=account, sealed="")
                .on_conflict_do_nothing(index_elements=["account"])
            )
            stored = self._open(
                account,
                connection.execute(
                    select(oauth_tokens.c.sealed).where(oauth_tokens.c.account == account).with_for_update()
                ).scalar_one(),
            )
            if stored is not None and stored.access.get_secret_value() != stale:
                return stored
            pair = exchange(stored)
            sealed = self._store.sealer.seal(
                {"access": pair.access.get_secret_value(), "refresh": pair.refresh.get_secret_value()},
                for_=tokens_of(account),
            )
            connection.execute(
                update(oauth_tokens)
                .where(oauth_tokens.c.account == account)
                .values(sealed=sealed, updated_at=func.now())
            )
        return pair

    def _open(self, account: str, sealed: str | None) -> TokenPair | None:
        if not sealed:
            return None
        opened = self._store.sealer.open(sealed, for_=tokens_of(account))
        return TokenPair(access=SecretStr(opened["access"]), refresh=SecretStr(opened["refresh"]))
