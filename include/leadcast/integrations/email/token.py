"""The token that a mail server is signed in to with: the stored one, or else a new one, fetched by one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, StoreError, TransientError
from leadcast.core.tokens import TokenPair
from leadcast.integrations.base import Call
from leadcast.integrations.email.oauth import OAuth2
from leadcast.integrations.email.server import MailServer

_NOTHING = SecretStr("")
T = TypeVar("T")


def with_token(server: MailServer, *, call: Call, use: Callable[[MailServer], T]) -> T:
    """What `use` returns, called with the server and a token that it takes.

    A stored token that the server refuses is renewed, and `use` called once more: until it has signed in, nothing was
    sent.

    Raises:
        What `use` and `OAuth2.fetched` raise; TransientError when the vault cannot be read.
    """
    oauth2 = server.oauth2
    if oauth2 is None or oauth2.is_given:
        return use(server)
    try:
        stored = call.tokens.current(oauth2.account)
    except StoreError as error:
        raise _unreadable(error) from None
    token = stored.access if stored else _newer_than("", oauth2, call)
    try:
        return use(server.with_token(token))
    except CredentialsError as error:
        if stored is None or error.code != "535":
            raise
    return use(server.with_token(_newer_than(token.get_secret_value(), oauth2, call)))


def _newer_than(stale: str, oauth2: OAuth2, call: Call) -> SecretStr:
    def exchange(_: TokenPair | None) -> TokenPair:
        return TokenPair(access=oauth2.fetched(call.egress), refresh=_NOTHING)

    try:
        return call.tokens.renew(oauth2.account, stale=stale, exchange=exchange).access
    except StoreError as error:
        raise _unreadable(error) from None


def _unreadable(error: StoreError) -> TransientError:
    return TransientError(f"The access token for the mail server is out of reach: {error}", code="store")
