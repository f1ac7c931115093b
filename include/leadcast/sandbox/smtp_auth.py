"""Who may sign in to the mail server: by a password, or by an access token as Google and Microsoft have it."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Literal

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, LoginPassword
from pydantic import Field, SecretStr

from leadcast.sandbox.http_service import ServiceSettings
from leadcast.sandbox.received import fingerprint

MECHANISMS = frozenset({"LOGIN", "PLAIN", "XOAUTH2"})
_RESPONSE = re.compile("user=(?P<user>[^\x01]*)\x01auth=Bearer (?P<token>[^\x01]+)\x01\x01")


class SmtpSettings(ServiceSettings):
    """With `password` or `access_token` set, only who knows one of them may sign in (`user`: and only under that name),
    and nobody sends without."""

    user: str | None = None
    password: SecretStr | None = None
    access_token: SecretStr | None = Field(default=None, description="for XOAUTH2")
    mechanisms: tuple[Literal["LOGIN", "PLAIN", "XOAUTH2"], ...] = ("LOGIN", "PLAIN", "XOAUTH2")
    starttls: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether who sends must have signed in."""
        return self.password is not None or self.access_token is not None


@dataclass(frozen=True)
class AccessToken:
    """Who signs in, and with which token."""

    user: str
    token: str


async def read_access_token(server: SMTP, args: list[str]) -> AccessToken | None:
    """The response after `AUTH XOAUTH2`, on the same line or on the next; None: it is none, and that was answered."""
    if len(args) == 1:
        given = await server.challenge_auth("")
        if given is MISSING:
            return None
    else:
        try:
            given = b64decode(args[1].encode(), validate=True)
        except (binascii.Error, ValueError):
            await server.push("501 5.5.2 Can't decode base64")
            return None
    found = _RESPONSE.fullmatch(given.decode("utf-8", "replace"))
    if found is None:
        await server.push("501 5.5.2 Not an XOAUTH2 response")
        return None
    return AccessToken(found["user"], found["token"])


def sign_in(given: Any, *, settings: SmtpSettings) -> AuthResult:
    """Whether a `LoginPassword` or an `AccessToken` lets its owner in."""
    if isinstance(given, AccessToken):
        user, secret, wanted = given.user, given.token, settings.access_token
    elif isinstance(given, LoginPassword):
        user, secret = (part.decode("utf-8", "replace") for part in (given.login, given.password))
        wanted = settings.password
    else:
        return AuthResult(success=False, handled=False)
    is_right = not settings.is_closed or (wanted is not None and secret == wanted.get_secret_value())
    is_user = settings.user is None or user == settings.user
    return AuthResult(success=is_right and is_user, handled=False, auth_data=fingerprint(secret))
