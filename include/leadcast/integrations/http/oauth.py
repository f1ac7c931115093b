"""An account's access token: the newest that is known, renewed once when the service says that it has expired."""

from __future__ import annotations

from collections.abc import Callable

from leadcast.core.digest import digest
from leadcast.core.errors import CredentialsError, StoreError, TransientError
from leadcast.core.tokens import TokenPair, TokenVault


def account_name(*parts: str) -> str:
    """What the vault knows an account by: a hash, so that nothing of the parts can be read there.

    One of the parts must be the client's secret: whoever brings a request without knowing it must not send with the
    tokens that are stored for others.
    """
    return digest(*parts, chars=40)


def expired(service: str, error: CredentialsError) -> CredentialsError:
    """What a probe says of an access token that is not taken, where a refresh token is at hand."""
    return CredentialsError(
        f"{service} does not take the access token ({error.code}). If it has only expired, all is well: there is a "
        "refresh token, and the next delivery renews it. A test does not, because a refresh token works once.",
        code=error.code,
        detail=error.detail,
    )


class AccessToken:
    """Gives out an access token, and renews it through the vault: one process at a time, stored before use.

    Args:
        own: the pair of the request or the connection; with an empty refresh token it lasts as long as it does.
        account: see `account_name`.
        exchange: asks the service for a new pair for this refresh token; raises CredentialsError when it is used up.
    """

    def __init__(
        self, own: TokenPair, *, account: str, vault: TokenVault, exchange: Callable[[str], TokenPair]
    ) -> None:
        self._own = own
        self._account = account
        self._vault = vault
        self._exchange = exchange
        self._latest = ""

    @property
    def can_be_renewed(self) -> bool:
        """Whether there is a refresh token."""
        return bool(self._own.refresh.get_secret_value())

    def newest(self) -> str:
        """The access token to use: the vault's is newer than the request's.

        Raises:
            TransientError: the store could not be read; nothing was sent.
        """
        if not self._latest:
            try:
                stored = self._vault.current(self._account) if self.can_be_renewed else None
            except StoreError as error:
                raise TransientError(f"The stored token could not be read: {error}", code="store") from None
            self._latest = (stored or self._own).access.get_secret_value()
        return self._latest

    def renewed(self, stale: str) -> str:
        """An access token newer than `stale`.

        Raises:
            CredentialsError: the account must be connected again.
            TransientError, RateLimited: not now. The service had refused the old token, so nothing was executed: that
                is so, too, where the store failed, or another process took too long over its renewal.
        """
        got: list[TokenPair] = []

        def exchange(stored: TokenPair | None) -> TokenPair:
            got.append(self._new_pair(stored))
            return got[0]

        try:
            pair = self._vault.renew(self._account, stale=stale, exchange=exchange)
        except StoreError as error:
            if not got:
                raise TransientError(f"The token was not renewed: {error}", code="store") from None
            pair = self._stored_late(stale, got[0])
        self._latest = pair.access.get_secret_value()
        return self._latest

    def _stored_late(self, stale: str, got: TokenPair) -> TokenPair:
        """Stores what the service gave and the store did not take: no other refresh token counts any more."""
        try:
            return self._vault.renew(self._account, stale=stale, exchange=lambda stored: got)
        except StoreError as error:
            raise TransientError(f"The renewed token was not stored: {error}", code="store") from None

    def _new_pair(self, stored: TokenPair | None) -> TokenPair:
        own = self._own.refresh.get_secret_value()
        if stored is None:
            return self._exchange(own)
        latest = stored.refresh.get_secret_value()
        try:
            return self._exchange(latest)
        except CredentialsError:
            if latest == own:
                raise
            # The stored chain is broken; a person may have connected the account again and brought a fresh pair.
            return self._exchange(own)
